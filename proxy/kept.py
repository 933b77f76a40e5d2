"""Answers calls on the responses that the gateway keeps itself, as their provider would if it kept them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import orjson

from proxy.archive import Archive, Head
from proxy.bindings import Bindings
from proxy.compression import expand
from proxy.dialects.identity import name_items
from proxy.dialects.paging import page
from proxy.dialects.parameters import parse_boolean, parse_integer, parse_query
from proxy.dialects.replay import after, render_replay
from proxy.downstream import Downstream, Written
from proxy.errors import BadRequest
from proxy.ownership import response_not_found
from proxy.record import Record
from proxy.services import Call
from proxy.tap import JsonTap, StreamTap

PIECE_BYTES: Final = 65_536
"""Of a stream, written at once."""
MAX_DEPTH: Final = 512
MAX_EVENT: Final = 1_048_576
"""Bytes of an event that is looked into whole."""

JSON_LINES = b"Content-Type: application/json\r\n"
STREAM_LINES = (
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache, no-transform\r\n"
    b"X-Accel-Buffering: no\r\n"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: on which response, with which query, and where its answer goes."""

    id: str
    head: Head
    query: Mapping[str, str]
    downstream: Downstream
    record: Record
    lines: bytes

    def answer(self, body: bytes) -> Written:
        """Answer with a JSON object."""
        self.record.status = 200
        return self.downstream.answer(200, self.lines + JSON_LINES, body)


class Kept:
    """The calls on kept responses. A client that reads nothing for `patience` seconds is left."""

    def __init__(self, archive: Archive, bindings: Bindings, *, patience: float = 600.0) -> None:
        self._archive = archive
        self._bindings = bindings
        self._patience = patience
        self._operations: Mapping[str, Callable[[Asked], Awaitable[Written]]] = {
            "retrieve": self._retrieve,
            "delete": self._delete,
            "cancel": self._cancel,
            "input_items": self._input_items,
        }

    async def answer(self, call: Call, downstream: Downstream, record: Record, lines: bytes) -> Written:
        """Answer a call by the owner of what it is about; `lines` are the header lines but for the content's type.

        Raises NotFound, BadRequest or StoreUnavailable.
        """
        asked_for = call.id or ""
        head = await self._archive.head(asked_for, record.tenant)
        if head is None or head.tenant != record.tenant:
            raise response_not_found(asked_for)
        record.response_id, record.model, record.kind = asked_for, head.model, head.kind
        query = parse_query(call.target.partition("?")[2])
        return await self._operations[call.operation](Asked(asked_for, head, query, downstream, record, lines))

    async def _response(self, asked: Asked) -> bytes:
        response = await self._archive.response(asked.id, asked.head.tenant)
        if response is None:
            raise response_not_found(asked.id)
        return response

    async def _retrieve(self, asked: Asked) -> Written:
        if parse_boolean(asked.query.get("stream")):
            return await self._replay(asked, parse_integer("starting_after", asked.query.get("starting_after", "-1")))
        tap = JsonTap(asked.record, b'"provider":%b' % orjson.dumps(asked.head.kind), max_depth=MAX_DEPTH)
        return asked.answer(tap.whole(await self._response(asked)))

    async def _delete(self, asked: Asked) -> Written:
        if not await self._archive.forget(asked.id, asked.head.tenant):
            raise response_not_found(asked.id)
        await self._bindings.forget(asked.id)
        return asked.answer(orjson.dumps({"id": asked.id, "object": "response", "deleted": True}))

    async def _cancel(self, _asked: Asked) -> Written:
        raise BadRequest("Cannot cancel a synchronous response: only one made with background=true can be cancelled.")

    async def _input_items(self, asked: Asked) -> Written:
        """List all that the response was made from.

        That is what OpenAI lists: with `previous_response_id`, what came before too, the answers among it
        (github.com/microsoft/semantic-kernel/issues/12903).
        """
        items = await self._archive.context(asked.id, asked.head.tenant)
        if items is None:
            raise response_not_found(asked.id)
        return asked.answer(orjson.dumps(page(name_items(items, asked.id), asked.query)))

    # -- streams ---------------------------------------------------------------------------------------------------

    async def _replay(self, asked: Asked, sequence: int) -> Written:
        record, downstream = asked.record, asked.downstream
        tap = StreamTap(record, limit=MAX_EVENT)
        try:
            async with aclosing(self._frames(asked, sequence)) as runs:
                async for frames in runs:
                    tap.feed(frames, monotonic())
                    await self._write(asked, frames)
        except TimeoutError:
            record.end = "client_gone"
            return downstream.abort()
        except asyncio.CancelledError:
            record.end = "client_gone"
            raise
        if not downstream.head_sent:
            downstream.write(b"", self._head(asked))
        return downstream.finish()

    async def _frames(self, asked: Asked, sequence: int) -> AsyncGenerator[bytes, None]:
        """Yield the stream behind a sequence number, as it was or, of a response not streamed, as it would have been.

        Raises NotFound where it is gone, or cannot be read from some block on.
        """
        behind = sequence < 0
        blocks = await self._archive.events(asked.id, asked.head.tenant)
        for block in blocks or ():
            frames = await expand(block)
            if frames is None:
                raise response_not_found(asked.id)
            rest = frames if behind else after(frames, sequence)
            if rest:
                behind = True
                yield rest
        if not blocks:
            response = _parse(await self._response(asked))
            if response is None:
                raise response_not_found(asked.id)
            if rest := after(render_replay(response), sequence):
                yield rest

    async def _write(self, asked: Asked, frames: bytes) -> None:
        """Write frames piece by piece, each once the client has taken what came before. Raises TimeoutError."""
        downstream = asked.downstream
        for at in range(0, len(frames), PIECE_BYTES):
            head = b"" if downstream.head_sent else self._head(asked)
            downstream.write(frames[at : at + PIECE_BYTES], head)
            await asyncio.sleep(0)
            if downstream.paused:
                await self._wait_for_room(asked)

    def _head(self, asked: Asked) -> bytes:
        asked.record.status = 200
        asked.record.streamed = True
        return asked.downstream.head(200, asked.lines + STREAM_LINES, None)

    async def _wait_for_room(self, asked: Asked) -> None:
        connection = asked.downstream.connection
        room: asyncio.Future[None] = connection.loop.create_future()

        def tell() -> None:
            if not room.done():
                room.set_result(None)

        connection.on_writable = tell
        began = monotonic()
        try:
            async with asyncio.timeout(self._patience):
                await room
        finally:
            connection.on_writable = None
            asked.record.waited += monotonic() - began


def _parse(response: bytes) -> dict[str, Any] | None:
    """Read a JSON object; None for anything else."""
    with suppress(orjson.JSONDecodeError):
        value = orjson.loads(response)
        return value if isinstance(value, dict) else None
    return None
