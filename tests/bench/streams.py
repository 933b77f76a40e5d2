"""Load by many connections at once: uvloop protocols without a parser, and wrk where it is installed."""

import asyncio
import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from tests.bench import wire
from tests.bench.processes import Failed

CONNECTIONS = 32
OPENING = 50
WAIT_SECONDS = 30

WRK_SCRIPT = """
wrk.method = "POST"
wrk.path = "/v1/responses"
wrk.body = [==[{body}]==]
{headers}
"""


class Stream(asyncio.Protocol):
    """One open stream, its events counted by the blank lines that end them."""

    def __init__(self, request: bytes) -> None:
        self.events = 0
        self.fault = ""
        self._request = request
        self._cut = False
        self._wanted = 0
        self._arrived: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.events and data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200"):
            self.fault = data[:300].decode(errors="replace")
        self.events += data.count(b"\n\n") + (self._cut and data.startswith(b"\n"))
        self._cut = data.endswith(b"\n")
        if self._arrived is not None and self.events >= self._wanted and not self._arrived.done():
            self._arrived.set_result(None)

    def connection_lost(self, _error: Exception | None) -> None:
        self.fault = self.fault or "the stream ended early"
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def reach(self, events: int) -> None:
        """Wait until so many events have arrived."""
        self._wanted = events
        self._arrived = asyncio.get_running_loop().create_future()
        if self.events < events and not self.fault:
            await asyncio.wait_for(self._arrived, WAIT_SECONDS)
        if self.fault:
            raise Failed(self.fault)

    def close(self) -> None:
        """Leave, as a client that had enough."""
        self._transport.abort()


@contextlib.asynccontextmanager
async def opened(port: int, count: int, model: str, events: int) -> AsyncIterator[list[Stream]]:
    """Hold so many streams open, each of which has received so many events."""
    loop = asyncio.get_running_loop()
    request = wire.render_request(model, stream=True)
    streams: list[Stream] = []
    try:
        while len(streams) < count:
            batch = range(min(OPENING, count - len(streams)))
            made = [await loop.create_connection(lambda: Stream(request), "127.0.0.1", port) for _ in batch]
            streams += [stream for _, stream in made]
            for stream in streams[-len(batch) :]:
                await stream.reach(1)
        for stream in streams:
            await stream.reach(events)
        yield streams
    finally:
        for stream in streams:
            stream.close()


def requests_per_second(port: int, seconds: int, directory: Path) -> float:
    """Return how many small JSON creates a second come back over 32 kept connections."""
    program = shutil.which("wrk")
    if program is None:
        return uvloop.run(answered_per_second(port, seconds, wire.render_request("json", stream=False)))
    script = directory / "create.lua"
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in wire.HEADERS.items())
    body = wire.render_body("json", stream=False).decode()
    script.write_text(WRK_SCRIPT.format(body=body, headers=headers))
    run = subprocess.run(  # noqa: S603
        [
            program,
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds}s",
            "-s",
            str(script),
            f"http://127.0.0.1:{port}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    fault = re.search(r"Non-2xx.*|Socket errors.*", run.stdout)
    if fault:
        raise Failed(fault[0])
    return float(re.search(r"Requests/sec: *([\d.]+)", run.stdout)[1])


async def answered_per_second(port: int, seconds: int, request: bytes) -> float:
    """Return how often a second a request comes back whole over 32 kept connections."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    callers = []
    for _ in range(CONNECTIONS):
        _, caller = await loop.create_connection(lambda: Caller(request), "127.0.0.1", port)
        callers.append(caller)
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    answered = sum(caller.answered for caller in callers)
    for caller in callers:
        caller.close()
        if caller.fault:
            raise Failed(caller.fault)
    return answered / took


class Caller(asyncio.Protocol):
    """One kept connection that sends the next create when the answer to the last is whole."""

    def __init__(self, request: bytes) -> None:
        self.answered = 0
        self.fault = ""
        self._request = request
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not wire.is_whole(self._received):
            return
        if not self._received.startswith(b"HTTP/1.1 200"):
            self.fault = self._received[:300].decode(errors="replace")
            return
        self._received = b""
        self.answered += 1
        self._transport.write(self._request)

    def close(self) -> None:
        """Leave, whatever is under way."""
        self._transport.abort()
