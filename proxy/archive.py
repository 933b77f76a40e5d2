"""Responses that the gateway itself keeps, for providers that keep none: in Redis, compressed, while they are in use.

A response is one hash under `a` and 16 bytes of the BLAKE2b digest of its tenant and id, so that each call concerns
one key. Its fields are compressed each for itself: a call reads only what it needs. It holds what the response added,
and names the one it continues; history is read by following those names, and what is read that way lives on.

While Redis is away nothing waits: responses queue, bounded in bytes, and answer from there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import orjson
from redis.exceptions import ResponseError

from proxy.compression import compress, expand, pack, size_of, split_packed
from proxy.config import ArchiveConfig
from proxy.errors import BadRequest, PayloadTooLarge, StoreUnavailable
from proxy.logs import Log
from proxy.metrics import Metrics
from proxy.redisaccess import link_to
from proxy.redisline import BOUND, FOREIGN, Command, checked, hashed_key
from proxy.redisqueue import DOWN, Names, RedisQueue, Write

OPERATIONS = ("keep", "read", "forget")
"""What is asked of Redis; `keep` is one pipeline. The values of the `operation` label."""

BLOCK_BYTES: Final = 65_536
"""Of a stream, compressed as one."""
BATCH_BYTES: Final = 1_048_576
"""In one pipeline at most, unless one response has more."""

VERSION = b"\x01"
HEAD, RESPONSE, INPUT, EVENTS = b"h", b"r", b"i", b"e"

Item = dict[str, Any]
Fields = Mapping[bytes, bytes]


class Entry(NamedTuple):
    """What is kept of one response.

    `previous` is the id of the response it continues; `input` are its own items, each with an id. `response` is the
    final object as JSON, without what the gateway adds to it; `events` are an EventLog's blocks, none where it was
    not streamed.
    """

    tenant: str
    provider: str
    kind: str
    model: str
    previous: str | None
    input: list[Item]
    response: bytes
    events: tuple[bytes, ...]


class Head(NamedTuple):
    """What is known of a kept response without reading it."""

    tenant: str
    provider: str
    kind: str
    model: str
    previous: str | None

    def pack(self) -> bytes:
        """Render as version and a JSON array."""
        return VERSION + orjson.dumps(tuple(self))

    @classmethod
    def parse(cls, packed: Any) -> "Head | None":
        """Read what `pack` wrote; None for anything else."""
        if not isinstance(packed, bytes) or not packed.startswith(VERSION):
            return None
        try:
            tenant, provider, kind, model, previous = orjson.loads(packed[1:])
        except (ValueError, TypeError):
            return None
        texts = all(isinstance(name, str) for name in (tenant, provider, kind, model, previous or ""))
        return cls(tenant, provider, kind, model, previous or None) if texts else None


def key_of(response_id: str, tenant: str) -> bytes:
    """Return the Redis key of a tenant's response: none can be in the place of another tenant's of the same id."""
    return hashed_key(b"a", f"{tenant}\0{response_id}")


class ChainBroken(Exception):
    """A response that is continued is gone, or another tenant's; `id` is its."""

    def __init__(self, response_id: str) -> None:
        super().__init__(response_id)
        self.id = response_id


class EventLog:
    """A stream as it goes out, compressed block by block while it does; `limit` bounds what that takes.

    `exceeded` tells that it took more: then there are no blocks.
    """

    __slots__ = ("_blocks", "_limit", "_pending", "_size", "exceeded")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: list[bytes] = []
        self._pending: list[bytes] = []
        self._size = 0
        self.exceeded = False

    def append(self, frames: bytes) -> None:
        """Take a run of whole frames, as the client gets them."""
        if self.exceeded:
            return
        self._pending.append(frames)
        self._size += len(frames)
        if self._size >= BLOCK_BYTES:
            self._cut()

    def _cut(self) -> None:
        block = pack(b"".join(self._pending))
        self._pending.clear()
        self._size = 0
        self._limit -= len(block)
        self._blocks.append(block)
        if self._limit < 0:
            self.exceeded = True
            self._blocks.clear()

    def blocks(self) -> tuple[bytes, ...]:
        """Return the blocks, each of whole frames."""
        if self._size:
            self._cut()
        return tuple(self._blocks)


class _Record(NamedTuple):
    """What was read of a kept response."""

    head: Head
    fields: Fields


class Archive:
    """The responses one process keeps and reads. `clock` returns seconds; `run` has to run for writes to happen."""

    def __init__(
        self, url: str, config: ArchiveConfig, *, metrics: Metrics, log: Log, clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._ttl = max(1, int(config.ttl_days * 86_400))
        self._metrics = metrics
        self._clock = clock
        self._link = link_to(url, config.ack_timeout)
        self._writes: RedisQueue[Fields] = RedisQueue(
            self._send,
            self._link,
            limit=config.queue_bytes,
            batch=BATCH_BYTES,
            names=Names("keep", "archive_state", "archive_lost"),
            dropped=metrics.archive_dropped,
            metrics=metrics,
            log=log,
            clock=clock,
        )

    @property
    def queued(self) -> int:
        """How many bytes wait to be written."""
        return self._writes.weight

    @property
    def state(self) -> str:
        """Whether Redis answers, as far as this process knows."""
        return self._writes.state

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

    # -- writing ---------------------------------------------------------------------------------------------------

    async def keep(self, response_id: str, entry: Entry) -> None:
        """Keep a response; return once Redis has it, or in bounded time where Redis does not answer.

        Raises PayloadTooLarge where it is over the limit: then nothing is kept.
        """
        items = orjson.dumps(entry.input)
        if len(items) + len(entry.response) > self._config.max_response_bytes:
            raise _too_large(self._config.max_response_bytes)
        head = Head(entry.tenant, entry.provider, entry.kind, entry.model, entry.previous)
        fields = {HEAD: head.pack(), RESPONSE: await compress(entry.response), INPUT: await compress(items)}
        if entry.events:
            fields[EVENTS] = b"".join(entry.events)
        written = self._writes.put(key_of(response_id, entry.tenant), fields, sum(map(len, fields.values())))
        if not written.done():
            await asyncio.wait((written,), timeout=self._config.ack_timeout)

    async def _send(self, batch: Mapping[bytes, Write[Fields]]) -> list[bool]:
        commands: list[Command] = []
        for key, write in batch.items():
            pairs = [part for pair in (write.value or {}).items() for part in pair]
            # In one, or a connection lost between two of them would leave a response for ever.
            commands += [("MULTI",), ("UNLINK", key), ("HSET", key, *pairs), ("EXPIRE", key, self._ttl), ("EXEC",)]
        checked(await self._link.ask(commands))
        return [True] * len(batch)

    async def forget(self, response_id: str, tenant: str) -> bool:
        """Remove a response; False where there was none.

        Raises StoreUnavailable where Redis does not confirm it: what a client was told is gone has to be.
        """
        key = key_of(response_id, tenant)
        waited = self._writes.withdraw(key)
        try:
            (removed,) = await self._ask("forget", key, [("UNLINK", key)])
        except StoreUnavailable:
            if waited is not None:
                self._writes.put(key, waited.value, waited.weight)
            raise
        if waited is None and not removed and not await self._writes.confirms_absence(key):
            # What is not in Redis may wait in some process's queue.
            raise _unavailable()
        return waited is not None or removed > 0

    # -- reading ---------------------------------------------------------------------------------------------------

    async def head(self, response_id: str, tenant: str) -> Head | None:
        """Return what is known of a response without reading it; None where it is not there.

        This, and all that reads, raises StoreUnavailable where Redis cannot say.
        """
        record = await self._read(response_id, tenant)
        return None if record is None else record.head

    async def response(self, response_id: str, tenant: str) -> bytes | None:
        """Return a response as JSON; None where it is not there."""
        record = await self._read(response_id, tenant, RESPONSE)
        return None if record is None else await expand(record.fields.get(RESPONSE))

    async def input_items(self, response_id: str, tenant: str) -> list[Item] | None:
        """Return a response's own input items; None where it is not there."""
        record = await self._read(response_id, tenant, INPUT)
        return None if record is None else await _items_of(record)

    async def items(self, response_id: str, tenant: str) -> list[Item]:
        """Return a response's own input items and its output; none where it is not there, or cannot be read."""
        record = await self._read(response_id, tenant, INPUT, RESPONSE)
        return [] if record is None else [*(await _items_of(record) or ()), *(await _output_of(record) or ())]

    async def events(self, response_id: str, tenant: str) -> tuple[bytes, ...] | None:
        """Return a response's stream in blocks for `expand`; None where it is not there or was not streamed."""
        record = await self._read(response_id, tenant, EVENTS)
        packed = None if record is None else record.fields.get(EVENTS)
        return None if packed is None else split_packed(packed)

    async def chain(self, response_id: str, tenant: str) -> list[Item]:
        """Return the items of a response and of all that it continues, input and output, oldest first.

        Everything read lives on as if it had just been made. Raises ChainBroken, and BadRequest where it is too long.
        """
        turns = [items async for items in self._turns(response_id, tenant, refresh=True)]
        return [item for items in reversed(turns) for item in items]

    async def context(self, response_id: str, tenant: str) -> list[Item] | None:
        """Return what a response was made from: the chain before it, as far as it is still there, and its own input.

        None where the response itself is not there.
        """
        record = await self._read(response_id, tenant, INPUT)
        own = None if record is None else await _items_of(record)
        if record is None or own is None:
            return None
        turns = [own]
        if record.head.previous is not None:
            with suppress(ChainBroken, BadRequest):
                async for items in self._turns(record.head.previous, tenant, refresh=False):
                    turns.append(items)  # noqa: PERF401 - what came before it broke is wanted
        return [item for items in reversed(turns) for item in items]

    async def _turns(self, response_id: str, tenant: str, *, refresh: bool) -> AsyncIterator[list[Item]]:
        """Yield the items of a response, then those of the one it continues, and so on."""
        wanted, left = response_id, self._config.max_chain_bytes
        for _ in range(self._config.max_chain):
            record = await self._read(wanted, tenant, INPUT, RESPONSE, refresh=refresh)
            if record is None or record.head.tenant != tenant:
                raise ChainBroken(wanted)
            left -= sum(size_of(record.fields.get(name)) for name in (INPUT, RESPONSE))
            if left < 0:
                break
            items, output = await _items_of(record), await _output_of(record)
            if items is None or output is None:
                raise ChainBroken(wanted)
            yield items + output
            if record.head.previous is None:
                return
            wanted = record.head.previous
        raise _too_long(self._config)

    async def _read(self, response_id: str, tenant: str, *names: bytes, refresh: bool = False) -> _Record | None:
        """Read a response's head and some of its fields."""
        key = key_of(response_id, tenant)
        queued = self._writes.get(key)
        if queued is not None and queued.value is not None:
            return _record(queued.value)
        commands: list[Command] = [("HMGET", key, HEAD, *names)]
        if refresh:
            # Nobody finds a response that is no longer bound.
            commands += [("EXPIRE", each, self._ttl) for each in (key, hashed_key(BOUND, response_id))]
        values = (await self._ask("read", key, commands))[0]
        if isinstance(values, ResponseError):
            return None
        record = _record(dict(zip((HEAD, *names), values, strict=True)))
        if values[0] is None and not await self._writes.confirms_absence(key):
            # What is not in Redis may wait in some process's queue.
            raise _unavailable()
        return record

    async def _ask(self, operation: str, key: bytes, commands: Sequence[Command]) -> list[Any]:
        """Ask Redis; only an error for the first, `key`'s, is raised, unless it says that that is no response."""
        if self._writes.state_of(key) == DOWN:
            raise _unavailable()
        started = self._clock()
        try:
            replies = await self._link.ask(commands)
            if not _is_foreign(replies[0]):
                checked(replies[:1])
        except FOREIGN as error:
            self._metrics.redis(operation, "error", self._clock() - started)
            self._writes.fail(error, key)
            raise _unavailable() from error
        self._metrics.redis(operation, "ok", self._clock() - started)
        return replies


def _is_foreign(reply: Any) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")


def _record(fields: Mapping[bytes, Any]) -> _Record | None:
    head = Head.parse(fields.get(HEAD))
    kept = {name: value for name, value in fields.items() if isinstance(value, bytes)}
    return None if head is None else _Record(head, kept)


async def _items_of(record: _Record) -> list[Item] | None:
    return _objects(await _load(record.fields.get(INPUT)))


async def _output_of(record: _Record) -> list[Item] | None:
    response = await _load(record.fields.get(RESPONSE))
    return _objects(response.get("output")) if isinstance(response, dict) else None


async def _load(packed: bytes | None) -> Any:
    """Read a value as JSON; None where it is none."""
    with suppress(orjson.JSONDecodeError):
        return orjson.loads(await expand(packed) or b"")
    return None


def _objects(value: Any) -> list[Item] | None:
    return value if isinstance(value, list) and all(isinstance(item, dict) for item in value) else None


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable(
        "The gateway cannot reach what it keeps of this response at the moment. Try again shortly.", retry_after=1
    )


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The response and its input are over {limit} bytes, which is all that is kept of one. "
        "Set 'store' to false to have it all the same.",
        code="response_too_large",
    )


def _too_long(config: ArchiveConfig) -> BadRequest:
    return BadRequest(
        f"What this continues is over {config.max_chain} responses or {config.max_chain_bytes} bytes long.",
        code="chain_too_long",
        param="previous_response_id",
    )
