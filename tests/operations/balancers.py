"""nginx, HAProxy and Envoy as operators run them: the shipped files, with nothing replaced but addresses and paths."""

import asyncio
import contextlib
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil

from tests.operations.tools import tool
from tests.rig.eventually import PATIENCE, eventually
from tests.rig.gateway import Command, command, free_port
from tests.rig.settings import provider, settings
from tests.rig.upstream import Upstream

DEPLOY = Path(__file__).parents[2] / "deploy"
COMMENT = 0.3
"""Seconds of silence after which the provider `main` gets a comment sent to its client; `silent` never does."""

ENVOY_OPTIONS = ("--concurrency", "2", "--use-dynamic-base-id", "-l", "warning", "--file-flush-interval-msec", "50")
"""Two threads; several at a time on one machine; a log that is there when it is read."""

Change = tuple[str, str]


class Kind(NamedTuple):
    """One balancer: its file, how it is run, and what of the file belongs to a machine."""

    file: str
    line: Callable[[Path], list[str]]
    place: Callable[[Path, int], Iterable[Change]]
    gateway: Callable[[int, Command], Iterable[Change]]
    impatient: Change
    """Makes it give up after two seconds of silence."""
    tls: Callable[[Path, int], Iterable[Change]]
    """Its certificate, and the port for TLS."""
    one_port: bool = False
    """Whether TLS takes the place of plain connections."""


def _place_nginx(directory: Path, port: int) -> Iterable[Change]:
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{name}_temp_path {directory / name};" for name in temporary)
    yield "listen 80;", f"listen 127.0.0.1:{port};"
    yield "/run/nginx.pid", str(directory / "pid")
    yield "/var/log/nginx/", f"{directory}/"
    yield "server_tokens off;", f"server_tokens off; {paths}"


def _place_envoy(_directory: Path, port: int) -> Iterable[Change]:
    yield "{address: 0.0.0.0, port_value: 80}", f"{{address: 127.0.0.1, port_value: {port}}}"
    yield "port_value: 9901", "port_value: 0"


def _gateway_of_nginx(number: int, gateway: Command) -> Iterable[Change]:
    yield f"gateway-{number}:8080", f"127.0.0.1:{gateway.port}"


def _gateway_of_haproxy(number: int, gateway: Command) -> Iterable[Change]:
    yield f"gateway-{number}:8080", f"127.0.0.1:{gateway.port} port {gateway.admin_port}"


def _gateway_of_envoy(number: int, gateway: Command) -> Iterable[Change]:
    endpoint = "address: {{socket_address: {{address: {}, port_value: {}}}}}\n{}health_check_config: {{port_value: {}}}"
    indent = " " * 18
    yield (
        endpoint.format(f"gateway-{number}", 8080, indent, 9091),
        endpoint.format("127.0.0.1", gateway.port, indent, gateway.admin_port),
    )


KINDS = {
    "nginx": Kind(
        "nginx.conf",
        lambda file: [tool("nginx"), "-c", str(file), "-e", "stderr", "-g", "daemon off;"],
        _place_nginx,
        _gateway_of_nginx,
        ("proxy_read_timeout 3600s;", "proxy_read_timeout 2s;"),
        lambda pem, port: [
            ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
            ("/etc/nginx/tls/fullchain.pem", str(pem)),
            ("/etc/nginx/tls/privkey.pem", str(pem)),
        ],
    ),
    "haproxy": Kind(
        "haproxy.cfg",
        lambda file: [tool("haproxy"), "-db", "-f", str(file)],
        lambda _directory, port: [("bind :80\n", f"bind 127.0.0.1:{port}\n")],
        _gateway_of_haproxy,
        ("timeout server 1h", "timeout server 2s"),
        lambda pem, port: [("bind :443 ssl crt /etc/haproxy/tls/", f"bind 127.0.0.1:{port} ssl crt {pem}")],
    ),
    "envoy": Kind(
        "envoy.yaml",
        lambda file: [tool("envoy"), "-c", str(file), *ENVOY_OPTIONS],
        _place_envoy,
        _gateway_of_envoy,
        ("stream_idle_timeout: 3600s", "stream_idle_timeout: 2s"),
        lambda pem, _port: [
            ("/etc/envoy/tls/fullchain.pem", str(pem)),
            ("/etc/envoy/tls/privkey.pem", str(pem)),
        ],
        one_port=True,
    ),
}


class Balancer:
    """A running balancer."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, directory: Path, gateways: Sequence[int]) -> None:
        self.process = process
        self.port = port
        self._directory = directory
        self._gateways = gateways

    def connections(self) -> int:
        """Count its connections to gateways."""
        own = psutil.Process(self.process.pid)
        found = [each for part in (own, *own.children()) for each in part.net_connections("tcp")]
        return sum(each.status == "ESTABLISHED" and each.raddr.port in self._gateways for each in found)

    def output(self) -> str:
        """Return its log, and what it said of itself."""
        logs = [self._directory / name for name in ("output", "error.log", "access.log")]
        return "".join(log.read_text("utf-8", "replace") for log in logs if log.exists())

    async def serves(self) -> bool:
        """Whether it takes connections; it fails the test where it has ended."""
        assert self.process.poll() is None, self.output()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionError:
            return False
        writer.close()
        return True


@contextlib.asynccontextmanager
async def balancer(
    name: str, gateways: Sequence[Command], *changes: Change, certificate: Path | None = None
) -> AsyncIterator[Balancer]:
    """Run a balancer in front of gateways until the block ends; with a certificate, `port` is the one for TLS."""
    kind, port = KINDS[name], free_port()
    with tempfile.TemporaryDirectory(prefix="balancer-") as path:
        directory = Path(path)
        own = [change for number, each in enumerate(gateways, 1) for change in kind.gateway(number, each)]
        if certificate is None:
            own += kind.place(directory, port)
        else:
            own += [*kind.tls(certificate, port), *kind.place(directory, port if kind.one_port else free_port())]
        process = _start(kind, directory, [*changes, *own], tls=certificate is not None)
        running = Balancer(process, port, directory, [each.port for each in gateways])
        try:
            await eventually(running.serves)
            yield running
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, PATIENCE)


def _start(kind: Kind, directory: Path, changes: Iterable[Change], *, tls: bool) -> subprocess.Popen[bytes]:
    # nginx's processes are nobody's where it is started by root.
    directory.chmod(0o755)
    text = (DEPLOY / kind.file).read_text(encoding="utf-8")
    file = directory / kind.file
    file.write_text(changed(with_tls(text) if tls else text, changes), encoding="utf-8")
    with (directory / "output").open("wb") as output:
        return subprocess.Popen(kind.line(file), stdout=output, stderr=subprocess.STDOUT)  # noqa: S603 - from tool()


def changed(text: str, changes: Iterable[Change]) -> str:
    """Replace texts by others; what is not there fails the test, which would say nothing of the file otherwise."""
    for old, new in changes:
        assert old in text, f"{old!r} is not in the file"
        text = text.replace(old, new)
    return text


def with_tls(text: str) -> str:
    """Do what the file says: remove the comment signs in front of the lines that turn TLS on."""
    before, mark, rest = text.partition("# TLS: begin\n")
    lines, end, after = rest.partition("# TLS: end\n")
    assert mark
    assert end
    return before + mark + "".join(line.replace("# ", "", 1) for line in lines.splitlines(keepends=True)) + end + after


class Replica:
    """One of the gateways: the command users run, which can be ended and started again where it was."""

    def __init__(self, number: int, upstream: Upstream, redis_url: str, pre_stop: float) -> None:
        self.number = number
        self._ports = free_port(), free_port()
        self._content = _content(number, upstream, redis_url, pre_stop)
        self._stack = contextlib.AsyncExitStack()
        self.command: Command

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Start it; it is ready then."""
        self.command = await self._stack.enter_async_context(command(self._content, ports=self._ports))

    async def stop(self) -> int:
        """End it with SIGTERM, wait as long as that takes, and return its status."""
        self.command.signal(signal.SIGTERM)
        status = await asyncio.to_thread(self.command.process.wait, 2 * PATIENCE)
        await self._stack.aclose()
        return status

    async def close(self) -> None:
        """End it at once: with a second SIGTERM it does not wait for balancers to notice."""
        self.command.signal(signal.SIGTERM)
        await eventually(self._draining)
        await self._stack.aclose()

    async def _draining(self) -> bool:
        return self.command.process.poll() is not None or not await self.command.ready()


def _content(number: int, upstream: Upstream, redis_url: str, pre_stop: float) -> dict[str, Any]:
    """Make a gateway's configuration: providers learn from a header which of the gateways asks."""
    named = {"headers": {"x-replica": str(number)}}
    providers = {
        "main": provider(upstream, **named, timeouts={"keep_alive_comment": COMMENT}),
        "silent": provider(upstream, **named, timeouts={"keep_alive_comment": 600}),
    }
    return settings(
        providers=providers,
        default_provider="main",
        redis={"url": redis_url},
        server={"pre_stop": pre_stop},
    )


@contextlib.asynccontextmanager
async def replicas(upstream: Upstream, redis_url: str, *, pre_stop: float = 0) -> AsyncIterator[list[Replica]]:
    """Run two gateways on one Redis until the block ends."""
    both = [Replica(number, upstream, redis_url, pre_stop) for number in (1, 2)]
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.gather(*map(stack.enter_async_context, both))
        yield both
