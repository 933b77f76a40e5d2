"""The gateway under test: in this process on a socket of its own, or as the command users run."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from proxy.app import App
from proxy.config import Config
from proxy.exposition import Exposition
from tests.rig.client import Answer, Client, Pairs, connect, fetch
from tests.rig.connection import PeerGone
from tests.rig.eventually import eventually
from tests.rig.settings import ALICE_KEY

ROOT = Path(__file__).parents[2]
STOP_PATIENCE = 15.0


class Gateway:
    """A running gateway, as its clients see it. `app` is there for white-box looks."""

    def __init__(self, app: App, port: int, config: Config) -> None:
        self.app = app
        self.port = port
        self.config = config
        self.url = f"http://127.0.0.1:{port}"

    def connect(self, *, receive_buffer: int | None = None) -> contextlib.AbstractAsyncContextManager[Client]:
        """Open a raw client connection."""
        return connect(self.port, receive_buffer=receive_buffer)

    async def fetch(
        self,
        method: str,
        target: str,
        *,
        key: str | None = ALICE_KEY,
        headers: Pairs = (),
        body: bytes | None = None,
        json: Any = None,
    ) -> Answer:
        """Send one request with a gateway key and read the answer to its end."""
        return await fetch(self.port, method, target, headers=[*bearer(key), *headers], body=body, json=json)

    async def exposition(self) -> str:
        """Return what a host with this one worker would expose."""
        exposition = Exposition()
        exposition.update(1, await self.app.snapshot())
        return exposition.render("")[0].decode()

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum over the series that carry these labels; 0 where there is none."""
        return total(await self.exposition(), name, **labels)


def bearer(key: str | None) -> list[tuple[str, str]]:
    """Make the header that carries a gateway key; none for None."""
    return [] if key is None else [("Authorization", f"Bearer {key}")]


@contextlib.asynccontextmanager
async def gateway(config: Config | Mapping[str, Any], *, redis_url: str, **options: Any) -> AsyncIterator[Gateway]:
    """Run the gateway in this process, on a free loopback port, until the block ends."""
    typed = config if isinstance(config, Config) else Config.model_validate(config)
    app = App(typed, redis_url=redis_url, **options)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]
        try:
            await app.start(listener)
            yield Gateway(app, port, typed)
        finally:
            await app.close()


class Command:
    """The gateway as a process of its own. `output()` is what it wrote so far, both streams."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, admin_port: int, place: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.port = port
        self.admin_port = admin_port
        self.url = f"http://127.0.0.1:{port}"
        self.config_file = place / "gateway.yaml"
        self.data_dir = place / "data"
        self._written = place / "output"

    def output(self) -> str:
        """Return everything the process wrote so far."""
        return self._written.read_text(encoding="utf-8")

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)

    async def admin(self, path: str) -> Answer | None:
        """Ask the admin port; None while it does not answer."""
        with contextlib.suppress(PeerGone, ConnectionError):
            return await fetch(self.admin_port, "GET", path)
        return None

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum over the series of `/metrics` that carry these labels; 0 where there is none."""
        answer = await self.admin("/metrics")
        assert answer is not None, self.output()
        return total(answer.body.decode(), name, **labels)

    async def ready(self) -> bool:
        """Whether `/readyz` answers 200."""
        answer = await self.admin("/readyz")
        return answer is not None and answer.status == 200

    async def exited(self) -> int:
        """Wait for the process to end, and return its status."""
        return await asyncio.to_thread(self.process.wait, STOP_PATIENCE)

    async def stop(self) -> int:
        """End the process with SIGTERM, with SIGKILL where that is not enough; return its status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return await self.exited()
        except subprocess.TimeoutExpired:
            self.process.kill()
            return await self.exited()


@contextlib.asynccontextmanager
async def command(
    content: Mapping[str, Any],
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    ports: tuple[int, int] | None = None,
) -> AsyncIterator[Command]:
    """Run `python -m proxy serve` with this configuration until the block ends; it is ready when that begins.

    The configuration's ports are replaced by these, or by free ones; its data directory is its own.
    """
    with tempfile.TemporaryDirectory(prefix="gateway-") as directory:
        place = Path(directory)
        ports = ports or (free_port(), free_port())
        server = {**content.get("server", {}), "port": ports[0], "admin_port": ports[1]}
        (place / "gateway.yaml").write_text(yaml.safe_dump({**content, "server": server}), encoding="utf-8")
        line = [sys.executable, "-m", "proxy", "serve", "--config", str(place / "gateway.yaml")]
        with (place / "output").open("wb") as output:
            process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own interpreter; starting it does not block
                [*line, "--data-dir", str(place / "data"), *arguments],
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        running = Command(process, *ports, place)
        try:
            await eventually(lambda: _settled(running))
            assert process.poll() is None, running.output()
            yield running
        finally:
            await running.stop()


def free_port() -> int:
    """Return a loopback port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def total(exposition: str, name: str, **labels: str) -> float:
    """Add up an exposition's samples of that name (`_count`, `_sum` included) that carry these labels."""
    samples = (sample for family in text_string_to_metric_families(exposition) for sample in family.samples)
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


async def _settled(running: Command) -> bool:
    return running.process.poll() is not None or await running.ready()
