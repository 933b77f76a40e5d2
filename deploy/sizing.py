"""From a load to hosts, workers, memory, descriptors and Redis: the arithmetic of SIZING.md.

    python deploy/sizing.py --streams 20000 --creates 1000

needs nothing but Python. Every figure under `Measured` is one of SIZING.md's table; the rest is arithmetic.
"""

import argparse
import math
import sys
from dataclasses import dataclass, fields

MIB, GIB, TIB = 1024**2, 1024**3, 1024**4
DAY = 86_400
HELP = {
    "events": "each second of an open stream",
    "days": "that bindings and kept responses live",
    "stored": "share of the creates without store: false",
    "kept": "share of those stored that go to providers which keep none",
    "cores": "of a host, a worker each",
    "busy": "share of a core that may be used",
    "shard_gib": "memory of a Redis node for data",
}


@dataclass(frozen=True)
class Measured:
    """What one worker and one Redis were measured to need; providers are spoken to over TLS. See SIZING.md."""

    event_us: float = 48.0
    create_us: float = 350.0
    """A stream's beginning and end, with the five events at them."""
    stream_bytes: int = 72 * 1024
    kernel_bytes: int = 10 * 1024
    """Of both sockets of a stream that are the gateway's, while nothing waits in their buffers."""
    stream_descriptors: int = 2
    process_bytes: int = 64 * MIB
    event_bytes: int = 250
    binding_bytes: int = 106
    """In Valkey 9.1; in Redis 7.0 it is 167."""
    kept_bytes: int = 23_800
    """Of a streamed answer of 2,000 tokens that the gateway keeps itself, compressed."""
    redis_us: float = 4.6


@dataclass(frozen=True)
class Load:
    """What has to be carried."""

    streams: int
    """Open at once."""
    creates: float
    """Each second."""
    events: float = 25.0
    """Each second of an open stream, on average."""
    days: float = 30.0
    """That bindings live (`bindings.ttl_days`) and kept responses (`archive.ttl_days`)."""
    stored: float = 1.0
    """Share of the creates without `store: false`."""
    kept: float = 0.0
    """Share of the stored ones that go to providers which keep none."""
    cores: int = 16
    """Of a host, a worker each."""
    busy: float = 0.6
    """Share of a core that may be used: the rest is for peaks and for the hosts that are being replaced."""
    shard_gib: float = 48.0
    """Memory of a Redis node for data; as much again is left free for the copy it makes of itself."""


@dataclass(frozen=True)
class Plan:
    """What carries it."""

    cpu_cores: float
    workers: int
    hosts: int
    host_streams: int
    host_bytes: float
    host_descriptors: int
    host_bits: float
    redis_bytes: float
    redis_nodes: int
    redis_cores: float
    redis_connections: int


def plan(load: Load, measured: Measured | None = None) -> Plan:
    """Return what a load needs: hosts of equal size, with one to spare."""
    figure = measured or Measured()
    cpu = (load.streams * load.events * figure.event_us + load.creates * figure.create_us) / 1e6
    needed = max(1, math.ceil(cpu / load.busy))
    hosts = math.ceil(needed / load.cores) + 1
    streams = math.ceil(load.streams / (hosts - 1))
    stored = load.creates * load.stored
    redis = stored * load.days * DAY * (figure.binding_bytes + load.kept * figure.kept_bytes)
    nodes = max(1, math.ceil(redis / (load.shard_gib * GIB)))
    return Plan(
        cpu_cores=cpu,
        workers=hosts * load.cores,
        hosts=hosts,
        host_streams=streams,
        host_bytes=streams * (figure.stream_bytes + figure.kernel_bytes) + (load.cores + 1) * figure.process_bytes,
        host_descriptors=math.ceil(streams / load.cores) * figure.stream_descriptors,
        host_bits=streams * load.events * figure.event_bytes * 8,
        redis_bytes=redis,
        redis_nodes=nodes,
        redis_cores=stored * figure.redis_us / 1e6,
        redis_connections=hosts * load.cores * 2,
    )


def render(load: Load) -> list[tuple[str, str]]:
    """Describe a plan, a line each: what, and how much."""
    found = plan(load)
    return [
        ("CPU", f"{found.cpu_cores:,.1f} cores busy"),
        ("workers", f"{found.workers:,} on {found.hosts:,} hosts of {load.cores} cores, one host to spare"),
        ("a host carries", f"{found.host_streams:,} streams, {found.host_bits / 1e6:,.0f} Mbit/s each way"),
        ("memory of a host", f"{found.host_bytes / GIB:.1f} GiB for the gateway and its sockets"),
        ("descriptors of a worker", f"{found.host_descriptors:,} for streams"),
        ("Redis data", _bytes(found.redis_bytes)),
        ("Redis primaries", f"{found.redis_nodes:,} of {load.shard_gib:g} GiB, and as many replicas"),
        ("Redis CPU", f"{found.redis_cores:.2f} cores for writing, all primaries together"),
        ("connections to each primary", f"{found.redis_connections:,}"),
    ]


def _bytes(number: float) -> str:
    unit, name = next(
        (unit, name) for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB")) if number >= unit or unit == MIB
    )
    return f"{number / unit:,.1f} {name}"


def main() -> int:
    """Print the plan of the load the arguments describe."""
    parser = argparse.ArgumentParser(description="What a load needs; SIZING.md says where the figures come from.")
    parser.add_argument("--streams", type=int, required=True, help="open at once")
    parser.add_argument("--creates", type=float, required=True, help="each second")
    for field in fields(Load)[2:]:
        what = f"{HELP[field.name]}; {field.default:g}"
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default, help=what
        )
    load = Load(**vars(parser.parse_args()))
    for name, value in vars(load).items():
        if value < 0 or (value == 0 and name in {"cores", "busy", "shard_gib"}) or not math.isfinite(value):
            parser.error(f"argument --{name.replace('_', '-')}: {value:g} is not a number to plan with")
    for what, how_much in render(load):
        sys.stdout.write(f"{what:<28} {how_much}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
