"""Taps of streams that do more than look: one translates what passes, one remembers what passed. Pure.

Both hand every run of events that goes on to `log`, and are `identified` a second time when the response has ended:
what it ended as is to be kept before the client learns of it.
"""

from collections.abc import Callable
from typing import Any

import orjson

from proxy.dialects.base import Translator
from proxy.dialects.responses import tell_previous_in
from proxy.record import Record
from proxy.sse import data_of, split
from proxy.tap import StreamTap, put_down

Log = Callable[[bytes], None]


class TranslatingTap:
    """Passes on what a translator makes of the bytes."""

    aligned = True

    __slots__ = ("_log", "_opened", "_record", "_translator", "abandoned", "finished", "identified", "response")

    def __init__(self, translator: Translator, record: Record, log: Log) -> None:
        self._translator = translator
        self._record = record
        self._log = log
        self._opened = False
        self.abandoned = False
        self.finished = False
        self.identified = False
        self.response: bytes | None = None
        """The response as the terminal event carries it; None before."""

    def feed(self, chunk: bytes, now: float) -> bytes:
        """Take a chunk of the provider's format, return the events it makes."""
        block = self._translator.feed(chunk)
        record = self._record
        if record.first_chunk:
            record.last_chunk = now
            record.chunks += 1
        elif b'.delta"' in block:
            record.first_chunk = record.last_chunk = now
            record.chunks = 1
        return self._note(block)

    def close(self) -> bytes:
        """Return the events that the end of the body makes."""
        block = self._note(self._translator.close())
        if self._record.error_type == "upstream_disconnected":
            self._record.end = "upstream_cut"
        return block

    def broken(self, code: str, message: str) -> bytes:
        """Return the events that end a response whose body died."""
        return self._note(self._translator.fail(code, message))

    def _note(self, block: bytes) -> bytes:
        if not block:
            return block
        if not self._opened:
            self._opened = self.identified = True
        self._log(block)
        if self._translator.finished and not self.finished:
            self._end()
        return block

    def _end(self) -> None:
        self.finished = self.identified = True
        self.response = self._translator.response
        end = note_end(self._record, orjson.loads(self.response or b"{}"))
        self.abandoned = end == "failed"


class KeepingTap(StreamTap):
    """Passes the provider's own events, as a StreamTap does; those with a response tell the `previous` one, if any."""

    __slots__ = ("_log", "_previous", "_told")

    def __init__(self, record: Record, *, limit: int, log: Log, previous: str | None = None) -> None:
        super().__init__(record, limit=limit)
        self._log = log
        self._previous = previous
        self._told = False

    def feed(self, chunk: bytes, now: float) -> bytes:
        """Take a chunk, return its complete events."""
        was_oversized = self._framer.oversized
        block = super().feed(chunk, now)
        if not was_oversized and not self._framer.oversized:
            block = self._tell(block)
        return self._note(block)

    def close(self) -> bytes:
        """Return what a finished stream has behind its last complete event."""
        return self._note(self._tell(super().close()))

    def _tell(self, block: bytes) -> bytes:
        if self._previous is None or b'"response"' not in block:
            return block
        return b"".join(tell_previous_in(event, self._previous) for event in split(block))

    def broken(self, code: str, message: str) -> bytes | None:
        """Render the end of a response whose body died, which is kept as the provider's own would be."""
        event = super().broken(code, message)
        if event is None:
            return None
        self.response = orjson.loads(data_of(event)).get("response")
        return self._note(self._tell(event))

    def _note(self, block: bytes) -> bytes:
        if block:
            self._log(block)
        # An `error` comes before the end of a failed response: what is kept is that end.
        if self.response is not None and not self._told:
            self._told = self.identified = True
            if self._previous is not None:
                self.response = {**self.response, "previous_response_id": self._previous}
        return block


def note_end(record: Record, response: dict[str, Any]) -> str:
    """Put down what a response ended as, and return its status."""
    put_down(record, response)
    status = str(response.get("status") or "completed")
    record.end = status
    error = response.get("error")
    if isinstance(error, dict):
        record.error_type = str(error.get("code") or status)
    return status
