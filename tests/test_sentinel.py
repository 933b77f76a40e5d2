"""Which master is believed of those that Sentinels name, and when it is left. Real failovers: tests/operations."""

import asyncio
import contextlib

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

import proxy.sentinel
from proxy.redislink import ONLY
from proxy.redisurl import parse_redis_url
from proxy.sentinel import SentinelLink
from tests.rig.eventually import eventually
from tests.rig.redisserver import HOST, RedisServer

PATIENCE = 5.0


class Sentinel:
    """Names what it is told to: a server and the number of its failover; nothing where it knows no master."""

    def __init__(self):
        self.named = None
        self.epoch = 0
        self.port = 0
        self.hangs = False
        self.asked = 0

    def name(self, server, epoch=0):
        self.named, self.epoch = server and server.port, epoch

    async def serve(self, reader, writer):
        while data := await reader.read(65_536):
            for part in data.split(b"*")[1:] if not self.hangs else ():
                writer.write(self.answer([word.upper() for word in part.split(b"\r\n")[2::2]]))
        writer.close()

    def answer(self, words):
        if words[0] != b"SENTINEL":
            return b"%1\r\n+proto\r\n:3\r\n" if words[0] == b"HELLO" else b"+OK\r\n"
        if self.named is None:
            return b"_\r\n" if words[1] == b"GET-MASTER-ADDR-BY-NAME" else b"-ERR No such master with that name\r\n"
        self.asked += 1
        if words[1] == b"GET-MASTER-ADDR-BY-NAME":
            return b"*2\r\n+%s\r\n+%d\r\n" % (HOST.encode(), self.named)
        return b"%%1\r\n+config-epoch\r\n+%d\r\n" % self.epoch


@pytest.fixture
async def sentinels():
    """Give three Sentinels."""
    made = [Sentinel() for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for each in made:
            server = await stack.enter_async_context(await asyncio.start_server(each.serve, HOST, 0))
            each.port = server.sockets[0].getsockname()[1]
        yield made


@pytest.fixture(scope="module")
def servers(valkey_binary):
    """Give two servers that take writes, and do not know each other."""
    with RedisServer(valkey_binary) as one, RedisServer(valkey_binary) as other:
        yield one, other


@pytest.fixture
def pair(servers):
    for server in servers:
        server.run("REPLICAOF", "NO", "ONE")
        server.run("FLUSHALL")
    return servers


@contextlib.asynccontextmanager
async def link_to(sentinels, *more, patience=PATIENCE):
    hosts = ",".join([*more, *(f"{HOST}:{sentinel.port}" for sentinel in sentinels)])
    link = SentinelLink(parse_redis_url(f"redis+sentinel://{hosts}/mymaster"), patience)
    try:
        yield link
    finally:
        link.close()


async def reached(link, servers):
    """Return which of the servers takes a write."""
    await link.ask([("SET", b"k", b"v")])
    (at,) = [number for number, server in enumerate(servers) if server.run("DBSIZE")]
    return at


async def test_master_that_is_named_is_asked(sentinels, pair):
    for sentinel in sentinels:
        sentinel.name(pair[1])
    async with link_to(sentinels) as link:
        assert await reached(link, pair) == 1
        await link.probe(ONLY)


async def test_master_of_the_latest_failover_is_asked_though_most_do_not_know_of_it_yet(sentinels, pair):
    for sentinel, named, epoch in zip(sentinels, (0, 1, 0), (3, 4, 3), strict=True):
        sentinel.name(pair[named], epoch)
    async with link_to(sentinels) as link:
        assert await reached(link, pair) == 1


async def test_master_that_most_name_is_asked_first(sentinels, pair):
    for sentinel, named in zip(sentinels, (0, 1, 1), strict=True):
        sentinel.name(pair[named])
    async with link_to(sentinels) as link:
        assert await reached(link, pair) == 1


async def test_server_that_says_it_is_no_master_is_not_asked(sentinels, pair):
    pair[1].run("REPLICAOF", HOST, 1)
    for sentinel, named in zip(sentinels, (0, 1, 1), strict=True):
        sentinel.name(pair[named])
    async with link_to(sentinels) as link:
        assert await reached(link, pair) == 0
    for sentinel in sentinels:
        sentinel.name(pair[1])
    async with link_to(sentinels) as link:
        with pytest.raises(RedisConnectionError, match="is not the master"):
            await link.ask([("GET", b"k")])


async def test_sentinels_that_are_down_or_know_nothing_are_passed_over(sentinels, pair):
    sentinels[2].name(pair[0])
    async with link_to(sentinels, f"{HOST}:1", f"{HOST}:2") as link:
        assert await reached(link, pair) == 0
        assert await link.confirms()


async def test_sentinel_that_hangs_holds_up_nobody_for_long(sentinels, pair):
    sentinels[1].hangs = True
    for sentinel in sentinels:
        sentinel.name(pair[0])
    async with link_to(sentinels, patience=0.8) as link:
        assert await reached(link, pair) == 0
        assert await link.confirms()


@pytest.mark.parametrize("known", [0, 3])
async def test_master_that_nobody_names_is_an_error(known, sentinels):
    async with link_to(sentinels[:known], f"{HOST}:1") as link:
        with pytest.raises(RedisConnectionError, match="knows the master mymaster"):
            await link.ask([("GET", b"k")])
        assert not await link.confirms()


async def test_server_that_was_demoted_is_left_and_everything_asked_again(sentinels, pair, monkeypatch):
    """By what it answers itself: here the Sentinels are not asked meanwhile."""
    monkeypatch.setattr(proxy.sentinel, "LOOK_INTERVAL", 3600.0)
    for sentinel in sentinels:
        sentinel.name(pair[0])
    async with link_to(sentinels) as link:
        await link.ask([("GET", b"k")])
        pair[0].run("REPLICAOF", HOST, 1)
        for sentinel in sentinels:
            sentinel.name(pair[1])
        assert await link.ask([("SET", b"k", b"v"), ("GET", b"k")]) == [b"OK", b"v"]
        assert pair[1].run("GET", "k") == b"v"


class Watching:
    def __init__(self):
        self.renewals = 0

    def moved(self):
        raise AssertionError

    def renewed(self, place):
        assert place == ONLY
        self.renewals += 1


async def test_server_is_left_when_another_is_named_though_it_would_take_writes(sentinels, pair, monkeypatch):
    """Also where nobody asks."""
    monkeypatch.setattr(proxy.sentinel, "LOOK_INTERVAL", 0.01)
    watching = Watching()
    for sentinel in sentinels:
        sentinel.name(pair[0])
    async with link_to(sentinels) as link:
        link.watch(watching)
        await link.ask([("GET", b"k")])
        sentinels[1].name(pair[1], 1)
        await eventually(lambda: watching.renewals)
        assert await reached(link, pair) == 1
    assert watching.renewals == 1


async def test_server_that_is_no_longer_named_confirms_nothing(sentinels, pair, monkeypatch):
    """What it has not may be at the other one."""
    monkeypatch.setattr(proxy.sentinel, "LOOK_INTERVAL", 3600.0)
    for sentinel in sentinels:
        sentinel.name(pair[0])
    async with link_to(sentinels) as link:
        await link.ask([("GET", b"k")])
        assert await link.confirms()
        sentinels[1].name(pair[1], 1)
        assert not await link.confirms()
        assert await link.confirms()
        assert await reached(link, pair) == 1


async def test_what_was_answered_after_sentinels_were_asked_is_confirmed_by_asking_again(sentinels, pair, monkeypatch):
    """One that hangs keeps the question open, and what the others said is old by then."""
    monkeypatch.setattr(proxy.sentinel, "LOOK_INTERVAL", 3600.0)
    for sentinel in sentinels:
        sentinel.name(pair[0])
    async with link_to(sentinels, patience=0.5) as link:
        await link.ask([("GET", b"k")])
        sentinels[2].hangs = True
        asked = sentinels[0].asked
        looking = asyncio.create_task(link.confirms())
        await eventually(lambda: sentinels[0].asked > asked)
        sentinels[0].name(pair[1], 1)
        assert not looking.done()
        assert not await link.confirms()
        assert await looking
