"""Reads an answer beside its bytes: response id, status, usage, first output. Pure; bytes go on as they came.

Three readers with one shape, `feed(chunk, now)` and `close()`, which return the bytes to pass on:
`StreamTap` for server-sent events, `JsonTap` for a JSON object, `RawTap` for anything else. After a
`feed`, `identified` tells that the returned bytes are the first to carry a response's id: they wait
until it is bound. `broken` returns how a body that died has to end: an event, or None for an aborted connection.
"""

import re
from typing import Any, Protocol

import orjson

from proxy.dialects.responses import ENDS, LIFECYCLE, MAX_OPENED, keep_opened, render_error, render_failed
from proxy.envelope import ObjectScanner, ScanError
from proxy.record import Record
from proxy.sse import Framer, data_of, split
from proxy.usage import parse_usage

_TERMINAL = re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|cancelled)|error)"')
_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d{1,18})(?!\d)')
_LARGE_DATA = re.compile(rb"(?:^|[\r\n])data: ?(\{)")
_LARGE_RESPONSE = re.compile(rb'"response"\s*:\s*(\{)')
_WINDOW = 2048
_EVENT_FIELDS = {"type": 64, "sequence_number": 32}
JSON_FIELDS = {"id": 4096, "status": 64, "model": 256, "usage": 8192}
_RESPONSE_FIELDS = {**JSON_FIELDS, "created_at": 32, "error": 8192}


class Tap(Protocol):
    """What the relay needs of a reader."""

    identified: bool
    finished: bool
    abandoned: bool
    """Whether the body has ended here, whatever the provider still sends."""

    @property
    def aligned(self) -> bool:
        """Whether a comment may be written now."""

    def feed(self, chunk: bytes, now: float) -> bytes:
        """Take a chunk, return the bytes to pass on."""

    def close(self) -> bytes:
        """Return what is left at the end of the body."""

    def broken(self, code: str, message: str) -> bytes | None:
        """Return the bytes that end a body which died, None where only an aborted connection can tell."""


class EventTap(Tap, Protocol):
    """A reader of a stream of Responses events."""

    @property
    def response(self) -> Any:
        """The response as its terminal event carries it; None before."""


class RawTap:
    """Passes everything, reads nothing."""

    abandoned = False
    cut_short = False
    identified = False
    finished = False
    aligned = False

    def feed(self, chunk: bytes, _now: float) -> bytes:
        """Return the chunk."""
        return chunk

    def close(self) -> bytes:
        """Return nothing: nothing is held."""
        return b""

    def broken(self, _code: str, _message: str) -> bytes | None:
        """Tell that only an aborted connection shows the loss."""
        return None


class JsonTap:
    """Reads a JSON object's top level; holds back its end until `close` and puts `splice` before it.

    `splice` is a member such as `"provider":"openai"`; empty for none. What is not a JSON object, or has none
    of a response's fields, passes untouched. White space without end behind the object is not waited for.
    `cut_short` tells, once closed, that an object or what came before it has no end.
    """

    abandoned = False
    aligned = False
    finished = False

    __slots__ = (
        "_end",
        "_offset",
        "_record",
        "_scanner",
        "_splice",
        "cut_short",
        "identified",
    )

    def __init__(self, record: Record, splice: bytes, *, max_depth: int) -> None:
        self.cut_short = False
        self.identified = False
        self._record = record
        self._splice = splice
        self._scanner: ObjectScanner | None = ObjectScanner(JSON_FIELDS, max_depth=max_depth, skip_oversized=True)
        self._offset = 0
        self._end = bytearray()

    def feed(self, chunk: bytes, _now: float) -> bytes:
        """Take a chunk; from the object's closing brace on, bytes wait for `close`, up to a limit."""
        scanner = self._scanner
        if scanner is None:
            return chunk
        start = self._offset
        self._offset += len(chunk)
        try:
            scanner.feed(chunk)
        except ScanError:
            return self._give_up() + chunk
        if scanner.end is None:
            return chunk
        cut = max(scanner.end - start, 0)
        self._end += chunk[cut:]
        return chunk[:cut] + (self.close() if len(self._end) > _WINDOW else b"")

    def whole(self, body: bytes) -> bytes:
        """Read a body that is all there: what `feed` and `close` do, at a third of the cost."""
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return self.feed(body, 0.0) + self.close()
        if not isinstance(value, dict) or JSON_FIELDS.keys().isdisjoint(value):
            return body
        put_down(self._record, value)
        self.identified = bool(self._record.response_id)
        if not self._splice:
            return body
        end = body.rindex(b"}")
        return b"%b,%b%b" % (body[:end], self._splice, body[end:])

    def _give_up(self) -> bytes:
        """Stop reading."""
        self._scanner = None
        rest, self._end = bytes(self._end), bytearray()
        return rest

    def close(self) -> bytes:
        """Return the object's end, with the splice before it, and put down what was read."""
        scanner = self._scanner
        self.cut_short = scanner is not None and scanner.end is None and self._offset > 0
        rest = self._give_up()
        if scanner is None or scanner.end is None or not scanner.values:
            return rest
        put_down(self._record, _values(scanner))
        self.identified = bool(self._record.response_id)
        return b",%b%b" % (self._splice, rest) if self._splice else rest

    def broken(self, _code: str, _message: str) -> bytes | None:
        """Tell that only an aborted connection shows the loss."""
        return None


class StreamTap:
    """Reads a stream of Responses events; returns whole events only (see `sse.Framer`).

    Keeps the last sequence number and the response as it was opened, so that a stream the provider
    left can be ended by a well-formed `response.failed`.
    """

    abandoned = False

    __slots__ = (
        "_framer",
        "_large",
        "_last",
        "_opened",
        "_record",
        "_sequence",
        "finished",
        "identified",
        "response",
    )

    def __init__(self, record: Record, *, limit: int) -> None:
        self.identified = False
        self.finished = False
        self.response: dict[str, Any] | None = None
        """The response as its terminal event carries it; None before, and of an event too long to be kept."""
        self._record = record
        self._framer = Framer(limit)
        self._last = b""
        self._sequence = -1
        self._opened = b""
        self._large: _LargeEvent | None = None

    @property
    def aligned(self) -> bool:
        """Whether the client stands between two events."""
        return self._framer.aligned

    def feed(self, chunk: bytes, now: float) -> bytes:
        """Take a chunk, return its complete events; no delta event is parsed."""
        framer, record = self._framer, self._record
        was_oversized = framer.oversized
        block = framer.feed(chunk)
        if not block:
            return block
        if record.first_chunk:
            record.last_chunk = now
            record.chunks += 1
        elif b'.delta"' in block:
            record.first_chunk = record.last_chunk = now
            record.chunks = 1
        self.identified = False
        if was_oversized or framer.oversized:
            self._read_apart(block, was_oversized=was_oversized)
        else:
            self._read(block)
        return block

    def close(self) -> bytes:
        """Return what a finished stream has behind its last complete event; of an unfinished one, nothing."""
        rest = self._framer.close()
        self.identified = False
        if rest and _TERMINAL.search(rest) is not None:
            self._read(rest)
        return rest if self.finished else b""

    def _read(self, block: bytes) -> None:
        """Read whole events."""
        if len(block) > _WINDOW:
            self._note_sequence(block)
        elif b'"sequence_number"' in block:
            self._last = block
        if not self._opened:
            self._read_opening(block)
        if _TERMINAL.search(block) is not None:
            for event in split(block):
                self._note_end(_loads(data_of(event)))

    def _read_opening(self, block: bytes) -> None:
        for event in split(block):
            if b'"response"' in event:
                data = data_of(event)
                self._open(_loads(data), data)
            if self._opened:
                break

    def _read_apart(self, block: bytes, *, was_oversized: bool) -> None:
        """Read a block that begins or ends inside an oversized event."""
        framer, large = self._framer, self._large
        start, end = framer.continued, len(block) - framer.opened
        if was_oversized and large is not None:
            large.feed(block[:start])
            if start < len(block) or not framer.oversized:
                large.begin()
                self._read_large(large.read(), whole=True)
                self._large = None
        if start < end:
            self._read(block[start:end])
        if end < len(block):
            large = self._large = _LargeEvent()
            large.feed(block[end:])
        if framer.oversized and large is not None and not self._opened:
            self._read_large(large.read(), whole=False)

    def _read_large(self, value: dict[str, Any], *, whole: bool) -> None:
        """Take what an oversized event tells: the response's id at once, its end only when it is `whole`."""
        if _kind(value) in LIFECYCLE:
            self._open(value, b"")
        if not whole:
            return
        if isinstance(value.get("sequence_number"), int):
            self._sequence = max(self._sequence, value["sequence_number"])
        self._note_end(value)

    def _open(self, value: dict[str, Any], data: bytes) -> None:
        """Take the first event that carries the response."""
        response = value.get("response")
        known = response.get("id") if isinstance(response, dict) else None
        if known and isinstance(known, str) and isinstance(response, dict) and not self._opened:
            put_down(self._record, response)
            self._opened = data if 0 < len(data) <= MAX_OPENED else b'{"response":%b}' % keep_opened(response)
            self.identified = True

    def _note_end(self, value: dict[str, Any]) -> None:
        """Take a terminal event; an `error` does not outdo the response's own end."""
        end = ENDS.get(_kind(value))
        if end is None:
            return
        record = self._record
        self.finished = True
        if end != "upstream_error" or not record.end:
            record.end = end
        error = value.get("error")
        response = value.get("response")
        if isinstance(response, dict):
            self.response = response
            opened = record.response_id
            put_down(record, response)
            # Some gateways in front of a provider rewrite the id in the last event only.
            self.identified = self.identified or record.response_id != opened
            error = response.get("error") or error
        if isinstance(error, dict):
            record.error_type = str(error.get("code") or error.get("type") or end)
        elif end in ("failed", "upstream_error"):
            record.error_type = str(value.get("code") or end)

    def _note_sequence(self, block: bytes) -> None:
        for number in _SEQUENCE.findall(block):
            self._sequence = max(self._sequence, int(number))

    def broken(self, code: str, message: str) -> bytes | None:
        """Render `response.failed`; before any response was seen, an `error` event; None inside an oversized event."""
        if self._framer.oversized:
            return None
        self._note_sequence(self._last)
        sequence = self._sequence + 1
        if not self._opened:
            return render_error(sequence, code, message)
        return render_failed(keep_opened(_loads(self._opened)["response"]), sequence, code, message)


class _LargeEvent:
    """Reads an event too long to be kept, piece by piece: its own fields, and those of the response in it."""

    def __init__(self) -> None:
        self._head: bytes | None = b""
        self._event = ObjectScanner(_EVENT_FIELDS, skip_oversized=True)
        self._response = ObjectScanner(_RESPONSE_FIELDS, skip_oversized=True)
        self._reading: list[ObjectScanner] = []

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the event."""
        if self._head is None:
            for scanner in tuple(self._reading):
                self._scan(scanner, piece)
            return
        self._head += piece
        if len(self._head) >= _WINDOW or _LARGE_RESPONSE.search(self._head) is not None:
            self.begin()

    def begin(self) -> None:
        """Read what has come, now that it is clear where the response begins, or that there is no more to come."""
        head, self._head = self._head or b"", None
        for pattern, scanner in ((_LARGE_DATA, self._event), (_LARGE_RESPONSE, self._response)):
            found = pattern.search(head, 0, _WINDOW)
            if found is not None:
                self._reading.append(scanner)
                self._scan(scanner, head[found.start(1) :])

    def _scan(self, scanner: ObjectScanner, piece: bytes) -> None:
        """Read on; what follows the object, or is none, is no longer read."""
        try:
            scanner.feed(piece)
        except ScanError:
            self._reading.remove(scanner)

    def read(self) -> dict[str, Any]:
        """Return what has been found so far, in the event's own shape."""
        return {**_values(self._event), "response": _values(self._response)}


def _loads(data: bytes) -> dict[str, Any]:
    value = _value(data)
    return value if isinstance(value, dict) else {}


def _value(data: bytes) -> Any:
    """Parse JSON; None for what is none, or spells what Python cannot hold."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _kind(event: dict[str, Any]) -> str:
    kind = event.get("type")
    return kind if isinstance(kind, str) else ""


def _values(scanner: ObjectScanner) -> dict[str, Any]:
    return {name: _value(raw) for name, raw in scanner.values.items()}


def put_down(record: Record, response: dict[str, Any]) -> None:
    """Note what a response object tells; it may be the first, partial one."""
    if isinstance(response.get("id"), str):
        record.response_id = response["id"]
    if isinstance(response.get("model"), str) and not record.model:
        record.model = response["model"]
    usage = parse_usage(response.get("usage"))
    if usage is not None:
        record.usage = usage
