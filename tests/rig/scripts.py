"""Ready-made scripts for the upstream: the good answer in its framings, and every way not to give one."""

import asyncio
from collections.abc import Iterable
from typing import Any

import orjson

from tests.rig.http1 import chunk, render_head
from tests.rig.upstream import Exchange, Script

Pairs = Iterable[tuple[str, str]]


def answer(
    body: bytes = b"",
    status: int = 200,
    headers: Pairs = (),
    *,
    content_type: str = "application/json",
    framing: str = "length",
) -> Script:
    """Read the whole request, then answer; `framing` is `length`, `chunked` or `close`."""

    async def script(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.start(status, [("Content-Type", content_type), *headers, *_framing(framing, len(body))])
        await exchange.send(*([chunk(body), chunk(b"")] if framing == "chunked" and body else [body]))
        if framing == "close":
            exchange.close()

    return script


def json_answer(value: Any, status: int = 200, headers: Pairs = (), *, framing: str = "length") -> Script:
    """Answer with JSON; bytes go out as they are."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return answer(body, status, headers, framing=framing)


def html_answer(status: int = 502) -> Script:
    """Answer the way a load balancer in front of the provider does."""
    return answer(b"<html><body><h1>Bad Gateway</h1></body></html>", status, content_type="text/html")


def empty_answer(status: int = 200) -> Script:
    """Answer with a status and no body."""
    return answer(b"", status)


def raw_answer(*pieces: bytes, close: bool = False) -> Script:
    """Read the whole request, then send exactly these bytes, HTTP or not."""

    async def script(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(*pieces)
        if close:
            exchange.close()

    return script


def sse_answer(
    events: bytes | Iterable[bytes],
    *,
    size: int | None = None,
    headers: Pairs = (),
    framing: str = "chunked",
    gates: dict[int, asyncio.Event] | None = None,
) -> Script:
    """Stream events, each in a chunk of its own, or all of them in chunks of `size` bytes.

    `gates[n]` is waited for before the n-th piece, counted from 0; one past the last holds back the end.
    """
    pieces = _cut(events, size)
    held = gates or {}

    async def script(exchange: Exchange) -> None:
        await exchange.body()
        fixed = [("Content-Type", "text/event-stream; charset=utf-8")]
        await exchange.start(200, [*fixed, *headers, *_framing(framing, sum(map(len, pieces)))])
        for number, piece in enumerate(pieces):
            await _pass(held.get(number))
            await exchange.send(chunk(piece) if framing == "chunked" else piece)
        await _pass(held.get(len(pieces)))
        if framing == "chunked":
            await exchange.end_chunks()
        if framing == "close":
            exchange.close()

    return script


def cut_stream(
    events: Iterable[bytes], after: int, *, reset: bool = False, gate: asyncio.Event | None = None
) -> Script:
    """Send the head and the first `after` bytes of a stream, then end the connection once the gate opens."""
    return _cut_short(b"".join(events), after, [("Transfer-Encoding", "chunked")], reset=reset, gate=gate)


def cut_json(value: Any, after: int, *, reset: bool = False, gate: asyncio.Event | None = None) -> Script:
    """Promise a whole JSON body, send its first `after` bytes, then end the connection once the gate opens."""
    body = orjson.dumps(value)
    return _cut_short(body, after, [("Content-Length", str(len(body)))], reset=reset, gate=gate)


def no_answer(*, reset: bool = False) -> Script:
    """Read the whole request and end the connection without a byte."""

    async def script(exchange: Exchange) -> None:
        await exchange.body()
        _end(exchange, reset=reset)

    return script


async def silence(exchange: Exchange) -> None:
    """Read the whole request, say nothing, and wait for the peer to give up."""
    await exchange.body()
    await exchange.closed.wait()


def after(gate: asyncio.Event, script: Script) -> Script:
    """Hold a script back until the gate opens; the request's body is read meanwhile."""

    async def gated(exchange: Exchange) -> None:
        await exchange.body()
        await gate.wait()
        await script(exchange)

    return gated


def then_close(script: Script) -> Script:
    """End the connection right after an answer that said nothing of it: a pooled connection goes stale."""

    async def closing(exchange: Exchange) -> None:
        await script(exchange)
        exchange.close()

    return closing


def stale_when_reused(script: Script, *, reset: bool = False) -> Script:
    """Answer the first request of each connection; end the connection on the second, without a byte.

    To the peer this is the race between its request and the provider's idle timeout, every time.
    """

    async def racing(exchange: Exchange) -> None:
        if exchange.served:
            _end(exchange, reset=reset)
        else:
            await script(exchange)

    return racing


def _framing(framing: str, length: int) -> list[tuple[str, str]]:
    return {
        "length": [("Content-Length", str(length))],
        "chunked": [("Transfer-Encoding", "chunked")],
        "close": [("Connection", "close")],
    }[framing]


def _cut(events: bytes | Iterable[bytes], size: int | None) -> list[bytes]:
    whole = [events] if isinstance(events, bytes) else list(events)
    if size is None:
        return whole
    joined = b"".join(whole)
    return [joined[at : at + size] for at in range(0, len(joined), size)]


def _cut_short(body: bytes, after: int, framing: Pairs, *, reset: bool, gate: asyncio.Event | None) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.body()
        chunked = ("Transfer-Encoding", "chunked") in framing
        kind = "text/event-stream" if chunked else "application/json"
        exchange.write(render_head("HTTP/1.1 200 Scripted", [("Content-Type", kind), *framing]))
        await exchange.send(chunk(body[:after]) if chunked else body[:after])
        await _pass(gate)
        _end(exchange, reset=reset)

    return script


def _end(exchange: Exchange, *, reset: bool) -> None:
    if reset:
        exchange.abort()
    else:
        exchange.close()


async def _pass(gate: asyncio.Event | None) -> None:
    if gate is not None:
        await gate.wait()
