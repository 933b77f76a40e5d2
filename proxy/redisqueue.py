"""Writes on their way to Redis: in groups, bounded, and waited for only while Redis takes them.

Whoever puts a write may wait for the pipeline that carries it, which takes what arrived while the one before it was
under way. While Redis is away (`down`) or takes no writes (`read_only`) nothing waits: writes queue, and one probe a
second looks whether it is back.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from proxy.logs import Log
from proxy.metrics import Metrics

PROBE_INTERVAL = 1.0
"""Seconds between two tries while Redis is away."""

STATES = UP, READ_ONLY, DOWN = "up", "read_only", "down"

FOREIGN = (RedisError, OSError)
"""What asking Redis raises."""

Value = TypeVar("Value")


class Write(NamedTuple, Generic[Value]):
    """A value to set, or None to delete; what it weighs; and who waits to hear whether it was accepted."""

    value: Value | None
    weight: int
    waiter: asyncio.Future[bool] | None


class Names(NamedTuple):
    """What a queue is called: the label of its pipelines, and the events of a change of state and of a loss."""

    operation: str
    state: str
    lost: str


class RedisQueue(Generic[Value]):
    """The writes of one store, one a key: a later one replaces an earlier one that still waits.

    `send` writes a batch, none of it twice, and tells of each write whether it was accepted; of an empty batch it
    only asks whether Redis is there. `dropped` is told how many writes are given up where more than `limit` waits.
    `run` has to run for writes to happen. `clock` returns seconds.
    """

    def __init__(
        self,
        send: Callable[[Mapping[bytes, Write[Value]]], Awaitable[list[bool]]],
        *,
        limit: int,
        batch: int,
        names: Names,
        dropped: Callable[[int], None],
        metrics: Metrics,
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._limit = limit
        self._batch = batch
        self._names = names
        self._dropped = dropped
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._waiting: OrderedDict[bytes, Write[Value]] = OrderedDict()
        self._under_way: dict[bytes, Write[Value]] = {}
        self._wanted = asyncio.Event()
        self._stopping = asyncio.Event()
        self.state = UP
        self.weight = 0
        """Of the writes that wait."""

    def __len__(self) -> int:
        """Return how many writes wait."""
        return len(self._waiting)

    def get(self, key: bytes) -> Write[Value] | None:
        """Return the write that waits for a key or is under way."""
        return self._waiting.get(key) or self._under_way.get(key)

    def put(self, key: bytes, value: Value | None, weight: int = 1) -> asyncio.Future[bool]:
        """Queue a write; return what tells, at once unless Redis is up, whether it was accepted."""
        waiter: asyncio.Future[bool] = self._loop.create_future()
        waiting = self.state == UP
        if not waiting:
            waiter.set_result(True)
        replaced = self._waiting.pop(key, None)
        if replaced is not None:
            self.weight -= replaced.weight
            release(replaced, accepted=False)
        self._waiting[key] = Write(value, weight, waiter if waiting else None)
        self.weight += weight
        self._bound()
        self._wanted.set()
        return waiter

    def withdraw(self, key: bytes) -> Write[Value] | None:
        """Take a write back, which may be on its way already but is not tried again; None where there is none."""
        under_way, waiting = self._under_way.pop(key, None), self._waiting.pop(key, None)
        if waiting is not None:
            self.weight -= waiting.weight
        for write in (under_way, waiting):
            if write is not None:
                release(write, accepted=False)
        return waiting or under_way

    def _bound(self) -> None:
        """Give up the oldest writes past the limit; the last one may weigh more than that alone."""
        while self.weight > self._limit and len(self._waiting) > 1:
            write = self._waiting.popitem(last=False)[1]
            self.weight -= write.weight
            release(write)
            self._dropped(1)

    async def run(self) -> None:
        """Write what is queued until `stop`; the one task that writes."""
        try:
            await self._write_on()
        finally:
            # Nobody may wait for what is no longer written.
            self.state = DOWN
            self._release_waiting()

    async def _write_on(self) -> None:
        while not self._stopping.is_set():
            await self._wanted.wait()
            self._wanted.clear()
            while (self._waiting or self.state != UP) and not self._stopping.is_set():
                if not await self.commit():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), PROBE_INTERVAL)
        while self._waiting and await self.commit():
            pass
        if self._waiting:
            self._dropped(len(self._waiting))
            self._log.event(self._names.lost, count=len(self._waiting))

    def stop(self) -> None:
        """Make `run` write what is queued, once, and end."""
        self._stopping.set()
        self._wanted.set()

    async def commit(self) -> bool:
        """Write one batch and let go whoever waits for it; return whether Redis took it."""
        batch = self._next_batch()
        self._under_way = dict(batch)
        started = self._clock()
        try:
            answers = await self._send(batch)
        except FOREIGN as error:
            self._metrics.redis(self._names.operation, "error", self._clock() - started)
            self._put_back()
            self.fail(error)
            return False
        else:
            self._metrics.redis(self._names.operation, "ok", self._clock() - started)
            for write, accepted in zip(batch.values(), answers, strict=True):
                release(write, accepted=accepted)
            self._change(UP)
            return True
        finally:
            self._under_way = {}
            for write in batch.values():
                release(write)

    def _next_batch(self) -> dict[bytes, Write[Value]]:
        batch: dict[bytes, Write[Value]] = {}
        weight = 0
        while self._waiting:
            key, write = next(iter(self._waiting.items()))
            weight += write.weight
            if batch and weight > self._batch:
                break
            batch[key] = write
            del self._waiting[key]
            self.weight -= write.weight
        return batch

    def _put_back(self) -> None:
        """Queue what was under way again, before the rest, but for what was replaced or withdrawn meanwhile."""
        back = {key: write for key, write in self._under_way.items() if key not in self._waiting}
        self._waiting = OrderedDict({**back, **self._waiting})
        self.weight += sum(write.weight for write in back.values())
        self._bound()

    def fail(self, error: Exception) -> None:
        """Take note of an error that asking Redis has raised."""
        self._change(state_after(error), error)

    def _change(self, state: str, error: Exception | None = None) -> None:
        if state == self.state:
            return
        before, self.state = self.state, state
        queued = len(self._waiting)
        self._log.event(self._names.state, state=state, before=before, queued=queued, error=_describe(error))
        if state != UP:
            self._wanted.set()
            self._release_waiting()

    def _release_waiting(self) -> None:
        for write in (*self._under_way.values(), *self._waiting.values()):
            release(write)


def release(write: Write[Value], *, accepted: bool = True) -> None:
    """Let go whoever waits for a write, written or not."""
    if write.waiter is not None and not write.waiter.done():
        write.waiter.set_result(accepted)


def state_after(error: Exception) -> str:
    """Tell a server that answers, though with an error, from one that is away."""
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
        return DOWN
    return READ_ONLY if isinstance(error, ResponseError) else DOWN


def _describe(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {str(error)[:200]}"
