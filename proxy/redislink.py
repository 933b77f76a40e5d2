"""A connection to Redis that is kept: made when it is first needed, and made anew where it turned out stale.

Keys live in places: all in one where there is one server, or one master that Sentinels know; in a cluster, each node
that holds slots is one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from proxy.redisline import Command, RedisLine, checked

ONLY = ""
"""The place of all keys where there is one, and of keys of which no server is known to hold them."""

Result = TypeVar("Result")


class Watcher(Protocol):
    """Who is told what becomes of places."""

    def moved(self) -> None:
        """Take note that keys live elsewhere now."""

    def renewed(self, place: str) -> None:
        """Take note that a connection had to be made anew: what was asked before may have been lost."""


class Link(Protocol):
    """What asks Redis, wherever the keys live."""

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies, errors among them as objects.

        A connection lost meanwhile is replaced, once, and everything sent again: commands have to bear that.
        Raises what redis-py and the system raise where Redis does not answer in time; an error of one place of
        several stands among the replies.
        """

    async def probe(self, place: str) -> None:
        """Find out whether a place can be asked. Raises what `ask` raises."""

    def leave(self, place: str) -> None:
        """Give up the connection to a place: whoever its name leads to now may take what this server does not."""

    async def confirms(self) -> bool:
        """Tell whether what was answered last came from a server that is still the one to ask."""

    def place_of(self, key: bytes) -> str:
        """Return where a key lives."""

    def places(self) -> Collection[str]:
        """Return all the places there are."""

    def watch(self, watcher: Watcher) -> None:
        """Tell a watcher, from now on."""

    def close(self) -> None:
        """Close every connection, for good; whoever still waits is told."""


def is_demoted(answer: object) -> bool:
    """Tell whether a server answered that it takes no writes, since it is another one's replica now."""
    return isinstance(answer, ResponseError) and str(answer).startswith("READONLY")


class Shared(Generic[Result]):
    """Work that any number may wait for, none for longer than `timeout` seconds, and that is done once at a time."""

    def __init__(self, work: Callable[[], Awaitable[Result]], timeout: float) -> None:
        self._work = work
        self._timeout = timeout
        self._task: asyncio.Task[Result] | None = None

    @property
    def begun(self) -> bool:
        """Whether the work is being done."""
        return self._task is not None

    def start(self) -> asyncio.Task[Result]:
        """Begin the work, unless it is being done, and return it."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)
        return self._task

    async def _run(self) -> Result:
        return await self._work()

    def _ended(self, task: asyncio.Task[Result]) -> None:
        self._task = None
        if not task.cancelled():
            # Whether or not anybody still waits for it.
            task.exception()

    async def result(self) -> Result:
        """Wait for the work, beginning it where it must be, and return what comes of it."""
        task = self.start()
        await asyncio.wait((task,), timeout=self._timeout)
        if not task.done():
            raise RedisTimeoutError(f"Redis could not be reached within {self._timeout:g} s.")
        if task.cancelled():
            raise RedisConnectionError("The connection to Redis was closed.")
        return task.result()

    def cancel(self) -> None:
        """Give the work up."""
        if self._task is not None:
            self._task.cancel()


class RedisLink:
    """One connection that is kept, to the server of a URL for redis-py; its `Link` has one place."""

    def __init__(self, url: str, timeout: float, place: str = ONLY) -> None:
        self._url = url
        self._timeout = timeout
        self._place = place
        self._line: RedisLine | None = None
        self._closed = False
        self._connecting: Shared[RedisLine] = Shared(self._connect, timeout)
        self._watcher: Watcher | None = None

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies, errors among them as `ResponseError` objects."""
        line = self._line
        if line is not None and not line.closed:
            with suppress(RedisConnectionError):
                return await line.ask(commands)
        return await (await self._connected()).ask(commands)

    async def _connected(self) -> RedisLine:
        if self._closed:
            raise RedisConnectionError("The connection to Redis was closed.")
        line = self._line
        return line if line is not None and not line.closed else await self._connecting.result()

    async def _connect(self) -> RedisLine:
        line = await self._open()
        if self._line is not None and self._watcher is not None:
            self._watcher.renewed(self._place)
        self._line = line
        return line

    async def _open(self) -> RedisLine:
        return await RedisLine.open(self._url, self._timeout)

    async def probe(self, place: str) -> None:  # noqa: ARG002 - there is one
        """Find out whether the server answers."""
        checked(await self.ask([("PING",)]))

    def leave(self, place: str) -> None:  # noqa: ARG002
        """Give up the connection to the server."""
        if self._line is not None:
            self._line.close()

    async def confirms(self) -> bool:
        """Tell that there is no other server to ask."""
        return True

    def place_of(self, key: bytes) -> str:  # noqa: ARG002
        """Return where every key lives."""
        return self._place

    def places(self) -> Collection[str]:
        """Return the one place."""
        return (self._place,)

    def watch(self, watcher: Watcher) -> None:
        """Tell a watcher, from now on, when the connection had to be made anew."""
        self._watcher = watcher

    def close(self) -> None:
        """Close the connection, for good; whoever still waits is told."""
        self._closed = True
        self._connecting.cancel()
        if self._line is not None:
            self._line.close()
