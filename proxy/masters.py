"""Redis as an operator's commands ask it: by key, as the gateway does, and every server that has keys by itself."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from proxy.redisaccess import link_to
from proxy.rediscluster import Topology
from proxy.redisline import FOREIGN, Command, RedisLine, checked
from proxy.redislink import ONLY, Link, RedisLink
from proxy.redisurl import Address, RedisURL, parse_redis_url

PATIENCE: Final = 5.0
"""Seconds for one answer."""


class Masters(NamedTuple):
    """What asks for keys wherever they live; and what asks each server that has some, by what it is called."""

    link: Link
    each: Mapping[str, Link]


@asynccontextmanager
async def open_masters(text: str, *, patience: float = PATIENCE) -> AsyncIterator[Masters]:
    """Open what a `redis.url` names. Raises, here or when something is asked, one of `FOREIGN`."""
    url, link = parse_redis_url(text), link_to(text, patience)
    each: dict[str, Link] = {str(url): link}
    try:
        if url.form == "cluster":
            nodes = await _find_masters(url, patience)
            each = {place: RedisLink(url.server_url(node), patience, place) for place, node in nodes.items()}
        yield Masters(link, each)
    finally:
        for opened in (link, *each.values()):
            opened.close()


async def _find_masters(url: RedisURL, patience: float) -> dict[str, Address]:
    """Ask the nodes of the URL, one after another, who holds slots; return them by their addresses."""
    failure: Exception = RedisConnectionError("No node of the cluster answers.")
    for address in url.addresses:
        try:
            line = await RedisLine.open(url.server_url(address), patience)
            try:
                (reply,) = checked(await line.ask([("CLUSTER", "SLOTS")]))
            finally:
                line.close()
            topology = Topology.parse(reply, address)
        except FOREIGN as error:
            failure = error
        else:
            return {place: topology.nodes[place] for place in sorted(set(topology.owners) - {ONLY})}
    raise failure


async def ask(link: Link, commands: Sequence[Command]) -> list[Any]:
    """Send commands in one go and return their replies; None of a key that is another program's, by its type.

    Raises one of `FOREIGN`.
    """
    return checked([None if _is_foreign(reply) else reply for reply in await link.ask(commands)])


def _is_foreign(reply: Any) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")
