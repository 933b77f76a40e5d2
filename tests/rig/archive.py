"""An archive over a server of the tests, with everything a test asks about it, and entries to keep in it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson

from proxy.archive import Archive, Entry, EventLog
from proxy.config import ArchiveConfig
from proxy.dialects.identity import identify_items
from proxy.families import ARCHIVE_DROPPED, REDIS_OPERATIONS
from proxy.logs import Log
from proxy.metrics import Metrics
from tests.rig.valkey import Valkey

TENANT = "team-a"


class Running(Archive):
    """An archive whose writer runs, and what it logged and counted."""

    def __init__(self, url: str, config: ArchiveConfig) -> None:
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

    def states(self) -> list[str]:
        """Return the states that were logged, in order."""
        lines = [orjson.loads(line) for line in b"".join(self._written).splitlines()]
        return [line["state"] for line in lines if line["event"] == "archive_state"]

    def counted(self, operation: str, outcome: str = "ok") -> int:
        """Return how often the server was asked."""
        return int(self._cells(REDIS_OPERATIONS.name).get((operation, outcome), 0))

    def dropped(self) -> int:
        """Return how many responses were given up."""
        return int(self._cells(ARCHIVE_DROPPED.name).get((), 0))

    def _cells(self, family: str) -> dict[tuple[str, ...], Any]:
        lines = [orjson.loads(line) for line in b"".join(self._counted.snapshot()).splitlines()[1:]]
        return {tuple(labels): value for name, cells in lines if name == family for labels, value in cells}


@contextlib.asynccontextmanager
async def archive(server: Valkey, **settings: Any) -> AsyncIterator[Running]:
    """Run an archive on a server until the block ends; the settings are those of the configuration."""
    running = Running(server.url, ArchiveConfig.model_validate(settings))
    await running.start()
    try:
        yield running
    finally:
        running.stop()
        await running.ended()


def message(rid: str, text: str) -> dict[str, Any]:
    """Make the message a response says."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    stem = rid.rpartition("_")[2]
    return {"id": f"msg_{stem}00", "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def response_of(rid: str, text: str = "Hello!", **members: Any) -> dict[str, Any]:
    """Make a finished response."""
    return {
        "id": rid,
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": "large",
        "output": [message(rid, text)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
        **members,
    }


def entry_of(
    rid: str,
    *,
    said: Any = "Hi",
    text: str = "Hello!",
    previous: str | None = None,
    tenant: str = TENANT,
    events: bytes = b"",
    **members: Any,
) -> Entry:
    """Make what is kept of a response."""
    log = EventLog(1 << 30)
    if events:
        log.append(events)
    response = orjson.dumps(response_of(rid, text, **members))
    return Entry(tenant, "main", "anthropic", "large", previous, identify_items(said, rid), response, log.blocks())
