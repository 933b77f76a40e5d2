"""Response id → provider and tenant, in Redis: key layout, lifetime, and behaviour while Redis is gone.

Whoever binds waits for the pipeline that carries the binding. A key is `b` and 16 bytes of the id's BLAKE2b digest,
so it is as long as any other whatever the provider's ids look like; each call concerns one key, and none replaces
another tenant's. While its Redis is away nothing waits, and what this process bound or found it still knows.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from proxy.config import BindingsConfig
from proxy.errors import BindingsUnavailable
from proxy.logs import Log
from proxy.metrics import Metrics
from proxy.redisaccess import link_to
from proxy.redisline import BOUND, FOREIGN, Command, checked, hashed_key
from proxy.redisqueue import DOWN, Names, RedisQueue, Write

BATCH = 256
"""Commands in one pipeline at most."""

OPERATIONS = ("find", "bind")
"""What is asked of Redis; `bind` is one pipeline. The values of the `operation` label."""

BACKGROUND, CONVERSATION, KEPT = 1, 2, 4


class Binding(NamedTuple):
    """Who owns a response, who serves it, and what later calls have to know.

    `flags` are `BACKGROUND` (it went on without a client), `CONVERSATION` (it is none of the responses) and `KEPT`
    (the gateway itself keeps it).
    """

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


def key_of(response_id: str) -> bytes:
    """Return the Redis key of an id."""
    return hashed_key(BOUND, response_id)


class Bindings:
    """The bindings of one process. `clock` returns seconds; `run` has to run for writes to happen.

    What the gateway itself keeps is bound for as long as it is kept, `kept_days`, where that is told.
    """

    def __init__(
        self,
        url: str,
        config: BindingsConfig,
        *,
        metrics: Metrics,
        log: Log,
        clock: Callable[[], float],
        kept_days: float | None = None,
    ) -> None:
        self._config = config
        self._ttl = _seconds(config.ttl_days)
        self._kept_ttl = self._ttl if kept_days is None else _seconds(kept_days)
        self._metrics = metrics
        self._clock = clock
        # A plain dict would search its first entry behind all those deleted before it.
        self._known: OrderedDict[bytes, Binding] = OrderedDict()
        self._link = link_to(url, config.ack_timeout)
        self._writes: RedisQueue[bytes] = RedisQueue(
            self._send,
            self._link,
            limit=config.queue,
            batch=BATCH,
            names=Names("bind", "redis_state", "bindings_lost"),
            dropped=metrics.binding_dropped,
            metrics=metrics,
            log=log,
            clock=clock,
            repeats=True,
        )

    def __len__(self) -> int:
        """Return how many writes wait."""
        return len(self._writes)

    @property
    def state(self) -> str:
        """Whether Redis answers, as far as this process knows."""
        return self._writes.state

    async def bind(self, response_id: str, binding: Binding) -> bool:
        """Bind an id; return once Redis has it, or at once or in bounded time where Redis does not answer.

        An id stays with the tenant it was bound to first, which is told by False: there are servers that let a
        client choose it.
        """
        key = key_of(response_id)
        known = self._recall(key)
        if known is not None and known.tenant != binding.tenant:
            return False
        accepted = await self._put(key, binding.pack())
        if accepted:
            self._remember(key, binding)
        return accepted

    async def forget(self, response_id: str) -> None:
        """Remove an id's binding, here and in Redis."""
        key = key_of(response_id)
        self._known.pop(key, None)
        await self._put(key, None)

    async def _put(self, key: bytes, packed: bytes | None) -> bool:
        """Queue a write and wait for it, though not until all is written that waits before it."""
        written = self._writes.put(key, packed)
        if self._writes.weight > BATCH and not written.done():
            await asyncio.wait((written,), timeout=self._config.ack_timeout)
            return not written.done() or written.result()
        return await written

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
        if self._writes.state_of(key) == DOWN:
            raise _unavailable()
        packed = await self._get(key)
        binding = Binding.parse(packed) if packed is not None else None
        if binding is not None:
            self._remember(key, binding)
        if (binding is None or binding.tenant != tenant) and not await self._writes.confirms_absence(key):
            # What is not in Redis may wait in some process's queue.
            raise _unavailable()
        return binding

    def check_available(self, response_id: str) -> None:
        """Raise BindingsUnavailable where an id that is not found may be bound all the same."""
        if not self._writes.is_sure_of(key_of(response_id)):
            raise _unavailable()

    def _recall(self, key: bytes) -> Binding | None:
        """Return what this process knows of an id, written or not."""
        known = self._known.get(key)
        if known is None and (queued := self._writes.get(key)) is not None and queued.value is not None:
            return Binding.parse(queued.value)
        return known

    async def _get(self, key: bytes) -> bytes | None:
        started = self._clock()
        try:
            (packed,) = checked(await self._link.ask([("GET", key)]))
        except FOREIGN as error:
            self._metrics.redis("find", "error", self._clock() - started)
            self._writes.fail(error, key)
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

    async def open(self) -> None:
        """Find out whether Redis is there, so that the first request need not."""
        await self._writes.open()

    async def run(self) -> None:
        """Write what is queued until `stop`; the one task that writes. Leaves Redis at the end."""
        try:
            await self._writes.run()
        finally:
            self._link.close()

    def stop(self) -> None:
        """Make `run` write what is queued, once, and end."""
        self._writes.stop()

    async def _send(self, batch: Mapping[bytes, Write[bytes]]) -> list[bool]:
        """Write a batch; return for each write whether it stands: what another tenant bound is not replaced."""
        replies = checked(await self._link.ask([self._command(key, write) for key, write in batch.items()]))
        answers: list[bool] = []
        again: list[Command] = []
        for (key, write), before in zip(batch.items(), replies, strict=True):
            foreign = write.value is not None and isinstance(before, bytes) and not _same_tenant(before, write.value)
            answers.append(not foreign)
            if foreign:
                self._known.pop(key, None)
            elif write.value is not None and isinstance(before, bytes) and before != write.value:
                again.append(("SET", key, write.value, "EX", self._ttl_of(write.value)))
        if again:
            checked(await self._link.ask(again))
        return answers

    def _command(self, key: bytes, write: Write[bytes]) -> Command:
        if write.value is None:
            return ("DEL", key)
        return ("SET", key, write.value, "NX", "GET", "EX", self._ttl_of(write.value))

    def _ttl_of(self, packed: bytes) -> int:
        return self._kept_ttl if packed[1] & KEPT else self._ttl


def _seconds(days: float) -> int:
    return max(1, int(days * 86_400))


def _same_tenant(before: bytes, value: bytes) -> bool:
    """Tell whether a binding may replace one that is there; what cannot be read belongs to nobody."""
    old, new = Binding.parse(before), Binding.parse(value)
    return old is None or new is None or old.tenant == new.tenant


def _unavailable() -> BindingsUnavailable:
    return BindingsUnavailable(
        "The gateway cannot look up who serves this id at the moment. Try again shortly.", retry_after=1
    )
