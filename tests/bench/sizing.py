"""Measure what deploy/SIZING.md reckons with: `python -m tests.bench.sizing`, about three minutes, Linux only.

Memory and descriptors of open streams (from a provider in plain and over TLS) and of idle connections, CPU of an event
over TLS beside plain, what processes take at rest, and what bindings take in Redis or Valkey.
"""

import argparse
import asyncio
import contextlib
import os
import resource
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis
import uvloop

from proxy.bindings import Binding, Bindings
from proxy.config import BindingsConfig
from proxy.logs import Log
from proxy.metrics import Metrics
from tests.bench import contenders, processes, streams, wire
from tests.bench.contenders import Contender, Scene, scene_in, started
from tests.bench.measure import EVENTS_PER_SECOND, HELD_EVENTS, KIB, MIB, OPEN_STREAMS, STREAMS, WARM_STREAMS
from tests.bench.processes import LOAD_CORE, PROC, Failed
from tests.rig.certificates import Authority

BINDINGS = 1_000_000
AT_ONCE = 512
OPEN_FILES = 20_000
EVENT_SECONDS = 4
SHORT_EVENTS = 3
"""Of a stream that is over at once, besides its first and last."""
ACK_TIMEOUT = 30.0
"""Seconds; what is measured here is not how long one waits."""


def report(what: str, value: str) -> None:
    """Print one figure."""
    sys.stdout.write(f"{what:<72} {value}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def scenes(directory: Path) -> Iterator[dict[str, Scene]]:
    """Run a provider spoken to in plain and one over TLS, whose authority the gateways trust."""
    authority = Authority(directory)
    authority.vouch_for("127.0.0.1")
    os.environ["SSL_CERT_FILE"] = str(authority.ca_file)
    with contextlib.ExitStack() as stack:
        found = {}
        for name, certificate in {"plain": None, "TLS": directory / "127.0.0.1.pem"}.items():
            place = directory / name
            place.mkdir()
            found[name] = stack.enter_context(scene_in(place, certificate))
        yield found


def measure_streams(scene: Scene, name: str, rounds: int, count: int) -> None:
    """Tell what a worker holds for each stream that stands open."""
    kibs, descriptors, kernel = [], [], []
    for _ in range(rounds):
        with started(scene, "gateway") as contender:
            uvloop.run(_hold(contender, WARM_STREAMS))
            before, open_before = processes.private_bytes(contender.worker), _descriptors(contender.worker)
            slab, buffers = _kernel_bytes()
            held, open_held, kernel_held = uvloop.run(_hold(contender, count))
            kibs.append((held - before) / count / KIB)
            descriptors.append((open_held - open_before) / count)
            kernel.append((sum(kernel_held) - slab - buffers) / count / KIB)
    report(f"provider {name}: memory a worker holds for an open stream, KiB", _spread(kibs))
    report(f"provider {name}: descriptors of a worker for an open stream", _spread(descriptors))
    report(f"provider {name}: kernel memory a stream, all four ends, KiB", _spread(kernel))


async def _hold(contender: Contender, count: int) -> tuple[int, int, tuple[int, int]]:
    async with streams.opened(contender.port, count, f"hold-50-{HELD_EVENTS - 1}", HELD_EVENTS):
        return processes.private_bytes(contender.worker), _descriptors(contender.worker), _kernel_bytes()


def measure_traffic(found: dict[str, Scene], rounds: int) -> None:
    """Tell the CPU of an event passed on, of a create and of a short stream; provider in plain and over TLS in turn."""
    short = {
        "a JSON create": wire.render_request("json", stream=False),
        f"a stream of {SHORT_EVENTS + 2} events": wire.render_request(f"stream-1000-{SHORT_EVENTS}", stream=True),
    }
    costs: dict[str, dict[str, list[float]]] = {}
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(started(scene, "gateway")) for name, scene in found.items()}
        for _ in range(rounds):
            for name, contender in running.items():
                event = costs.setdefault("a streamed event", {}).setdefault(name, [])
                event.append(uvloop.run(_cost_of_event(contender)))
                for what, request in short.items():
                    costs.setdefault(what, {}).setdefault(name, []).append(_cost_of_request(contender, request))
    for what, values in costs.items():
        for name, taken in values.items():
            report(f"provider {name}: CPU of {what}, us", _spread(taken))
        ratios = [tls / plain for plain, tls in zip(values["plain"], values["TLS"], strict=True)]
        report(f"{what}: TLS / plain", _spread(ratios))


def _cost_of_request(contender: Contender, request: bytes) -> float:
    before = processes.use_of(contender.worker)
    rate = uvloop.run(streams.answered_per_second(contender.port, EVENT_SECONDS, request))
    return processes.use_of(contender.worker).since(before).cpu / (rate * EVENT_SECONDS) * 1e6


async def _cost_of_event(contender: Contender) -> float:
    model = f"hold-{EVENTS_PER_SECOND}-1000000"
    async with streams.opened(contender.port, STREAMS, model, EVENTS_PER_SECOND) as opened:
        before, delivered = processes.use_of(contender.worker), -sum(stream.events for stream in opened)
        await asyncio.sleep(EVENT_SECONDS)
        delivered += sum(stream.events for stream in opened)
        use = processes.use_of(contender.worker).since(before)
    return use.cpu / delivered * 1e6


def measure_rest(scene: Scene) -> None:
    """Tell what the processes take before they have anything to do, and an idle connection."""
    with started(scene, "gateway") as contender:
        parent = int(processes._stat(PROC / str(contender.worker))[1])
        for name, pid in {"worker": contender.worker, "supervisor": parent}.items():
            report(f"{name} at rest: memory of its own / resident, MiB", _rest(pid))
        before = processes.private_bytes(contender.worker)
        held = uvloop.run(_idle(contender, OPEN_STREAMS))
        report(
            "memory a worker holds for an idle client connection, KiB", f"{(held - before) / OPEN_STREAMS / KIB:.1f}"
        )


def _rest(pid: int) -> str:
    return f"{processes.private_bytes(pid) / MIB:.0f} / {processes.resident_bytes(pid) / MIB:.0f}"


async def _idle(contender: Contender, count: int) -> int:
    made = [await asyncio.open_connection("127.0.0.1", contender.port) for _ in range(count)]
    await asyncio.sleep(1)
    held = processes.private_bytes(contender.worker)
    for _, writer in made:
        writer.close()
    return held


def measure_bindings(program: str, directory: Path) -> None:
    """Tell what a server of this kind takes for a binding, in memory, on disk and in time."""
    directory.mkdir()
    scene = Scene(directory, 0, directory / "redis.sock")
    line = [program, *contenders.redis_command(scene)[1:]]
    server = processes.spawn(line, directory / "log", {LOAD_CORE})
    try:
        processes.wait_until(lambda: contenders.unix_listening(scene.redis), server, directory / "log")
        url = f"unix://{scene.redis}"
        with redis.Redis.from_url(url) as client:
            name = contenders.version([program, "--version"]).partition(" sha")[0]
            before, used = client.info("memory"), processes.use_of(server.pid)
            took = uvloop.run(_bind(url, BINDINGS))
            after, use = client.info("memory"), processes.use_of(server.pid).since(used)
        grown = {key: (after[key] - before[key]) / BINDINGS for key in ("used_memory", "used_memory_rss")}
        report(
            f"{name}: bytes a binding, used / resident", f"{grown['used_memory']:.0f} / {grown['used_memory_rss']:.0f}"
        )
        report(f"{name}: CPU of the server a binding, us", f"{use.cpu / BINDINGS * 1e6:.1f}")
        report(f"{name}: bindings a second of one process that only binds", f"{BINDINGS / took:,.0f}")
    finally:
        processes.stop(server)


async def _bind(url: str, count: int) -> float:
    metrics = Metrics(providers=["openai"], models=[])
    config = BindingsConfig(ack_timeout=ACK_TIMEOUT, cache=0)
    bindings = Bindings(url, config, metrics=metrics, log=Log(lambda _: None, time.time), clock=time.monotonic)
    await bindings.open()
    writing = asyncio.create_task(bindings.run())
    binding, began = Binding("openai", "team-a"), time.perf_counter()
    for _ in range(0, count, AT_ONCE):
        accepted = await asyncio.gather(
            *(bindings.bind(f"resp_{secrets.token_hex(24)}", binding) for _ in range(AT_ONCE))
        )
        if not all(accepted) or bindings.state != "up":
            raise Failed("a binding did not reach the server")
    took = time.perf_counter() - began
    bindings.stop()
    await writing
    return took


def _descriptors(pid: int) -> int:
    return sum(1 for _ in (PROC / str(pid) / "fd").iterdir())


def _kernel_bytes() -> tuple[int, int]:
    """Return what the kernel holds in slabs, and in buffers of TCP sockets, in bytes."""
    slab = next(line for line in (PROC / "meminfo").read_text().splitlines() if line.startswith("Slab:"))
    tcp = next(line for line in (PROC / "net" / "sockstat").read_text().splitlines() if line.startswith("TCP:"))
    return int(slab.split()[1]) * KIB, int(tcp.split()[-1]) * os.sysconf("SC_PAGE_SIZE")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> int:
    """Measure everything, a line a figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sizing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=OPEN_STREAMS, help="that stand open at once")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="sizing-") as place:
        directory = Path(place)
        with scenes(directory) as found:
            measure_rest(found["plain"])
            for name, scene in found.items():
                measure_streams(scene, name, arguments.rounds, arguments.streams)
            measure_traffic(found, arguments.rounds)
        programs = [contenders.redis_program(), shutil.which("redis-server")]
        for number, program in enumerate(filter(None, dict.fromkeys(programs))):
            measure_bindings(program, directory / f"store-{number}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, processes.Unavailable, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
