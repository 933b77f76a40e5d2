"""Translates the event stream of Converse into the Responses event stream."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from proxy.dialects.base import Context
from proxy.dialects.bedrock_converse.assembly import Assembly
from proxy.dialects.bedrock_converse.frames import Frame, Frames
from proxy.dialects.bedrock_converse.outcome import (
    CUT_SHORT,
    FAILED,
    parse_exception,
    parse_tier,
    parse_usage,
    stopped_badly,
)
from proxy.dialects.translator import Malformed, StreamTranslator


class ConverseTranslator(StreamTranslator):
    """Reads messages up to the stop reason and the usage, which comes behind it or, from some, not at all."""

    dialect = "a Converse stream"

    def __init__(self, context: Context) -> None:
        self._assembly = Assembly(context)
        super().__init__(context, self._assembly.writer)
        self._frames = Frames(context.limit)
        self._stopped: str | None = None
        self._readers: Mapping[Any, Callable[[Mapping[str, Any]], None]] = {
            "contentBlockDelta": self._add_to_block,
            "contentBlockStart": self._start_block,
            "contentBlockStop": self._stop_block,
            "messageStop": self._stop,
            "metadata": self._account,
        }

    def _take(self, chunk: bytes) -> None:
        for frame in self._frames.feed(chunk):
            self._read(frame)
            if self.finished:
                return

    def _end(self) -> None:
        if self._stopped is not None and not self._frames.pending:
            self._done()

    def _read(self, frame: Frame) -> None:
        headers = frame.headers
        if headers.get(":message-type") in ("exception", "error"):
            self.writer.fail(parse_exception(headers, frame.payload), self.usage, announce=True)
            return
        reader = self._readers.get(headers.get(":event-type"))
        if reader is None:
            return
        event = orjson.loads(frame.payload)
        if not isinstance(event, dict):
            raise Malformed("An event is not an object.")
        reader(event)

    def _start_block(self, event: Mapping[str, Any]) -> None:
        self._assembly.start(event.get("contentBlockIndex"), event.get("start"))

    def _add_to_block(self, event: Mapping[str, Any]) -> None:
        self._assembly.delta(event.get("contentBlockIndex"), event.get("delta"))

    def _stop_block(self, event: Mapping[str, Any]) -> None:
        self._assembly.stop(event.get("contentBlockIndex"))

    def _stop(self, event: Mapping[str, Any]) -> None:
        """Close the items; the end waits for the usage."""
        self._stopped = str(event.get("stopReason"))
        if self._stopped not in FAILED:
            self._assembly.settle(CUT_SHORT.get(self._stopped))
        if self.usage is not None:
            self._done()

    def _account(self, event: Mapping[str, Any]) -> None:
        self.usage = parse_usage(event.get("usage")) or self.usage
        tier = parse_tier(event.get("serviceTier"))
        if tier is not None:
            self.writer.report(service_tier=tier)
        if self._stopped is not None:
            self._done()

    def _done(self) -> None:
        stopped = self._stopped or ""
        if stopped in FAILED:
            self.writer.fail(stopped_badly(stopped), self.usage, announce=True)
        else:
            self.writer.finish(CUT_SHORT.get(stopped), self.usage)
