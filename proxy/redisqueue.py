"""Writes on their way to Redis: in groups, bounded, and waited for only while Redis takes them.

Whoever puts a write may wait for the pipeline that carries it, which takes what arrived while the one before it was
under way. Each place that keys live in has a lane of its own: while its server is away (`down`) or takes no writes
(`read_only`) nothing waits for it, its writes queue, and one probe a second looks whether it is back; the others' go
on. What is not in Redis is nowhere only once every process had the time to write what it queued.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from proxy.logs import Log
from proxy.metrics import Metrics
from proxy.redisline import FOREIGN
from proxy.redislink import Link, is_demoted

PROBE_INTERVAL = 1.0
"""Seconds between two tries while Redis is away."""
SETTLING = 5.0
"""Seconds after Redis came back in which other processes may still hold writes that it has not."""
REPEATED, OUTAGE = 2.0, 60.0
"""Seconds of acknowledged writes that a server which went away may have lost, not being on its disk nor at its replica
yet, and how long ago that may have been."""

STATES = UP, READ_ONLY, DOWN = "up", "read_only", "down"

Value = TypeVar("Value")


class Write(NamedTuple, Generic[Value]):
    """A value to set, or None to delete; what it weighs; who waits to hear whether it was accepted; whether it was."""

    value: Value | None
    weight: int
    waiter: asyncio.Future[bool] | None
    again: bool = False


class Names(NamedTuple):
    """What a queue is called: the label of its pipelines, and the events of a change of state and of a loss."""

    operation: str
    state: str
    lost: str


class _Lane(Generic[Value]):
    """The writes for one place: what waits, is under way or was taken lately, and whether its server takes any.

    `wanted` wakes its writer, `again` the one that pauses before it tries again. What is not found there is nowhere
    from `sure_from` on. A lane is `left` once no key lives there any more.
    """

    __slots__ = ("again", "batch", "left", "place", "recent", "state", "sure_from", "waiting", "wanted")

    def __init__(self, place: str, state: str, sure_from: float) -> None:
        self.place = place
        self.state = state
        self.sure_from = sure_from
        self.waiting: OrderedDict[bytes, Write[Value]] = OrderedDict()
        self.batch: dict[bytes, Write[Value]] = {}
        self.recent: deque[tuple[float, dict[bytes, Write[Value]]]] = deque()
        self.wanted = asyncio.Event()
        self.again = asyncio.Event()
        self.left = False


class RedisQueue(Generic[Value]):
    """The writes of one store, one a key: a later one replaces an earlier one that still waits.

    `send` writes a batch of one place, none of it twice, and tells of each write whether it was accepted. `dropped` is
    told how many writes are given up where more than `limit` waits. Where `repeats`, what was acknowledged just before
    a server went away is written again. `run` has to run for writes to happen. `clock` returns seconds.
    """

    def __init__(
        self,
        send: Callable[[Mapping[bytes, Write[Value]]], Awaitable[list[bool]]],
        link: Link,
        *,
        limit: int,
        batch: int,
        names: Names,
        dropped: Callable[[int], None],
        metrics: Metrics,
        log: Log,
        clock: Callable[[], float],
        repeats: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._link = link
        self._place_of = link.place_of
        self._limit = limit
        self._batch = batch
        self._names = names
        self._dropped = dropped
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._repeats = repeats
        self.weight = 0
        """Of the writes that wait."""
        self._lanes: dict[str, _Lane[Value]] = {}
        self._under_way: dict[bytes, Write[Value]] = {}
        self._writers: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._first_state = UP
        for place in link.places():
            self._add_lane(place)
        link.watch(self)

    def _add_lane(self, place: str, sure_from: float = 0) -> _Lane[Value]:
        lane = self._lanes[place] = _Lane(place, self._first_state, sure_from)
        if self._writers is not None:
            self._writers.create_task(self._write_on(lane))
        return lane

    def _lane_of(self, key: bytes) -> _Lane[Value]:
        place = self._place_of(key)
        return self._lanes.get(place) or self._add_lane(place)

    def __len__(self) -> int:
        """Return how many writes wait."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    @property
    def state(self) -> str:
        """Whether Redis takes writes: the worst that is known of any place."""
        states = {lane.state for lane in self._lanes.values()}
        return next((state for state in (DOWN, READ_ONLY) if state in states), UP)

    def state_of(self, key: bytes) -> str:
        """Tell whether the server that a key lives at takes writes, as far as this process knows."""
        return self._lane_of(key).state

    def is_sure_of(self, key: bytes) -> bool:
        """Tell whether a key that is not in Redis is in no process's queue either."""
        lane = self._lane_of(key)
        return lane.state == UP and self._clock() >= lane.sure_from

    async def confirms_absence(self, key: bytes) -> bool:
        """Tell whether a key that was just not found in Redis is nowhere."""
        return self.is_sure_of(key) and await self._link.confirms() and self.is_sure_of(key)

    def get(self, key: bytes) -> Write[Value] | None:
        """Return the write that waits for a key or is under way."""
        return self._lane_of(key).waiting.get(key) or self._under_way.get(key)

    def put(self, key: bytes, value: Value | None, weight: int = 1) -> asyncio.Future[bool]:
        """Queue a write; return what tells, at once unless its server is up, whether it was accepted."""
        lane = self._lane_of(key)
        waiter: asyncio.Future[bool] = self._loop.create_future()
        waiting = lane.state == UP
        if not waiting:
            waiter.set_result(True)
        replaced = lane.waiting.pop(key, None)
        if replaced is not None:
            self.weight -= replaced.weight
            release(replaced, accepted=False)
        # What is under way is not tried again when it fails.
        self._under_way.pop(key, None)
        self._add(lane, key, Write(value, weight, waiter if waiting else None))
        if self.weight > self._limit:
            self._bound()
        return waiter

    def _add(self, lane: _Lane[Value], key: bytes, write: Write[Value]) -> None:
        lane.waiting[key] = write
        self.weight += write.weight
        lane.wanted.set()

    def withdraw(self, key: bytes) -> Write[Value] | None:
        """Take a write back, which may be on its way already but is not tried again; None where there is none."""
        under_way, waiting = self._under_way.pop(key, None), self._lane_of(key).waiting.pop(key, None)
        if waiting is not None:
            self.weight -= waiting.weight
        for write in (under_way, waiting):
            if write is not None:
                release(write, accepted=False)
        return waiting or under_way

    def _bound(self) -> None:
        """Give up the oldest writes, of the place with most of them; the last of one may weigh more than all may."""
        while self.weight > self._limit:
            lane = max(self._lanes.values(), key=lambda lane: len(lane.waiting))
            if len(lane.waiting) <= 1:
                break
            write = lane.waiting.popitem(last=False)[1]
            self.weight -= write.weight
            release(write)
            self._dropped(1)

    # -- writing ---------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Find out whether Redis is there, so that the first request need not."""
        await asyncio.gather(*(self._commit(lane) for lane in list(self._lanes.values())))

    async def run(self) -> None:
        """Write what is queued until `stop`; the one task that writes."""
        try:
            async with asyncio.TaskGroup() as self._writers:
                for lane in self._lanes.values():
                    self._writers.create_task(self._write_on(lane))
                await self._stopping.wait()
            if len(self):
                self._dropped(len(self))
                self._log.event(self._names.lost, count=len(self))
        finally:
            # Nobody may wait for what is no longer written.
            self._first_state, self._writers = DOWN, None
            for lane in self._lanes.values():
                lane.state = DOWN
                self._release_waiting(lane)

    async def _write_on(self, lane: _Lane[Value]) -> None:
        while not self._stopping.is_set() and not lane.left:
            await lane.wanted.wait()
            lane.wanted.clear()
            while (lane.waiting or lane.state != UP) and not self._stopping.is_set() and not lane.left:
                if not await self._commit(lane):
                    lane.again.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(lane.again.wait(), PROBE_INTERVAL)
        while lane.waiting and await self._commit(lane):
            pass

    def stop(self) -> None:
        """Make `run` write what is queued, once, and end."""
        self._stopping.set()
        for lane in self._lanes.values():
            lane.wanted.set()
            lane.again.set()

    async def _commit(self, lane: _Lane[Value]) -> bool:
        """Write one batch and let go whoever waits for it; return whether Redis took it."""
        batch = lane.batch = self._next_batch(lane)
        self._under_way.update(batch)
        started = self._clock()
        try:
            if batch:
                answers = await self._send(batch)
            else:
                answers = []
                await self._link.probe(lane.place)
        except FOREIGN as error:
            self._metrics.redis(self._names.operation, "error", self._clock() - started)
            self._put_back(batch)
            self._change(lane, state_after(error), error)
            return False
        else:
            self._metrics.redis(self._names.operation, "ok", self._clock() - started)
            for write, accepted in zip(batch.values(), answers, strict=True):
                release(write, accepted=accepted)
            self._change(lane, UP)
            if self._repeats and batch:
                self._remember(lane, batch, answers)
            return True
        finally:
            lane.batch = {}
            for key, write in batch.items():
                if self._under_way.get(key) is write:
                    del self._under_way[key]
                release(write)

    def _next_batch(self, lane: _Lane[Value]) -> dict[bytes, Write[Value]]:
        batch: dict[bytes, Write[Value]] = {}
        weight = 0
        while lane.waiting:
            key, write = next(iter(lane.waiting.items()))
            weight += write.weight
            if batch and weight > self._batch:
                break
            batch[key] = write
            del lane.waiting[key]
            self.weight -= write.weight
        return batch

    def _remember(self, lane: _Lane[Value], batch: dict[bytes, Write[Value]], answers: list[bool]) -> None:
        # What was written again is remembered as of the first time.
        taken = zip(batch.items(), answers, strict=True)
        now = self._clock()
        lane.recent.append((now, {key: write for (key, write), ok in taken if ok and not write.again}))
        while lane.recent[0][0] < now - REPEATED:
            lane.recent.popleft()

    def _put_back(self, batch: Mapping[bytes, Write[Value]]) -> None:
        """Queue what was under way again, before the rest, but for what was replaced or withdrawn meanwhile."""
        for key in reversed(list(batch)):
            if self._under_way.get(key) is batch[key]:
                lane = self._lane_of(key)
                self._add(lane, key, batch[key])
                lane.waiting.move_to_end(key, last=False)
        self._bound()

    # -- what becomes of places ------------------------------------------------------------------------------------

    def fail(self, error: Exception, key: bytes) -> None:
        """Take note of an error that asking for a key has raised."""
        self._change(self._lane_of(key), state_after(error), error)

    def _change(self, lane: _Lane[Value], state: str, error: Exception | None = None) -> None:
        if is_demoted(error):
            self._link.leave(lane.place)
        if state == lane.state or lane.left:
            return
        before, lane.state = lane.state, state
        server = {"server": lane.place} if lane.place else {}
        queued = len(lane.waiting)
        self._log.event(self._names.state, state=state, before=before, queued=queued, error=_describe(error), **server)
        if state == UP:
            lane.sure_from = self._clock() + SETTLING
        else:
            lane.wanted.set()
            self._release_waiting(lane)

    def renewed(self, place: str) -> None:
        """Take note that a server was gone: it may be another one now, or have lost what it took last."""
        lane = self._lanes.get(place)
        if lane is not None:
            lane.sure_from = self._clock() + SETTLING
            if lane.state == DOWN:
                lane.again.set()
            self._repeat(lane)

    def moved(self) -> None:
        """Take every write that waits to where its key lives now."""
        lanes = list(self._lanes.values())
        away = any(lane.state != UP or self._clock() < lane.sure_from for lane in lanes)
        for place in self._link.places():
            if place not in self._lanes:
                self._add_lane(place, self._clock() + SETTLING if away else 0)
        for lane in lanes:
            waiting, lane.waiting = lane.waiting, OrderedDict()
            for key, write in waiting.items():
                now = self._lane_of(key)
                now.waiting[key] = write if now is lane else write._replace(again=False)
                now.wanted.set()
                if now.state != UP:
                    release(write)
        for lane in lanes:
            if lane.place not in self._link.places():
                self._leave(lane, repeat=away)

    def _leave(self, lane: _Lane[Value], *, repeat: bool) -> None:
        self._change(lane, UP)
        lane.left = True
        lane.wanted.set()
        del self._lanes[lane.place]
        if repeat:
            self._repeat(lane)

    def _repeat(self, lane: _Lane[Value]) -> None:
        """Queue again what a server that went away took last, but for what was written since."""
        since = self._clock() - OUTAGE
        last = {key: write for taken, batch in lane.recent if taken >= since for key, write in batch.items()}
        for key, write in reversed(last.items()):
            # What was deleted may be another's by now, and what waits is not given up for what may be there.
            if write.value is not None and self.get(key) is None and self.weight + write.weight <= self._limit:
                self._add(self._lane_of(key), key, write._replace(waiter=None, again=not lane.left))

    @staticmethod
    def _release_waiting(lane: _Lane[Value]) -> None:
        for write in (*lane.batch.values(), *lane.waiting.values()):
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
