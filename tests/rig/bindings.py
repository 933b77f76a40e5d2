"""Bindings over a server of the tests, with everything a test asks about them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson

from proxy.bindings import Bindings
from proxy.config import BindingsConfig
from proxy.families import BINDINGS_DROPPED, REDIS_OPERATIONS
from proxy.logs import Log
from proxy.metrics import Metrics
from tests.rig.valkey import Valkey


class Running(Bindings):
    """Bindings whose writer runs, and what they logged and counted."""

    def __init__(self, url: str, config: BindingsConfig) -> None:
        self._written: list[bytes] = []
        self._counted = Metrics(providers=["main"], models=[])
        self._writing: asyncio.Task[None] | None = None
        log = Log(self._written.append, time.time)
        super().__init__(url, config, metrics=self._counted, log=log, clock=time.monotonic)

    async def start(self) -> None:
        """Look whether the server is there, and begin to write."""
        await self.open()
        self._writing = asyncio.create_task(self.run())

    async def ended(self) -> None:
        """Wait until the writer has ended."""
        assert self._writing is not None
        await self._writing

    def interrupt(self) -> None:
        """Cancel the writer."""
        assert self._writing is not None
        self._writing.cancel()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines logged under a name."""
        lines = [orjson.loads(line) for line in b"".join(self._written).splitlines()]
        return [line for line in lines if line["event"] == name]

    def states(self) -> list[str]:
        """Return the states that were logged, in order."""
        return [line["state"] for line in self.events("redis_state")]

    def pipelines(self) -> int:
        """Return how many pipelines the server took."""
        return self._cells(REDIS_OPERATIONS.name).get(("bind", "ok"), 0)

    def dropped(self) -> int:
        """Return how many bindings were given up."""
        return self._cells(BINDINGS_DROPPED.name).get((), 0)

    def _cells(self, family: str) -> dict[tuple[str, ...], Any]:
        lines = [orjson.loads(line) for line in b"".join(self._counted.snapshot()).splitlines()[1:]]
        return {tuple(labels): value for name, cells in lines if name == family for labels, value in cells}


@contextlib.asynccontextmanager
async def bindings(server: Valkey, **settings: Any) -> AsyncIterator[Running]:
    """Run bindings on a server until the block ends; the settings are those of the configuration."""
    running = Running(server.url, BindingsConfig.model_validate(settings))
    await running.start()
    try:
        yield running
    finally:
        running.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await running.ended()


def count(server: Valkey, command: str) -> int:
    """Return how often a server was given a command since its statistics were reset."""
    stats = server.run("INFO", "commandstats")
    text = stats if isinstance(stats, dict) else {}
    return int(text.get(f"cmdstat_{command}", {}).get("calls", 0))
