"""Response id → provider and tenant, in Redis: key layout, lifetime, and behaviour while Redis is gone.

Writes are committed in groups: whoever binds waits for the pipeline that carries the binding, which takes
everything that arrived while the one before it was under way. A key is `b` and 16 bytes of the id's BLAKE2b digest,
so it is as long as any other whatever the provider's ids look like; each call concerns one key, and none replaces
another tenant's.

While Redis is away (`down`) or takes no writes (`read_only`) nothing waits: bindings queue, bounded, and one
probe a second looks whether it is back. What this process bound or found it still knows.
"""

import asyncio
import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from proxy.config import BindingsConfig
from proxy.errors import BindingsUnavailable
from proxy.logs import Log
from proxy.metrics import Metrics
from proxy.redisline import Command, RedisLine

BATCH = 256
"""Commands in one pipeline at most."""
PROBE_INTERVAL = 1.0
"""Seconds between two tries while Redis is away."""

OPERATIONS = ("find", "bind")
"""What is asked of Redis; `bind` is one pipeline. The values of the `operation` label."""

UP, READ_ONLY, DOWN = "up", "read_only", "down"
BACKGROUND, CONVERSATION = 1, 2


class Binding(NamedTuple):
    """Who owns a response, who serves it, and what later calls have to know (`BACKGROUND`, `CONVERSATION`)."""

    provider: str
    tenant: str
    flags: int = 0

    def pack(self) -> bytes:
        """Render as a few dozen bytes: version, flags, length of the provider's name, both names."""
        provider = self.provider.encode()
        return bytes((1, self.flags, len(provider))) + provider + self.tenant.encode()

    @classmethod
    def parse(cls, packed: bytes) -> "Binding | None":
        """Read what `pack` wrote; None for anything else."""
        if len(packed) < 3 or packed[0] != 1:  # noqa: PLR2004
            return None
        cut = 3 + packed[2]
        try:
            binding = cls(packed[3:cut].decode(), packed[cut:].decode(), packed[1])
        except UnicodeDecodeError:
            return None
        return binding if binding.provider and binding.tenant else None


class Write(NamedTuple):
    """A queued command: a packed binding to set, or None to delete; and who waits to hear whether it was accepted."""

    value: bytes | None
    waiter: asyncio.Future[bool] | None


def key_of(response_id: str) -> bytes:
    """Return the Redis key of an id."""
    return b"b" + hashlib.blake2b(response_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Bindings:
    """The bindings of one process. `clock` returns seconds; `run` has to run for writes to happen."""

    def __init__(
        self,
        url: str,
        config: BindingsConfig,
        *,
        metrics: Metrics,
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._url = url
        self._config = config
        self._ttl = max(1, int(config.ttl_days * 86_400))
        self._metrics = metrics
        self._log = log
        self._clock = clock
        # A plain dict would search its first entry behind all those deleted before it.
        self._known: OrderedDict[bytes, Binding] = OrderedDict()
        self._queue: OrderedDict[bytes, Write] = OrderedDict()
        self._wanted = asyncio.Event()
        self._stopping = asyncio.Event()
        self._line: RedisLine | None = None
        self._connecting = asyncio.Lock()
        self.state = UP

    def __len__(self) -> int:
        """Return how many writes wait."""
        return len(self._queue)

    async def bind(self, response_id: str, binding: Binding) -> None:
        """Bind an id; return once Redis has it, or at once or in bounded time where Redis does not answer.

        An id stays with the tenant it was bound to first: there are servers that let a client choose it.
        """
        key = key_of(response_id)
        known = self._recall(key)
        if known is not None and known.tenant != binding.tenant:
            return
        if await self._write(key, binding.pack()):
            self._remember(key, binding)

    async def forget(self, response_id: str) -> None:
        """Remove an id's binding, here and in Redis."""
        key = key_of(response_id)
        self._known.pop(key, None)
        await self._write(key, None)

    async def find(self, response_id: str, tenant: str) -> Binding | None:
        """Return an id's binding, None where there is none.

        What this process knows answers for the id's own `tenant` only: another's id takes as long as one that is
        not there. Raises BindingsUnavailable where Redis cannot say.
        """
        key = key_of(response_id)
        known = self._recall(key)
        if known is not None and known.tenant == tenant:
            self._remember(key, known)
            return known
        if self.state == DOWN:
            raise _unavailable()
        packed = await self._get(key)
        binding = Binding.parse(packed) if packed is not None else None
        if binding is not None:
            self._remember(key, binding)
        if self.state != UP and (binding is None or binding.tenant != tenant):
            # What is not in Redis may wait in some process's queue.
            raise _unavailable()
        return binding

    def _recall(self, key: bytes) -> Binding | None:
        """Return what this process knows of an id, written or not."""
        known = self._known.get(key)
        if known is None and (queued := self._queue.get(key)) is not None and queued.value is not None:
            return Binding.parse(queued.value)
        return known

    async def _get(self, key: bytes) -> bytes | None:
        started = self._clock()
        try:
            (packed,) = await self._ask([("GET", key)])
        except (RedisError, OSError) as error:
            self._metrics.redis("find", "error", self._clock() - started)
            self._change(_state_after(error), error)
            raise _unavailable() from error
        self._metrics.redis("find", "ok", self._clock() - started)
        return packed if isinstance(packed, bytes) else None

    def _remember(self, key: bytes, binding: Binding) -> None:
        """Keep a binding as the last one used; the one longest unused makes room."""
        known = self._known
        known.pop(key, None)
        if len(known) >= self._config.cache > 0:
            known.popitem(last=False)
        if self._config.cache:
            known[key] = binding

    async def _write(self, key: bytes, value: bytes | None) -> bool:
        """Queue a write; wait for it while Redis is there. False where another tenant's binding stands."""
        waiter = self._loop.create_future() if self.state == UP else None
        replaced = self._queue.pop(key, None)
        if replaced is not None:
            _release(replaced, accepted=False)
        self._queue[key] = Write(value, waiter)
        self._bound_queue()
        self._wanted.set()
        return waiter is None or await waiter

    def _bound_queue(self) -> None:
        while len(self._queue) > self._config.queue:
            _release(self._queue.popitem(last=False)[1])
            self._metrics.binding_dropped()

    async def open(self) -> None:
        """Find out whether Redis is there, so that the first request need not."""
        await self._commit()

    async def run(self) -> None:
        """Write what is queued until `stop`; the one task that writes. Leaves Redis at the end."""
        try:
            await self._write_on()
        finally:
            # Nobody may wait for what is no longer written.
            self.state = DOWN
            self._release_queue()
            if self._line is not None:
                self._line.close()

    async def _write_on(self) -> None:
        while not self._stopping.is_set():
            await self._wanted.wait()
            self._wanted.clear()
            while (self._queue or self.state != UP) and not self._stopping.is_set():
                if not await self._commit():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), PROBE_INTERVAL)
        while self._queue and await self._commit():
            pass
        if self._queue:
            self._metrics.binding_dropped(len(self._queue))
            self._log.event("bindings_lost", count=len(self._queue))

    def stop(self) -> None:
        """Make `run` write what is queued, once, and end."""
        self._stopping.set()
        self._wanted.set()

    async def _commit(self) -> bool:
        """Write one batch and let go whoever waits for it; return whether Redis took it."""
        keys = list(itertools.islice(self._queue, BATCH))
        batch = {key: self._queue.pop(key) for key in keys}
        started = self._clock()
        try:
            answers = await self._send(batch)
        except (RedisError, OSError) as error:
            self._metrics.redis("bind", "error", self._clock() - started)
            self._queue = OrderedDict({**batch, **self._queue})
            self._bound_queue()
            self._change(_state_after(error), error)
            return False
        else:
            self._metrics.redis("bind", "ok", self._clock() - started)
            self._take_answers(batch, answers)
            self._change(UP)
            return True
        finally:
            for write in batch.values():
                _release(write)

    def _take_answers(self, batch: dict[bytes, Write], answers: list[bool]) -> None:
        for (key, write), accepted in zip(batch.items(), answers, strict=True):
            if not accepted:
                self._known.pop(key, None)
            _release(write, accepted=accepted)

    async def _send(self, batch: dict[bytes, Write]) -> list[bool]:
        """Write a batch; return for each write whether it stands: what another tenant bound is not replaced."""
        if not batch:
            await self._ask([("PING",)])
            return []
        replies = await self._ask([self._command(key, write) for key, write in batch.items()])
        answers: list[bool] = []
        again: list[Command] = []
        for (key, write), before in zip(batch.items(), replies, strict=True):
            foreign = write.value is not None and isinstance(before, bytes) and not _same_tenant(before, write.value)
            answers.append(not foreign)
            if write.value is not None and isinstance(before, bytes) and not foreign and before != write.value:
                again.append(("SET", key, write.value, "EX", self._ttl))
        if again:
            await self._ask(again)
        return answers

    def _command(self, key: bytes, write: Write) -> Command:
        if write.value is None:
            return ("DEL", key)
        return ("SET", key, write.value, "NX", "GET", "EX", self._ttl)

    async def _ask(self, commands: list[Command]) -> list[Any]:
        """Send commands over the connection that is kept, or over a new one where that turned out stale.

        Raises the first error among the replies.
        """
        line = self._line
        if line is not None and not line.closed:
            with suppress(RedisConnectionError):
                return _without_error(await line.ask(commands))
        return _without_error(await (await self._connected()).ask(commands))

    async def _connected(self) -> RedisLine:
        async with self._connecting:
            if self._line is None or self._line.closed:
                self._line = await RedisLine.open(self._url, self._config.ack_timeout)
            return self._line

    def _change(self, state: str, error: Exception | None = None) -> None:
        if state == self.state:
            return
        before, self.state = self.state, state
        self._log.event("redis_state", state=state, before=before, queued=len(self._queue), error=_describe(error))
        if state != UP:
            self._wanted.set()
            self._release_queue()

    def _release_queue(self) -> None:
        for write in self._queue.values():
            _release(write)


def _without_error(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
    return replies


def _same_tenant(before: bytes, value: bytes) -> bool:
    """Tell whether a binding may replace one that is there; what cannot be read belongs to nobody."""
    old, new = Binding.parse(before), Binding.parse(value)
    return old is None or new is None or old.tenant == new.tenant


def _release(write: Write, *, accepted: bool = True) -> None:
    """Let go whoever waits for a write, written or not."""
    if write.waiter is not None and not write.waiter.done():
        write.waiter.set_result(accepted)


def _state_after(error: Exception) -> str:
    """Tell a server that answers, though with an error, from one that is away."""
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
        return DOWN
    return READ_ONLY if isinstance(error, ResponseError) else DOWN


def _describe(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {str(error)[:200]}"


def _unavailable() -> BindingsUnavailable:
    return BindingsUnavailable(
        "The gateway cannot look up who serves this id at the moment. Try again shortly.", retry_after=1
    )
