"""What every translator of a stream shares: the first byte opens the response, which ends exactly once."""

from abc import ABC, abstractmethod
from typing import Final

import orjson

from proxy.dialects.base import Context, Failure
from proxy.dialects.events import EventWriter, OutputTooLong, TokenCounts
from proxy.dialects.failures import TOO_LARGE, bad_answer
from proxy.sse import Framer, data_of, lone_data, split


class Malformed(Exception):
    """The provider's answer contradicts itself, or its format."""


UNREADABLE: Final = (Malformed, OutputTooLong, orjson.JSONDecodeError)
"""What a reader may raise: the response can then only fail."""


class StreamTranslator(ABC):
    """Turns a provider's stream into Responses events; `dialect` says in errors what the stream is not.

    A subclass reads with `_take` and `_end`, which may raise what is `UNREADABLE`, and ends the response by
    `writer.finish` or `writer.fail`.
    """

    dialect = ""

    def __init__(self, context: Context, writer: EventWriter) -> None:
        self.context = context
        self.writer = writer
        self.usage: TokenCounts | None = None
        """What is known of the usage, for an end that the provider does not tell."""
        self._opened = False

    @abstractmethod
    def _take(self, chunk: bytes) -> None:
        """Read bytes of the body as they come."""

    @abstractmethod
    def _end(self) -> None:
        """Read what is left at the end of the body, and finish the response if its format's own end was there."""

    @property
    def finished(self) -> bool:
        """Whether the terminal event has been returned."""
        return self.writer.response is not None

    @property
    def response(self) -> bytes | None:
        """The response as the terminal event carries it; None before."""
        return self.writer.response

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes of the body; the first open the response, whatever they are."""
        if self.writer.response is not None:
            return b""
        if not self._opened:
            self._open()
        try:
            self._take(chunk)
        except UNREADABLE as error:
            self._give_up(error)
        return self.writer.take()

    def close(self) -> bytes:
        """Take the end of the body."""
        if self.finished:
            return b""
        self._open()
        try:
            self._end()
        except UNREADABLE as error:
            self._give_up(error)
        return self.fail("upstream_disconnected", "The provider closed the connection in the middle of its answer.")

    def fail(self, code: str, message: str) -> bytes:
        """End the response as failed, where it has no end yet."""
        self._open()
        self._lose(Failure(502, "upstream_error", code, message))
        return self.writer.take()

    def _open(self) -> None:
        if not self._opened:
            self._opened = True
            self.writer.open()

    def _give_up(self, error: Exception) -> None:
        self._lose(TOO_LARGE if isinstance(error, OutputTooLong) else bad_answer(self.dialect))

    def _lose(self, failure: Failure) -> None:
        """Fail for a reason that is not the provider's to tell."""
        if not self.finished:
            self.writer.fail(failure, self.usage, announce=False)


class SseTranslator(StreamTranslator):
    """Reads server-sent events: a subclass takes the data of each, and tells at the end whether it was one."""

    def __init__(self, context: Context, writer: EventWriter) -> None:
        super().__init__(context, writer)
        self._framer = Framer(context.limit)

    @abstractmethod
    def _read_data(self, data: bytes) -> None:
        """Read the data of one event, which is not empty; not called any more once the response has ended."""

    @abstractmethod
    def _finish(self) -> None:
        """Finish the response at the end of the body, if everything that has to come before was there."""

    def _take(self, chunk: bytes) -> None:
        # Nearly every chunk is one event.
        data = b"" if self._framer.held else lone_data(chunk)
        if data:
            self._read_data(data)
            return
        block = self._framer.feed(chunk)
        if self._framer.oversized:
            self._read(block[: len(block) - self._framer.opened])
            raise Malformed("An event is too long.")
        if block:
            self._read(block)

    def _end(self) -> None:
        rest = self._framer.close()
        if is_whole(rest):
            self._read(rest)
        if not self.finished:
            self._finish()

    def _read(self, block: bytes) -> None:
        """Read whole events until the response ends."""
        for event in split(block):
            data = data_of(event)
            if data and not self.finished:
                self._read_data(data)


def is_whole(event: bytes) -> bool:
    """Tell whether an event without its blank line is there to its end."""
    data = data_of(event)
    if data.startswith(b"[DONE]"):
        return True
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
