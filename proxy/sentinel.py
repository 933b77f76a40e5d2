"""A connection to the master that Sentinels name: found when it is needed, and found again when it is master no more.

Any Sentinel may be down or behind the others. What they name is believed once it says of itself that it is master; the
one that most of them name is asked first.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from proxy.redisline import FOREIGN, Command, RedisLine, checked
from proxy.redislink import RedisLink
from proxy.redisurl import Address, RedisURL


class SentinelLink(RedisLink):
    """One connection that is kept, to whichever server is master."""

    def __init__(self, url: RedisURL, timeout: float) -> None:
        super().__init__("", timeout)
        self._described = url
        self._master = url.master or ""

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies, errors among them; a server that was demoted is left."""
        replies = await super().ask(commands)
        if any(map(_is_demoted, replies)):
            if self._line is not None:
                self._line.close()
            replies = await super().ask(commands)
        return replies

    async def _open(self) -> RedisLine:
        failure: Exception | None = None
        for address in await self._find_master():
            try:
                return await self._open_master(address)
            except FOREIGN as error:
                failure = failure or error
        raise failure or RedisConnectionError(f"No Sentinel that answers knows the master {self._master}.")

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

    async def _find_master(self) -> list[Address]:
        """Ask all Sentinels at once; return what they name, what most of them name first."""
        addresses = self._described.addresses
        asking = [asyncio.create_task(self._ask_sentinel(address)) for address in addresses]
        named: Counter[Address] = Counter()
        try:
            for answer in asyncio.as_completed(asking):
                named.update(await answer)
                if any(count > len(addresses) // 2 for count in named.values()):
                    break
        finally:
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)
        return [address for address, _ in named.most_common()]

    async def _ask_sentinel(self, address: Address) -> list[Address]:
        """Return the master a Sentinel names; none where it does not answer or knows none."""
        try:
            line = await RedisLine.open(self._described.sentinel_url(address), self._timeout)
            try:
                (named,) = checked(await line.ask([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)]))
            finally:
                line.close()
        except FOREIGN:
            return []
        return [] if named is None else [Address(named[0].decode(), int(named[1]))]


def _is_demoted(reply: Any) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("READONLY")
