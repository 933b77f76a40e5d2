"""Translates a stream of the Messages API into the Responses event stream."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from proxy.dialects.anthropic_messages.assembly import Assembly
from proxy.dialects.anthropic_messages.outcome import merge_usage, parse_tier, parse_usage, read_error
from proxy.dialects.base import Context
from proxy.dialects.translator import Malformed, SseTranslator

_WITHIN: Final = -1
"""The index of blocks that are told whole."""


class MessagesTranslator(SseTranslator):
    """Reads events up to `message_stop`; a body that ends behind the stop reason is whole without it."""

    dialect = "a message"

    def __init__(self, context: Context) -> None:
        self._assembly = Assembly(context)
        super().__init__(context, self._assembly.writer)
        self._told: Mapping[str, Any] = {}
        self._id: Any = None
        self._stop_reason: Any = None
        self._details: Any = None
        self._readers: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "message_start": self._start,
            "content_block_start": self._start_block,
            "content_block_delta": self._read_delta,
            "content_block_stop": self._stop_block,
            "message_delta": self._read_end,
            "message_stop": self._stop,
            "error": self._fail,
        }

    def _finish(self) -> None:
        if self._stop_reason is not None:
            self._stop({})

    def _read_data(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self._finish()
            return
        event = orjson.loads(data)
        if not isinstance(event, dict):
            return
        kind = event.get("type")
        reader = self._readers.get(kind) if isinstance(kind, str) else None
        if reader is not None:
            reader(event)
        elif event.get("error"):
            self._fail(event)

    def _start(self, event: Mapping[str, Any]) -> None:
        message = event.get("message")
        if not isinstance(message, dict):
            return
        self._count(message.get("usage"))
        if self._id is not None:
            # Some servers say it twice; another message is a second attempt spliced behind a first that broke off.
            if message.get("id") != self._id:
                raise Malformed("Another message begins within the first.")
            return
        self._id = message.get("id") or ""
        model = message.get("model")
        if isinstance(model, str) and model:
            self.writer.report(model=model)
        # What a message that goes on had before is told at once.
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            self._assembly.start(_WITHIN, block)
            self._assembly.stop(_WITHIN)

    def _count(self, usage: Any) -> None:
        self._told = merge_usage(self._told, usage)
        self.usage = parse_usage(self._told)
        tier = parse_tier(usage)
        if tier is not None:
            self.writer.report(service_tier=tier)

    def _start_block(self, event: Mapping[str, Any]) -> None:
        self._assembly.start(_index(event), event.get("content_block"))

    def _read_delta(self, event: Mapping[str, Any]) -> None:
        delta = event.get("delta")
        if isinstance(delta, dict):
            self._assembly.take(_index(event), delta)

    def _stop_block(self, event: Mapping[str, Any]) -> None:
        self._assembly.stop(_index(event))

    def _read_end(self, event: Mapping[str, Any]) -> None:
        self._count(event.get("usage"))
        delta = event.get("delta")
        if isinstance(delta, dict):
            self._stop_reason = delta.get("stop_reason") or self._stop_reason
            self._details = delta.get("stop_details") or self._details

    def _stop(self, _event: Mapping[str, Any]) -> None:
        self._assembly.finish(self._stop_reason, self._details, self.usage)

    def _fail(self, event: Mapping[str, Any]) -> None:
        self.writer.fail(read_error(event), self.usage, announce=True)


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    return index if type(index) is int else 0
