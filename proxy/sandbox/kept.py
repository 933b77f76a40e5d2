"""What the sandbox remembers: a bounded number of responses and conversations, and how far each has got."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson

from proxy.dialects.replay import unfinished
from proxy.sandbox.scripted import Json, events, render

Value = TypeVar("Value")

ENTRY_BYTES = 1024
"""What an entry weighs beside its JSON."""


class Shelf(Generic[Value]):
    """A mapping that forgets its oldest entries beyond a number or a weight in bytes."""

    def __init__(self, entries: int, size: int) -> None:
        self._entries = entries
        self._size = size
        self._values: OrderedDict[str, tuple[Value, int]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._values)

    def put(self, key: str, value: Value, size: int) -> None:
        """Keep a value of `size` bytes; one that is heavier than the whole shelf is not kept."""
        self.remove(key)
        self._values[key] = (value, size + ENTRY_BYTES)
        self.size += size + ENTRY_BYTES
        while self.size > self._size or len(self._values) > self._entries:
            self.size -= self._values.popitem(last=False)[1][1]

    def get(self, key: str) -> Value | None:
        """Return what is kept under a key."""
        found = self._values.get(key)
        return None if found is None else found[0]

    def remove(self, key: str) -> bool:
        """Forget a key; False where it was not kept."""
        found = self._values.pop(key, None)
        if found is not None:
            self.size -= found[1]
        return found is not None


@dataclass(slots=True)
class Kept:
    """One response: what it is when finished, and when that is. Times are seconds on one monotonic clock."""

    final: bytes
    items: bytes
    previous: str | None
    background: bool
    pace: float
    """Events a second; 0 is all at once."""
    started: float
    finished: float
    """Infinite while the end depends on a client that reads."""
    stop: int | None = None
    """The number of events that went before it was cancelled."""
    silence: float = 0.0
    """Seconds in which nothing goes out, in the middle."""
    middle: int = 0
    """The number of the first event behind the silence."""

    @classmethod
    def begin(cls, response: Json, items: list[Json], *, pace: float, now: float, silence: float = 0.0) -> "Kept":
        """Begin a response, of which everything but the time is known."""
        count = sum(1 for _ in events(response))
        return cls(
            render(response),
            render(items),
            response["previous_response_id"],
            response["background"],
            pace,
            now,
            now + ((count - 1) / pace if pace else 0.0) + silence,
            silence=silence,
            middle=count // 2,
        )

    @property
    def size(self) -> int:
        """Return the bytes that keeping this takes, nearly."""
        return len(self.final) + len(self.items)

    def due(self, number: int) -> float:
        """Return when the event with this sequence number goes out."""
        silence = self.silence if number >= self.middle else 0.0
        return self.started + silence + (number / self.pace if self.pace else 0.0)

    def state(self, now: float) -> str:
        """Return the status at a time."""
        if self.stop is not None:
            return "cancelled"
        if now >= self.finished:
            return "finished"
        return "queued" if self.background and now < self.due(2) else "in_progress"

    def snapshot(self, now: float) -> bytes:
        """Return the response as it is at a time."""
        state = self.state(now)
        return self.final if state == "finished" else render(unfinished(orjson.loads(self.final), state))

    def cancel(self, now: float) -> None:
        """Stop a response that has not finished."""
        if self.state(now) in {"queued", "in_progress"}:
            last = sum(1 for _ in events(orjson.loads(self.final))) - 1
            self.stop = next((number for number in range(last) if self.due(number) > now), last)

    def events(self) -> Iterator[Json]:
        """Yield the events of the whole response."""
        return events(orjson.loads(self.final))

    def cut(self, number: int) -> Json | None:
        """Return the event that takes this sequence number, and ends the stream, because of a cancellation.

        The protocol has no event of its own for that: it is `response.incomplete` with the status `cancelled`.
        """
        if self.stop is None or number < self.stop:
            return None
        response = unfinished(orjson.loads(self.final), "cancelled")
        return {"type": "response.incomplete", "response": response, "sequence_number": number}
