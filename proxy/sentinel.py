"""A connection to the master that Sentinels name, left for another as soon as they name that one.

Any Sentinel may be down, or behind the others: what counts is the latest failover that one of them knows of. A master
that was replaced takes writes for seconds still, all of them lost, until a Sentinel tells it; so they are asked all
the time, and before anything is said not to be there.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError

from proxy.redisline import FOREIGN, Command, RedisLine, checked
from proxy.redislink import ONLY, RedisLink, Shared, is_demoted
from proxy.redisurl import Address, RedisURL

LOOK_INTERVAL = 0.5
"""Seconds between two times that the Sentinels are asked."""


class _Named(NamedTuple):
    """A master, and the number of the failover that made it one."""

    epoch: int
    address: Address


class SentinelLink(RedisLink):
    """One connection that is kept, to whichever server is master."""

    def __init__(self, url: RedisURL, timeout: float) -> None:
        super().__init__("", timeout)
        self._described = url
        self._name = url.master or ""
        self._sentinels = [RedisLink(url.sentinel_url(address), timeout) for address in url.addresses]
        self._master: Address | None = None
        self._looking: Shared[bool] = Shared(self._look, timeout)
        self._watching: asyncio.Task[None] | None = None

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies, errors among them; a server that was demoted is left."""
        replies = await super().ask(commands)
        if any(map(is_demoted, replies)):
            self.leave(ONLY)
            replies = await super().ask(commands)
        return replies

    async def confirms(self) -> bool:
        """Ask the Sentinels whether the server that answered is still the master."""
        try:
            if self._looking.begun:
                # Maybe before the server answered.
                await self._looking.result()
            return await self._looking.result()
        except FOREIGN:
            return False

    def close(self) -> None:
        """Close the connections, for good; whoever still waits is told."""
        super().close()
        self._looking.cancel()
        if self._watching is not None:
            self._watching.cancel()
        for sentinel in self._sentinels:
            sentinel.close()

    async def _watch_master(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            await self.confirms()

    async def _look(self) -> bool:
        """Leave the server for another that the Sentinels name; tell whether they name the one that was asked."""
        named = await self._find_masters()
        if not named:
            return False
        if self._master is None or self._master in named:
            return True
        self.leave(ONLY)
        # At once: what was written meanwhile is written again.
        await self._connected()
        return False

    async def _open(self) -> RedisLine:
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch_master())
        failure: Exception | None = None
        for address in await self._find_masters():
            try:
                line = await self._open_master(address)
            except FOREIGN as error:
                failure = failure or error
            else:
                self._master = address
                return line
        raise failure or RedisConnectionError(f"No Sentinel that answers knows the master {self._name}.")

    async def _open_master(self, address: Address) -> RedisLine:
        line = await RedisLine.open(self._described.server_url(address), self._timeout)
        try:
            (role,) = await line.ask([("ROLE",)])
        except BaseException:
            line.close()
            raise
        # A user who may not ask for the role is told by READONLY where it is not the master's.
        if isinstance(role, list) and role[0] != b"master":
            line.close()
            raise RedisConnectionError(f"The server at {address} is not the master.")
        return line

    async def _find_masters(self) -> list[Address]:
        """Ask all Sentinels; return what those name that know of the latest failover, what most of them name first.

        One that hangs takes half of the time there is.
        """
        asking = [asyncio.create_task(self._ask_sentinel(sentinel)) for sentinel in self._sentinels]
        try:
            answered, _ = await asyncio.wait(asking, timeout=self._timeout / 2)
        finally:
            for task in asking:
                task.cancel()
        named = [answer for task in answered if (answer := task.result()) is not None]
        latest = max((each.epoch for each in named), default=0)
        return [address for address, _ in Counter(each.address for each in named if each.epoch == latest).most_common()]

    async def _ask_sentinel(self, sentinel: RedisLink) -> _Named | None:
        """Return the master a Sentinel names; None where it does not answer or knows none."""
        try:
            address, known = await sentinel.ask(
                [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name), ("SENTINEL", "MASTER", self._name)]
            )
            (address,) = checked([address])
        except FOREIGN:
            return None
        return None if address is None else _Named(_epoch(known), Address(address[0].decode(), int(address[1])))


def _epoch(known: Any) -> int:
    """Return the number of the failover a Sentinel knows last; 0 where it does not say."""
    if isinstance(known, list):
        known = dict(zip(known[::2], known[1::2], strict=False))
    return int(known.get(b"config-epoch", 0)) if isinstance(known, dict) else 0
