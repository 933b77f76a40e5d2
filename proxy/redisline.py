"""A connection to a Redis server, over which groups of commands go in one write and their replies come back in order.

redis-py makes the connection: URL, TLS, authentication, protocol version. Its transport is then taken over, because
reading a reply through redis-py takes a timer and three coroutines, which cost more than the rest of a binding.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

Command = tuple[str | bytes | int, ...]

FOREIGN = (RedisError, OSError)
"""What asking Redis raises."""

BOUND = b"b"
"""Prefix of the keys under which it is said whose an id is."""


class _Group(NamedTuple):
    """Commands under way: how many, the replies there are, and who waits for all of them."""

    size: int
    replies: list[Any]
    waiter: asyncio.Future[list[Any]]


class RedisLine(asyncio.Protocol):
    """An open connection.

    A group that is not answered within `timeout` seconds of its turn ends the connection, unless something moves on
    it meanwhile: a large value takes its time.
    """

    def __init__(self, writer: asyncio.StreamWriter, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        # Kept to the end: a StreamWriter that is collected closes its transport.
        self._writer = writer
        self._transport = writer.transport
        self._timeout = timeout
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError)
        self._groups: deque[_Group] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._heard = False
        self._unsent = 0
        self._transport.set_protocol(self)

    @classmethod
    async def open(cls, url: str, timeout: float) -> "RedisLine":  # noqa: ASYNC109 - a setting of the socket
        """Connect. Raises what redis-py raises; every step is bounded by `timeout` seconds."""
        pool = ConnectionPool.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
        )
        made = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await made.connect()
            return cls(made._writer, timeout)  # noqa: SLF001
        except ResponseError as error:
            # A server that does not know AUTH or HELLO repeats what they were given, passwords too.
            error.args = (str(error).partition(", with args")[0],)
            raise
        except FOREIGN:
            raise
        except Exception as error:
            await made.disconnect(nowait=True)
            raise RedisConnectionError(f"The server greeted like no Redis: {type(error).__name__}.") from error
        except asyncio.CancelledError:
            await made.disconnect(nowait=True)
            raise
        finally:
            # It would warn that nobody closed it, and close what is ours now.
            made._reader = made._writer = None  # noqa: SLF001

    @property
    def closed(self) -> bool:
        """Whether the connection can take no more commands."""
        return self._transport.is_closing()

    def ask(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send commands; the future holds their replies, errors among them as `ResponseError` objects.

        It raises a ConnectionError or TimeoutError of redis-py's where the connection does not live to bring them all.
        """
        waiter: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.closed:
            waiter.set_exception(RedisConnectionError("The connection to Redis is closed."))
            return waiter
        if not self._groups:
            self._start_timer()
        self._groups.append(_Group(len(commands), [], waiter))
        # hiredis's own stub knows of commands of one word only.
        self._transport.write(b"".join([hiredis.pack_command(command) for command in commands]))  # type: ignore[arg-type]
        return waiter

    def close(self) -> None:
        """Close the connection; whoever still waits is told."""
        self._fail(RedisConnectionError("The connection to Redis was closed."))

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that are complete."""
        self._heard = True
        self._reader.feed(data)
        try:
            while self._groups and (reply := self._reader.gets()) is not False:
                if not isinstance(reply, hiredis.PushNotification):
                    self._take(reply)
        except InvalidResponse as error:
            self._fail(error)

    def _take(self, reply: object) -> None:
        group = self._groups[0]
        group.replies.append(reply)
        if len(group.replies) < group.size:
            return
        self._groups.popleft()
        if not group.waiter.done():
            group.waiter.set_result(group.replies)
        self._stop_timer()
        if self._groups:
            self._start_timer()

    def _late(self) -> None:
        """Give up, unless part of a reply has come or more of what waited to be sent has gone."""
        unsent = self._transport.get_write_buffer_size()
        if self._heard or unsent < self._unsent or self._unsent == 0 < unsent:
            self._start_timer(unsent)
            return
        self._fail(RedisTimeoutError(f"Redis did not answer within {self._timeout:g} s."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._fail(RedisConnectionError(f"The connection to Redis was lost: {exc or 'closed by the server'}."))

    def _fail(self, error: Exception) -> None:
        self._stop_timer()
        # What is still to come can no longer be told apart.
        self._transport.abort()
        while self._groups:
            waiter = self._groups.popleft().waiter
            if not waiter.done():
                waiter.set_exception(error)

    def _start_timer(self, unsent: int = 0) -> None:
        self._heard, self._unsent = False, unsent
        self._timer = self._loop.call_later(self._timeout, self._late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def hashed_key(prefix: bytes, name: str) -> bytes:
    """Return a key that is as long as any other of its prefix, whatever it is the key of."""
    return prefix + hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def checked(replies: list[Any]) -> list[Any]:
    """Return replies; raise the first error among them."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def describe(error: Exception) -> str:
    """Say what went wrong with a server, in its own words unless they speak of commands that nobody wrote."""
    text = str(error).strip() or type(error).__name__
    if text.startswith("HELLO must be called"):
        return "it asks for a password, and the URL has none"
    return text
