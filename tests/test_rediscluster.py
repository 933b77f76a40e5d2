"""A cluster's nodes: who holds which slot, how commands are cut and sent on. Real clusters: tests/operations."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from proxy.rediscluster import REDIRECTS, ClusterLink, Topology, _find_redirect, _Redirect, _split_units
from proxy.redislink import ONLY
from proxy.redisurl import Address, parse_redis_url

PATIENCE = 5.0
ASKED = Address("seed", 7000)


@contextlib.asynccontextmanager
async def link_to(*places, query=""):
    link = ClusterLink(parse_redis_url(f"redis+cluster://{','.join(places)}{query}"), PATIENCE)
    try:
        yield link
    finally:
        link.close()


@contextlib.asynccontextmanager
async def scripted(answer):
    """Run a node that greets like an old Redis and answers a command, in upper case, by what `answer` makes of it."""

    async def serve(reader, writer):
        while data := await reader.read(65_536):
            for part in data.split(b"*")[1:]:
                words = part.split(b"\r\n")[2::2]
                old = words[0] in {b"HELLO", b"CLIENT"}
                writer.write(b"-ERR unknown command\r\n" if old else answer(words))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


# Who holds which slot


def test_topology_is_read():
    reply = [
        [0, 99, [b"a", 1, b"id", {}], [b"b", 2, b"id", {}]],
        [100, 200, [b"c", 3, b"id"]],
        [16_383, 16_383, [b"a", 1, b"id"]],
    ]
    topology = Topology.parse(reply, ASKED, trusted=True)
    owners = topology.owners
    assert (owners[0], owners[99], owners[100], owners[200], owners[201]) == ("a:1", "a:1", "c:3", "c:3", ONLY)
    assert (len(owners), owners[16_382], owners[16_383]) == (16_384, ONLY, "a:1")
    assert topology.nodes == {"a:1": Address("a", 1), "b:2": Address("b", 2), "c:3": Address("c", 3)}


def test_topology_is_doubted_for_what_it_leaves_open_and_more_for_whom_it_is_from():
    part, whole = [[0, 99, [b"a", 1, b"id"]]], [[0, 16_383, [b"a", 1, b"id"]]]
    said = [
        Topology.parse(reply, ASKED, trusted=trusted)
        for reply, trusted in ((whole, False), (part, True), (whole, True))
    ]
    assert sorted(said, key=lambda topology: topology.doubt) == said[::-1]


@pytest.mark.parametrize("host", [b"", None])
def test_node_that_does_not_know_its_own_host_is_where_it_was_asked(host):
    topology = Topology.parse([[0, 0, [host, 1, b"id"], [b"?", 2, b"id"]]], ASKED, trusted=True)
    assert topology.nodes == {"seed:1": Address("seed", 1)}


@pytest.mark.parametrize("reply", [[], [[]], [[0, 1]], b"x", None, [[0, 5, [b"a", b"x"]]]])
def test_answer_that_says_nothing_of_slots_is_an_error(reply):
    with pytest.raises(ResponseError, match="slots"):
        Topology.parse(reply, ASKED, trusted=True)


@settings(max_examples=50)
@given(st.recursive(st.none() | st.integers(0, 20_000) | st.binary(max_size=4), st.lists, max_leaves=8))
def test_answer_of_any_form_is_read_or_an_error(garbage):
    with contextlib.suppress(ResponseError):
        assert len(Topology.parse(garbage, ASKED, trusted=True).owners) == 16_384


# What goes together


def test_commands_are_cut_into_those_of_one_key_each():
    block = [("MULTI",), ("UNLINK", b"k"), ("HSET", b"k", b"f", b"v"), ("EXEC",)]
    units = list(_split_units([("GET", b"k"), *block, ("GET", b"{k}x"), *block]))
    assert [(unit.start, len(unit.commands)) for unit in units] == [(0, 1), (1, 4), (5, 1), (6, 4)]
    assert len({unit.slot for unit in units}) == 1


@pytest.mark.parametrize(
    ("replies", "redirect"),
    [
        ([b"OK", None], None),
        ([ResponseError("WRONGTYPE MOVED")], None),
        ([ResponseError("MOVED 3999 127.0.0.1:6381")], _Redirect(Address("127.0.0.1", 6381), once=False)),
        ([b"OK", ResponseError("ASK 3999 h.example:1")], _Redirect(Address("h.example", 1), once=True)),
        ([ResponseError("MOVED 3999 :6381")], _Redirect(Address("seed", 6381), once=False)),
        # As a URL it would lead to whatever is at this host's own 6379.
        ([ResponseError("MOVED 3999 ?:6379")], None),
        ([ResponseError("MOVED 3999 ::1:6381")], _Redirect(Address("::1", 6381), once=False)),
        ([b"OK", ResponseError("EXECABORT"), ResponseError("MOVED 1 a:1")], _Redirect(Address("a", 1), once=False)),
    ],
)
def test_redirect_is_found_among_replies(replies, redirect):
    assert _find_redirect(replies, ASKED) == redirect


# Nodes that answer as they are told


def halves(*ports):
    nodes = {f"127.0.0.1:{port}": Address("127.0.0.1", port) for port in ports}
    return Topology([owner for owner in nodes for _ in range(8192)], nodes, trusted=True)


async def test_node_that_leaves_before_it_is_asked_is_an_error_in_its_place():
    """Of two nodes each is asked by a task of its own, and slots may be learned before that begins."""
    async with link_to("127.0.0.1:1") as link:
        link._adopt(halves(1, 2))
        asking = asyncio.create_task(link.ask([("GET", b"b"), ("GET", b"a")]))
        await asyncio.sleep(0)
        link._adopt(halves(1, 3))
        errors = await asking
        assert [link.place_of(key) for key in (b"b", b"a")] == ["127.0.0.1:1", "127.0.0.1:3"]
        assert all(isinstance(error, RedisConnectionError) for error in errors)


async def test_closed_cluster_connects_to_nobody():
    async with link_to("127.0.0.1:1") as link:
        link._adopt(halves(1, 2))
        link.close()
        (error,) = await link.ask([("GET", b"a")])
        with pytest.raises(RedisConnectionError, match="closed"):
            await link.probe("127.0.0.1:1")
    assert (str(error), link._links) == ("The connection to Redis was closed.", {})


async def test_cluster_of_which_no_host_answers_is_an_error():
    async with link_to("127.0.0.1:1", "127.0.0.1:2") as link:
        for _ in range(2):
            with pytest.raises((RedisConnectionError, OSError)):
                await link.ask([("GET", b"a")])


async def test_server_that_is_no_cluster_is_an_error():
    async with (
        scripted(lambda _: b"-ERR This instance has cluster support disabled\r\n") as place,
        link_to(place, query="?protocol=2") as link,
    ):
        with pytest.raises(ResponseError, match="support disabled"):
            await link.ask([("GET", b"a")])


async def test_command_that_is_sent_in_circles_comes_back_with_the_last_error():
    asked = []

    def answer(words):
        if words[1:2] == [b"SLOTS"]:
            return b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n" % port
        if words[1:2] == [b"INFO"]:
            return b"$16\r\ncluster_state:ok\r\n"
        asked.append(words)
        return b"-MOVED 1 127.0.0.1:%d\r\n" % port

    async with scripted(answer) as place:
        port = int(place.rpartition(":")[2])
        async with link_to(place, query="?protocol=2") as link:
            (error,) = await link.ask([("GET", b"a")])
    assert str(error).startswith("MOVED")
    assert len(asked) == REDIRECTS + 1
