"""Redis as an operator's commands ask it: by key, as the gateway does, and every server that has keys by itself."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from redis.exceptions import ResponseError

from proxy.redisaccess import link_to
from proxy.redisline import Command, checked
from proxy.redislink import ONLY, Link, RedisLink
from proxy.redisurl import Address, parse_redis_url

PATIENCE: Final = 5.0
"""Seconds for one answer."""


class Masters(NamedTuple):
    """What asks for keys wherever they live; and what asks each server that has some, by what it is called."""

    link: Link
    each: Mapping[str, Link]


@asynccontextmanager
async def open_masters(text: str, *, patience: float = PATIENCE) -> AsyncIterator[Masters]:
    """Open what a `redis.url` names. Raises, here or when something is asked, one of `redisline.FOREIGN`.

    In a cluster every slot has to have its server: what is counted would not be all.
    """
    url, link = parse_redis_url(text), link_to(text, patience)
    each: dict[str, Link] = {str(url): link}
    try:
        if url.form == "cluster":
            # Learns who holds which slot.
            await link.probe(ONLY)
            each = {place: RedisLink(url.server_url(_address(place)), patience) for place in sorted(link.places())}
        yield Masters(link, each)
    finally:
        for opened in (link, *each.values()):
            opened.close()


def _address(place: str) -> Address:
    host, _, port = place.rpartition(":")
    return Address(host.strip("[]"), int(port))


async def ask(link: Link, commands: Sequence[Command]) -> list[Any]:
    """Send commands in one go and return their replies; None of a key that is another program's, by its type.

    Raises one of `redisline.FOREIGN`.
    """
    return checked([None if _is_foreign(reply) else reply for reply in await link.ask(commands)])


def _is_foreign(reply: Any) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")
