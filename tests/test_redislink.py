"""A connection that is kept: made once, made anew, shared by all who wait for it."""

import asyncio
import contextlib

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from proxy.redisline import checked
from proxy.redislink import ONLY, RedisLink, Shared, is_demoted
from tests.rig.eventually import eventually

PATIENCE = 5.0


class Watching:
    """What a link tells."""

    def __init__(self):
        self.told = []

    def moved(self):
        self.told.append("moved")

    def renewed(self, place):
        self.told.append(("renewed", place))


@contextlib.asynccontextmanager
async def link_to(server, timeout=PATIENCE):  # noqa: ASYNC109
    link = RedisLink(server.url, timeout)
    try:
        yield link
    finally:
        link.close()


async def test_link_connects_once_however_many_ask(private_valkey):
    before = private_valkey.clients()
    async with link_to(private_valkey) as link:
        answers = await asyncio.gather(*(link.ask([("ECHO", str(number))]) for number in range(20)))
        assert answers == [[str(number).encode()] for number in range(20)]
        assert private_valkey.clients() == before + 1
    await eventually(lambda: private_valkey.clients() == before)


async def test_link_replaces_a_connection_that_turns_out_stale(private_valkey):
    async with link_to(private_valkey) as link:
        await link.ask([("PING",)])
        private_valkey.stop()
        private_valkey.start()
        assert await link.ask([("PING",)]) == [b"PONG"]


async def test_link_raises_where_there_is_no_server(private_valkey):
    async with link_to(private_valkey) as link:
        private_valkey.stop()
        with pytest.raises((RedisConnectionError, OSError)):
            await link.ask([("PING",)])


async def test_link_leaves_errors_among_replies_to_its_user(valkey):
    async with link_to(valkey) as link:
        replies = await link.ask([("PING",), ("NONSENSE",)])
        with pytest.raises(ResponseError):
            checked(replies)
        assert checked(replies[:1]) == [b"PONG"]


async def test_link_that_was_never_used_closes(valkey):
    async with link_to(valkey):
        pass


async def test_link_tells_when_its_connection_had_to_be_made_anew_and_not_when_it_is_made_first(private_valkey):
    watching = Watching()
    async with link_to(private_valkey) as link:
        link.watch(watching)
        await link.probe(ONLY)
        assert watching.told == []
        private_valkey.stop()
        private_valkey.start()
        await link.probe(ONLY)
    assert watching.told == [("renewed", ONLY)]


async def test_link_that_left_its_server_asks_whoever_is_there_now(valkey):
    async with link_to(valkey) as link:
        link.leave(ONLY)
        (one,) = await link.ask([("CLIENT", "ID")])
        link.leave(ONLY)
        (other,) = await link.ask([("CLIENT", "ID")])
    assert one != other


def test_server_that_is_a_replica_now_is_told_from_one_that_is_full():
    assert is_demoted(ResponseError("READONLY You can't write against a read only replica."))
    assert not is_demoted(ResponseError("OOM command not allowed"))
    assert not is_demoted(b"READONLY")


async def test_link_has_one_place(valkey):
    async with link_to(valkey) as link:
        assert set(link.places()) == {link.place_of(b"a")} == {link.place_of(b"b")} == {ONLY}


async def test_link_closed_while_it_connects_tells_whoever_waits(private_valkey):
    async with link_to(private_valkey) as link:
        private_valkey.hang()
        waiting = asyncio.create_task(link.ask([("PING",)]))
        await eventually(lambda: link._connecting._task is not None)
        link.close()
        with pytest.raises(RedisConnectionError):
            await waiting
        private_valkey.resume()


async def test_link_that_was_closed_connects_no_more(private_valkey):
    """Nobody would close it again."""
    before = private_valkey.clients()
    async with link_to(private_valkey) as link:
        await link.probe(ONLY)
        link.close()
        with pytest.raises(RedisConnectionError):
            await link.probe(ONLY)
    await eventually(lambda: private_valkey.clients() == before)


# Work that is shared


async def test_shared_work_is_done_once_for_all_who_wait():
    gate, begun = asyncio.Event(), []

    async def work():
        begun.append(len(begun))
        await gate.wait()
        return begun[-1]

    shared = Shared(work, PATIENCE)
    waiting = [asyncio.create_task(shared.result()) for _ in range(5)]
    await eventually(lambda: begun)
    gate.set()
    assert await asyncio.gather(*waiting) == [0] * 5
    assert await shared.result() == 1


async def test_shared_work_goes_on_when_nobody_waits_any_longer():
    gate, done = asyncio.Event(), []

    async def work():
        await gate.wait()
        done.append(1)

    shared = Shared(work, 0.01)
    with pytest.raises(RedisTimeoutError):
        await shared.result()
    gate.set()
    await eventually(lambda: done)


async def test_failure_of_shared_work_is_everybodys_and_its_next_run_is_another():
    fault = OSError("refused")

    async def work():
        if fault:
            raise fault
        return "made"

    shared = Shared(work, PATIENCE)
    results = await asyncio.gather(shared.result(), shared.result(), return_exceptions=True)
    assert results == [fault, fault]
    fault = None
    assert await shared.result() == "made"
