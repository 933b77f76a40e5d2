"""Connections for an operator's commands: a line to every server that has keys behind a Redis URL."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from redis.exceptions import RedisError, ResponseError

from proxy.redisline import Command, RedisLine, checked

PATIENCE: Final = 5.0
"""Seconds for one answer."""

FOREIGN: Final = (RedisError, OSError)
"""What asking raises."""


class Masters(NamedTuple):
    """The lines, and the one to the server that has a key."""

    lines: Sequence[RedisLine]
    of: Callable[[bytes], RedisLine]


@asynccontextmanager
async def open_masters(url: str, *, patience: float = PATIENCE) -> AsyncIterator[Masters]:
    """Open what a `redis.url` names. Raises, here or when something is asked, one of `FOREIGN`."""
    line = await RedisLine.open(url, patience)
    try:
        yield Masters((line,), lambda _key: line)
    finally:
        line.close()


async def ask(line: RedisLine, commands: Sequence[Command]) -> list[Any]:
    """Send commands in one go and return their replies; None of a key that is another program's, by its type."""
    return checked([None if _is_foreign(reply) else reply for reply in await line.ask(commands)])


def _is_foreign(reply: Any) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")
