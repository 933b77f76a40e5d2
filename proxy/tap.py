"""Reads an answer beside its bytes: response id, status, usage, first output. Pure; bytes go on as they came.

Three readers with one shape, `feed(chunk, now)` and `close()`, which return the bytes to pass on:
`StreamTap` for server-sent events, `JsonTap` for a JSON object, `RawTap` for anything else. After a
`feed`, `identified` tells that the returned bytes are the first to carry a response's id: they wait
until it is bound. `broken` returns how a body that died has to end: an event, or None for an aborted connection.
"""

import re
from typing import Any, Protocol

import orjson

from proxy.envelope import ObjectScanner, ScanError
from proxy.record import Record
from proxy.sse import Framer, data_of, encode, split
from proxy.usage import parse_usage

ENDS = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
    "error": "upstream_error",
}
_TERMINAL = re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|cancelled)|error)"')
_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d+)')
_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')
_WINDOW = 2048
_SKELETON = 8192
_JSON_FIELDS = {"id": 512, "status": 64, "model": 256, "usage": 8192}


class Tap(Protocol):
    """What the relay needs of a reader."""

    identified: bool
    finished: bool

    @property
    def aligned(self) -> bool:
        """Whether a comment may be written now."""

    def feed(self, chunk: bytes, now: float) -> bytes:
        """Take a chunk, return the bytes to pass on."""

    def close(self) -> bytes:
        """Return what is left at the end of the body."""

    def broken(self, code: str, message: str) -> bytes | None:
        """Return the bytes that end a body which died, None where only an aborted connection can tell."""


class RawTap:
    """Passes everything, reads nothing."""

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

    `splice` is a member such as `"provider":"openai"`; empty for none. What is not a JSON object passes untouched.
    """

    aligned = False
    finished = False

    def __init__(self, record: Record, splice: bytes, *, max_depth: int) -> None:
        self.identified = False
        self._record = record
        self._splice = splice
        self._scanner: ObjectScanner | None = ObjectScanner(_JSON_FIELDS, max_depth=max_depth, skip_oversized=True)
        self._offset = 0
        self._end = bytearray()

    def feed(self, chunk: bytes, _now: float) -> bytes:
        """Take a chunk; from the object's closing brace on, bytes wait for `close`."""
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
        if len(self._end) > _WINDOW:
            return chunk[:cut] + self._give_up()
        return chunk[:cut]

    def _give_up(self) -> bytes:
        """Stop reading: what comes is no JSON object, or carries a tail without end."""
        self._scanner = None
        rest, self._end = bytes(self._end), bytearray()
        return rest

    def close(self) -> bytes:
        """Return the object's end, with the splice before it, and put down what was read."""
        scanner = self._scanner
        if scanner is None or scanner.end is None or not scanner.values:
            return self._give_up()
        values = {name: orjson.loads(raw) for name, raw in scanner.values.items()}
        _put_down(self._record, values)
        self.identified = bool(self._record.response_id)
        if not self._splice:
            return bytes(self._end)
        return b",%b%b" % (self._splice, bytes(self._end))

    def broken(self, _code: str, _message: str) -> bytes | None:
        """Tell that only an aborted connection shows the loss."""
        return None


class StreamTap:
    """Reads a stream of Responses events; returns whole events only (see `sse.Framer`).

    Keeps the last sequence number and the skeleton of the response, so that a stream the provider
    left can be ended by a well-formed `response.failed`.
    """

    def __init__(self, record: Record, *, limit: int) -> None:
        self.identified = False
        self.finished = False
        self._record = record
        self._framer = Framer(limit)
        self._last = b""
        self._sequence = -1
        self._skeleton = b""
        self._large = b""

    @property
    def aligned(self) -> bool:
        """Whether the client stands between two events."""
        return self._framer.aligned

    def feed(self, chunk: bytes, now: float) -> bytes:
        """Take a chunk, return its complete events; no delta event is parsed."""
        was_oversized = self._framer.oversized
        block = self._framer.feed(chunk)
        if not block:
            return block
        record = self._record
        if record.first_chunk:
            record.last_chunk = now
            record.chunks += 1
        elif b'.delta"' in block:
            record.first_chunk = record.last_chunk = now
            record.chunks = 1
        if len(block) <= _WINDOW:
            self._last = block
        else:
            self._note_sequence(block)
            self._last = b""
        if was_oversized or self._framer.oversized:
            self._read_large(block)
        self.identified = not self._skeleton and self._read_opening(block)
        if _TERMINAL.search(block) is not None:
            self._read_terminal(block)
        return block

    def close(self) -> bytes:
        """Return what a finished stream has behind its last complete event; of an unfinished one, nothing."""
        rest = self._framer.close()
        if rest and _TERMINAL.search(rest) is not None:
            self._read_terminal(rest)
        return rest if self.finished else b""

    def _read_opening(self, block: bytes) -> bool:
        """Look for the first event that carries the response."""
        for event in split(block):
            response = _response_of(event)
            if response is not None and isinstance(response.get("id"), str):
                _put_down(self._record, response)
                self._skeleton = _skeleton(response)
                return True
        return False

    def _read_terminal(self, block: bytes) -> None:
        for event in split(block):
            value = _loads(data_of(event))
            end = ENDS.get(value.get("type", ""))
            if end is None:
                continue
            self.finished = True
            if end != "upstream_error" or not self._record.end:
                self._record.end = end
            error = value.get("error")
            response = value.get("response")
            if isinstance(response, dict):
                _put_down(self._record, response)
                error = response.get("error") or error
            if isinstance(error, dict):
                self._record.error_type = str(error.get("code") or error.get("type") or end)
            elif end in ("failed", "upstream_error"):
                self._record.error_type = str(value.get("code") or end)

    def _read_large(self, block: bytes) -> None:
        """Keep an oversized event's first and last bytes; read what they tell once it has ended."""
        if not self._large:
            start = max(block.rfind(b"\nevent:", 0, -_WINDOW), block.rfind(b"\ndata:", 0, -_WINDOW), 0)
            self._large = block[start : start + _WINDOW]
        self._large = self._large[:_WINDOW] + (self._large[_WINDOW:] + block)[-4 * _WINDOW :]
        if self._framer.oversized:
            return
        large, self._large = self._large, b""
        found = _TERMINAL.search(large)
        if found is not None:
            kind = found.group().rpartition(b":")[2].strip(b' "\t\r\n').decode()
            self._record.end, self.finished = ENDS[kind], True
            if usage := _USAGE.search(large):
                self._record.usage = parse_usage(_loads(usage.group(1)))

    def _note_sequence(self, block: bytes) -> None:
        for found in _SEQUENCE.finditer(block):
            self._sequence = int(found.group(1))

    def broken(self, code: str, message: str) -> bytes | None:
        """Render `response.failed`; before any response was seen, an `error` event; None inside an oversized event."""
        if self._framer.oversized:
            return None
        self._note_sequence(self._last)
        sequence = self._sequence + 1
        error = {"code": code, "message": message}
        if not self._skeleton:
            detail = {"type": "server_error", **error, "param": None}
            event = {"type": "error", "sequence_number": sequence, "error": detail}
            return encode("error", orjson.dumps(event))
        response = {**orjson.loads(self._skeleton), "status": "failed", "error": error}
        event = {"type": "response.failed", "sequence_number": sequence, "response": response}
        return encode("response.failed", orjson.dumps(event))


def _loads(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _response_of(event: bytes) -> dict[str, Any] | None:
    response = _loads(data_of(event)).get("response") if b'"response"' in event else None
    return response if isinstance(response, dict) else None


def _put_down(record: Record, response: dict[str, Any]) -> None:
    """Note what a response object tells; it may be the first, partial one."""
    if isinstance(response.get("id"), str):
        record.response_id = response["id"]
    if isinstance(response.get("model"), str) and not record.model:
        record.model = response["model"]
    usage = parse_usage(response.get("usage"))
    if usage is not None:
        record.usage = usage


def _skeleton(response: dict[str, Any]) -> bytes:
    """Keep a response as it was opened; of a large one, the fields that grow with the request are left out."""
    response = {**response, "output": []}
    kept = orjson.dumps(response)
    if len(kept) > _SKELETON:
        kept = orjson.dumps({**response, "instructions": None, "tools": [], "text": {"format": {"type": "text"}}})
    return kept if len(kept) <= _SKELETON * 4 else orjson.dumps({name: response.get(name) for name in ("id", "object")})
