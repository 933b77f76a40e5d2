"""What Redis holds of bindings and kept responses, as an operator asks for it: counted, looked up, removed.

Nothing here reads what a response says: of what is kept only its size is asked for.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from proxy import archive, bindings
from proxy.bindings import BACKGROUND, CONVERSATION, KEPT, Binding
from proxy.masters import Masters, ask
from proxy.redisline import BOUND
from proxy.redislink import Link

BATCH: Final = 500
"""Keys that are looked through, and read, at a time: between two batches the server serves everybody else."""
KEYS: Final = BOUND + b"?" * 16
"""The pattern of a binding's key."""
FIELDS: Final = (archive.HEAD, archive.RESPONSE, archive.INPUT, archive.EVENTS)
NO_EXPIRY: Final = -1
GONE: Final = -2
"""What PTTL says of a key that stays for ever, and of one that is not there."""


@dataclass(slots=True)
class Tally:
    """Live ids of one provider and tenant. Times are seconds until ids expire, infinite for those that never do.

    What depends on the provider is all that the gateway does not keep itself.
    """

    ids: int = 0
    background: int = 0
    conversations: int = 0
    kept: int = 0
    first_expires: float = inf
    last_expires: float = 0.0
    last_dependent_expires: float = 0.0

    @property
    def dependent(self) -> int:
        """How many ids only their provider can answer for."""
        return self.ids - self.kept

    def add(self, flags: int, expires: float) -> None:
        """Count one id."""
        self.ids += 1
        self.background += bool(flags & BACKGROUND)
        self.conversations += bool(flags & CONVERSATION)
        self.kept += bool(flags & KEPT)
        self.first_expires = min(self.first_expires, expires)
        self.last_expires = max(self.last_expires, expires)
        if not flags & KEPT:
            self.last_dependent_expires = max(self.last_dependent_expires, expires)


@dataclass(slots=True)
class Stock:
    """All bindings, by provider and tenant; `unreadable` are values that no gateway of this version wrote."""

    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    unreadable: int = 0

    def add(self, binding: Binding | None, expires: float) -> None:
        """Count one key."""
        if binding is None:
            self.unreadable += 1
        else:
            self.tallies.setdefault((binding.provider, binding.tenant), Tally()).add(binding.flags, expires)

    def of(self, provider: str) -> Mapping[str, Tally]:
        """Return a provider's share, by tenant."""
        return {tenant: tally for (name, tenant), tally in sorted(self.tallies.items()) if name == provider}


class KeptResponse(NamedTuple):
    """A response that the gateway keeps: bytes in Redis, compressed, and the seconds until it expires."""

    tenant: str
    size: int
    expires: float


class Entry(NamedTuple):
    """What there is of an id. Either may be there without the other: they are written and expire each for itself."""

    binding: Binding | None
    expires: float
    kept: tuple[KeptResponse, ...]

    def __bool__(self) -> bool:
        return self.binding is not None or bool(self.kept)


async def take_stock(masters: Masters) -> Stock:
    """Count every binding, in memory that grows with providers and tenants only.

    As with every SCAN, what is bound or expires meanwhile may be counted or not, and a table that is resized meanwhile
    may show a key twice.
    """
    stock = Stock()
    for link in masters.each.values():
        async for keys in _batches(link):
            # Not MGET: in a cluster the keys of one server are in different slots.
            replies = await ask(link, [(name, key) for key in keys for name in ("GET", "PTTL")])
            for packed, left in zip(replies[::2], replies[1::2], strict=True):
                if isinstance(packed, bytes):
                    stock.add(Binding.parse(packed), _seconds(left))
    return stock


async def _batches(link: Link) -> AsyncIterator[set[bytes]]:
    """Yield the keys of bindings. The server rests between two batches for as long as one took."""
    clock = asyncio.get_running_loop().time
    cursor = b"0"
    while True:
        began = clock()
        ((cursor, keys),) = await ask(link, [("SCAN", cursor, "MATCH", KEYS, "COUNT", BATCH)])
        if keys:
            yield set(keys)
        if cursor == b"0":
            return
        await asyncio.sleep(clock() - began)


async def look_up(masters: Masters, response_id: str, tenants: Iterable[str]) -> Entry:
    """Find an id's binding and what the gateway keeps of it: for the tenant it is bound to, else for any of these."""
    key = bindings.key_of(response_id)
    packed, left = await ask(masters.link, [("GET", key), ("PTTL", key)])
    binding = Binding.parse(packed) if isinstance(packed, bytes) else None
    owners = sorted(set(tenants)) if binding is None else [binding.tenant]
    kept = [found for tenant in owners if (found := await _kept(masters, response_id, tenant)) is not None]
    return Entry(binding, _seconds(left), tuple(kept))


async def _kept(masters: Masters, response_id: str, tenant: str) -> KeptResponse | None:
    key = archive.key_of(response_id, tenant)
    *sizes, left = await ask(masters.link, [*(("HSTRLEN", key, name) for name in FIELDS), ("PTTL", key)])
    return None if left == GONE else KeptResponse(tenant, sum(size or 0 for size in sizes), _seconds(left))


async def remove(masters: Masters, response_id: str, entry: Entry) -> None:
    """Remove what was found of an id: what is kept first, for without the binding nobody knows whose it is."""
    keys = [archive.key_of(response_id, kept.tenant) for kept in entry.kept]
    for key in (*keys, bindings.key_of(response_id)):
        await ask(masters.link, [("UNLINK", key)])


def _seconds(milliseconds: int) -> float:
    return inf if milliseconds == NO_EXPIRY else milliseconds / 1000
