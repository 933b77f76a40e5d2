"""Writes a Responses event stream: one frame an event, in the order and with the identities official clients check.

The order is `response.created`, `response.in_progress`, the events of the output items, then exactly one of
`response.completed`, `response.incomplete` and `response.failed`. Sequence numbers count from 0.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import orjson

from proxy.dialects.base import Context, Failure
from proxy.dialects.opened import open_response
from proxy.errors import printable
from proxy.sse import encode

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Reason = Literal["max_output_tokens", "content_filter"]

_ITEM_COST: Final = 256
"""Bytes an item counts for beside its text, so that empty ones are bounded too."""


class OutputTooLong(Exception):
    """The provider sends more than the limit on what is accumulated."""


class TokenCounts(NamedTuple):
    """Token usage as the API defines it: `cached` and `cache_write` are within `input`, `reasoning` within `output`."""

    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int
    total: int

    def render(self) -> dict[str, Any]:
        """Render the `usage` member of a response."""
        return {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": self.cache_write},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.total,
        }


class EventWriter:
    """Writes the events of one response; `take` returns the frames written since it was last asked.

    Whatever adds output raises OutputTooLong past the limit: then `fail` is what is left to call.
    """

    def __init__(self, context: Context) -> None:
        self._response = open_response(context)
        self._clock: Callable[[], float] = context.clock
        self._left = context.limit
        self._frames: list[bytes] = []
        self._sequence = 0
        self._items: list[OutputItem] = []
        self._call_ids: set[str] = set()
        self.response: bytes | None = None
        """The response as the terminal event carries it; None before."""

    def take(self) -> bytes:
        """Return what was written, and forget it."""
        frames = b"".join(self._frames)
        self._frames.clear()
        return frames

    def open(self) -> None:
        """Write the events that come first."""
        response = orjson.Fragment(orjson.dumps(self._response))
        self.emit("response.created", response=response)
        self.emit("response.in_progress", response=response)

    def report(self, **members: Any) -> None:
        """Set members of the response that the provider tells, for the terminal event."""
        self._response.update(members)

    def emit(self, name: str, /, **members: Any) -> None:
        """Write one event."""
        event = {"type": name, "sequence_number": self._sequence, **members}
        self._frames.append(encode(name, orjson.dumps(event)))
        self._sequence += 1

    def emit_delta(self, template: bytes, delta: str, rest: bytes) -> None:
        """Write a delta by a template that takes the sequence number, the delta in JSON, and further members."""
        encoded = orjson.dumps(delta)
        self.spend(len(encoded))
        self._frames.append(template % (self._sequence, encoded, rest))
        self._sequence += 1

    def spend(self, count: int) -> None:
        """Count bytes that are kept until the end."""
        self._left -= count
        if self._left < 0:
            raise OutputTooLong

    def add(self, item: "OutputItem", prefix: str) -> tuple[int, str]:
        """Take an item in, and return its index and id."""
        self.spend(_ITEM_COST)
        index = len(self._items)
        self._items.append(item)
        return index, f"{prefix}_{self._stem}{index:02x}"

    def call_id(self, given: str) -> str:
        """Return a call id no other call of this response has: the provider's own where that will do."""
        own = given if given and given not in self._call_ids else f"call_{self._stem}{len(self._items):02x}"
        self._call_ids.add(own)
        return own

    @property
    def _stem(self) -> str:
        return str(self._response["id"]).rpartition("_")[2]

    def settle(self, reason: Reason | None) -> None:
        """Close what is open; with a reason for which the output is cut short, the last item as incomplete."""
        for item in self._items:
            item.close("completed" if reason is None or item is not self._items[-1] else "incomplete")

    def finish(self, reason: Reason | None, usage: TokenCounts | None) -> None:
        """Close what is open and write the end: incomplete where there is a reason, otherwise completed."""
        self.settle(reason)
        if reason is None:
            self._end("completed", usage, completed_at=int(self._clock()))
        else:
            self._end("incomplete", usage, incomplete_details={"reason": reason})

    def fail(self, failure: Failure, usage: TokenCounts | None = None, *, announce: bool) -> None:
        """Write the end of a failed response; what `announce`d is the provider's own has an `error` event first."""
        message = printable(failure.message)
        if announce:
            detail = {"type": failure.type, "code": failure.code, "message": message, "param": failure.param}
            self.emit("error", error=detail)
        # Items that have no end are told in the response only: their `done` would say that they can be used.
        self._end("failed", usage, error={"code": failure.code, "message": message})

    def _end(self, status: str, usage: TokenCounts | None, **members: Any) -> None:
        output = [item.result if item.closed else item.render("incomplete") for item in self._items]
        ended = {**self._response, "status": status, "output": output, **members}
        ended["usage"] = None if usage is None else usage.render()
        self.response = orjson.dumps(ended)
        self.emit(f"response.{status}", response=orjson.Fragment(self.response))


class OutputItem(ABC):
    """One item of the output; making it writes `response.output_item.added`."""

    __slots__ = ("_writer", "closed", "id", "index", "result")

    def __init__(self, writer: EventWriter, prefix: str) -> None:
        self._writer = writer
        self.closed = False
        self.index, self.id = writer.add(self, prefix)
        self.result: Any = None
        """The finished item as JSON, once closed."""

    @abstractmethod
    def render(self, status: ItemStatus) -> Mapping[str, Any]:
        """Render the item as it stands."""

    @abstractmethod
    def _settle(self, status: ItemStatus) -> None:
        """Write the events that end what is within the item."""

    def _announce(self) -> None:
        self._writer.emit("response.output_item.added", output_index=self.index, item=self.render("in_progress"))

    def close(self, status: ItemStatus = "completed") -> None:
        """End the item, once."""
        if self.closed:
            return
        self._settle(status)
        self.closed = True
        self.result = orjson.Fragment(orjson.dumps(self.render(status)))
        self._writer.emit("response.output_item.done", output_index=self.index, item=self.result)
