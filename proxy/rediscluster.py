"""Connections to the nodes of a Redis Cluster: each command goes where its key lives, and after it where that moved.

Which node holds which slot is learned from any node that answers, and learned again, at a bounded rate, when a node
redirects or does not answer.
"""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from proxy.redisline import FOREIGN, Command, checked
from proxy.redislink import ONLY, RedisLink, Shared, Watcher
from proxy.redisurl import Address, RedisURL

REFRESH_INTERVAL = 0.2
"""Seconds between two looks at who holds which slot, at least."""
REDIRECTS = 5
"""Times that a command is sent on."""
ASKED_AT_ONCE = 3
"""Nodes that are asked at a time who holds which slot."""

ASKING: Command = ("ASKING",)
SERVES = b"cluster_state:ok"
"""What a node says of itself, among much else."""


class Topology(NamedTuple):
    """The place of each slot, and every node by its place, replicas too, as a node knows them.

    A node that does not serve, `trusted` says, may have been away itself and know what was so before.
    """

    owners: list[str]
    nodes: dict[str, Address]
    trusted: bool

    @property
    def doubt(self) -> tuple[bool, int]:
        """How much there is against it: the less, the better."""
        return not self.trusted, self.owners.count(ONLY)

    @classmethod
    def parse(cls, reply: Any, asked: Address, *, trusted: bool) -> "Topology":
        """Read the answer to CLUSTER SLOTS. Raises ResponseError where it says nothing."""
        owners = [ONLY] * REDIS_CLUSTER_HASH_SLOTS
        nodes: dict[str, Address] = {}
        try:
            for first, last, *servers in reply:
                addresses = [address for server in servers if (address := _address(server, asked))]
                nodes.update((str(address), address) for address in addresses)
                if owner := _address(servers[0], asked):
                    owners[first : last + 1] = [str(owner)] * (last + 1 - first)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise ResponseError("A node's slots cannot be read.") from error
        if not nodes:
            raise ResponseError("A node knows no slots.")
        return cls(owners, nodes, trusted)


def _address(server: Sequence[Any], asked: Address) -> Address | None:
    """Read where a node listens: what it does not know of itself is where it was asked."""
    host = (server[0] or b"").decode()
    return None if host == "?" else Address(host or asked.host, int(server[1]))


class _Unit(NamedTuple):
    """Commands that go together: one, or a block from MULTI to EXEC; where they stand, and where their key lives."""

    start: int
    commands: Sequence[Command]
    slot: int


class _Redirect(NamedTuple):
    """Where a node sends a unit: for good, or this once."""

    target: Address
    once: bool


class ClusterLink:
    """The kept connections to a cluster's nodes. Each key's own node is asked; nodes are asked at the same time."""

    def __init__(self, url: RedisURL, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._owners = [ONLY] * REDIS_CLUSTER_HASH_SLOTS
        self._nodes: dict[str, Address] = {}
        self._learned = False
        self._closed = False
        self._links: dict[str, RedisLink] = {}
        self._refreshing = Shared(self._refresh, timeout)
        self._refreshed = float("-inf")
        self._watcher: Watcher | None = None

    def place_of(self, key: bytes) -> str:
        """Return the node that holds a key's slot."""
        return self._owners[key_slot(key)]

    def places(self) -> Collection[str]:
        """Return the nodes that hold slots; where nobody holds some, that place too."""
        return frozenset(self._owners)

    def watch(self, watcher: Watcher) -> None:
        """Tell a watcher, from now on, when slots moved or a connection had to be made anew."""
        self._watcher = watcher

    def close(self) -> None:
        """Close every connection, for good; whoever still waits is told."""
        self._closed = True
        self._refreshing.cancel()
        for link in self._links.values():
            link.close()

    def leave(self, place: str) -> None:
        """Give up the connection to a node."""
        if place in self._links:
            self._links[place].leave(place)

    async def confirms(self) -> bool:
        """Tell that each node answers for its own slots only: it knows when it was replaced, or was cut off."""
        return True

    async def probe(self, place: str) -> None:
        """Find out whether a node serves, having looked who holds which slot."""
        await self._refreshing.result()
        if place == ONLY:
            if ONLY in self.places():
                raise RedisConnectionError("There are slots that no node holds.")
        elif place in self.places():
            (info,) = checked(await self._link(place).ask([("CLUSTER", "INFO")]))
            if SERVES not in info:
                raise ResponseError("CLUSTERDOWN The node says that the cluster is down.")

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies; where a node does not answer, its error stands in their place."""
        if not self._learned:
            await self._refreshing.result()
        replies: list[Any] = [None] * len(commands)
        todo: list[tuple[_Unit, str, bool]] = [
            (unit, self._owners[unit.slot], False) for unit in _split_units(commands)
        ]
        for left in range(REDIRECTS, -1, -1):
            redirected = []
            for unit, answers, asked in await self._ask_nodes(todo):
                redirect = _find_redirect(answers, self._nodes.get(asked))
                if redirect is None or not left:
                    replies[unit.start : unit.start + len(unit.commands)] = answers
                else:
                    redirected.append((unit, self._know(redirect.target), redirect.once))
                    if not redirect.once:
                        self._refreshing.start()
            if not redirected:
                break
            todo = redirected
        return replies

    def _know(self, node: Address) -> str:
        place = str(node)
        self._nodes.setdefault(place, node)
        return place

    async def _ask_nodes(self, todo: Sequence[tuple[_Unit, str, bool]]) -> Iterator[tuple[_Unit, list[Any], str]]:
        """Ask each node for its units, in one write; return each unit with its answers and who gave them."""
        groups: defaultdict[str, list[tuple[_Unit, bool]]] = defaultdict(list)
        for unit, place, once in todo:
            groups[place].append((unit, once))
        if len(groups) == 1:
            ((place, units),) = groups.items()
            return self._ordered(place, units, await self._ask_node(place, units))
        answers = await asyncio.gather(*(self._ask_node(place, units) for place, units in groups.items()))
        return itertools.chain.from_iterable(
            self._ordered(place, units, given) for (place, units), given in zip(groups.items(), answers, strict=True)
        )

    @staticmethod
    def _ordered(
        place: str, units: list[tuple[_Unit, bool]], replies: list[Any]
    ) -> Iterator[tuple[_Unit, list[Any], str]]:
        at = 0
        for unit, once in units:
            at += once
            yield unit, replies[at : at + len(unit.commands)], place
            at += len(unit.commands)

    async def _ask_node(self, place: str, units: list[tuple[_Unit, bool]]) -> list[Any]:
        commands = [
            command for unit, once in units for command in ((ASKING, *unit.commands) if once else unit.commands)
        ]
        try:
            if place == ONLY:
                raise RedisConnectionError("No node is known to hold the slot.")
            replies = await self._link(place).ask(commands)
        except FOREIGN as error:
            self._refreshing.start()
            return [error] * len(commands)
        if any(isinstance(reply, ResponseError) and str(reply).startswith("CLUSTERDOWN") for reply in replies):
            self._refreshing.start()
        return replies

    def _link(self, place: str) -> RedisLink:
        """Return the link to a node. Raises ConnectionError where the node has left, or the cluster was closed."""
        if self._closed:
            raise RedisConnectionError("The connection to Redis was closed.")
        link = self._links.get(place)
        if link is None:
            if place not in self._nodes:
                raise RedisConnectionError("The node is none of the cluster's any more.")
            link = self._links[place] = RedisLink(self._url.server_url(self._nodes[place]), self._timeout, place)
            if self._watcher is not None:
                link.watch(self._watcher)
        return link

    # -- who holds which slot --------------------------------------------------------------------------------------

    async def _refresh(self) -> None:
        """Learn the slots from the first node that knows them, of those last known and those of the URL."""
        if self._closed:
            raise RedisConnectionError("The connection to Redis was closed.")
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._refreshed + REFRESH_INTERVAL - clock())
        known = list(self._nodes.values())
        random.shuffle(known)
        nodes = list(dict.fromkeys([*known, *self._url.addresses]))
        failure: Exception = RedisConnectionError("No node of the cluster answers.")
        try:
            for start in range(0, len(nodes), ASKED_AT_ONCE):
                try:
                    self._adopt(await self._ask_slots(nodes[start : start + ASKED_AT_ONCE]))
                except FOREIGN as error:
                    failure = error
                else:
                    return
            raise failure
        finally:
            self._refreshed = clock()

    async def _ask_slots(self, nodes: Sequence[Address]) -> Topology:
        """Ask some nodes at once; return what the first says that serves and knows all, else the best there is."""
        asking = [asyncio.create_task(self._ask_node_for_slots(node)) for node in nodes]
        failure: Exception = RedisConnectionError("No node of the cluster answers.")
        said: list[Topology] = []
        try:
            for answer in asyncio.as_completed(asking):
                try:
                    said.append(await answer)
                except FOREIGN as error:
                    failure = error
                else:
                    if said[-1].doubt == (False, 0):
                        break
        finally:
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)
        if not said:
            raise failure
        return min(said, key=lambda topology: topology.doubt)

    async def _ask_node_for_slots(self, node: Address) -> Topology:
        link = self._link(self._know(node))
        info, slots = checked(await link.ask([("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")]))
        return Topology.parse(slots, node, trusted=SERVES in info)

    def _adopt(self, topology: Topology) -> None:
        moved = topology.owners != self._owners
        self._owners, self._nodes, self._learned = topology.owners, topology.nodes, True
        for place in self._links.keys() - set(self._owners):
            self._links.pop(place).close()
        if moved and self._watcher is not None:
            self._watcher.moved()


def _split_units(commands: Sequence[Command]) -> Iterator[_Unit]:
    """Cut commands into what may go to different nodes; a block's key is that of its first command."""
    start = 0
    while start < len(commands):
        if commands[start][0] == "MULTI":
            stop = next(at for at in range(start, len(commands)) if commands[at][0] == "EXEC") + 1
            key = commands[start + 1][1]
        else:
            stop, key = start + 1, commands[start][1]
        yield _Unit(start, commands[start:stop], key_slot(key))  # type: ignore[arg-type]
        start = stop


def _find_redirect(replies: Sequence[Any], asked: Address | None) -> _Redirect | None:
    """Return where a node sends what it was asked; it may leave out a host that is its own, or not know another's."""
    for reply in replies:
        if isinstance(reply, ResponseError):
            kind, _, rest = str(reply).partition(" ")
            if kind in {"MOVED", "ASK"}:
                host, _, port = rest.rpartition(" ")[2].rpartition(":")
                host = host or (asked.host if asked is not None else "")
                return None if host == "?" else _Redirect(Address(host, int(port)), kind == "ASK")
    return None
