"""What waits to be written, by weight: in batches, replaced, withdrawn, given up. Its users' tests hold the rest."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

import proxy.redisqueue
from proxy.redisqueue import DOWN, READ_ONLY, UP, Write, state_after
from tests.rig.redisqueue import running, taken


@pytest.fixture(autouse=True)
def probe_often(monkeypatch):
    monkeypatch.setattr(proxy.redisqueue, "PROBE_INTERVAL", 0.01)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (RedisConnectionError(), DOWN),
        (RedisTimeoutError(), DOWN),
        (OSError(), DOWN),
        (RedisError(), DOWN),
        (ResponseError("READONLY"), READ_ONLY),
    ],
)
def test_server_that_answers_with_an_error_is_not_away(error, state):
    assert state_after(error) == state


async def test_put_tells_whether_it_was_accepted():
    async with running() as store:
        accepted = await asyncio.gather(store.queue.put(b"a", "x"), store.queue.put(b"b", "refused"))
    assert accepted == [True, False]


async def test_batch_holds_what_its_weight_allows_and_one_write_at_least():
    async with running() as store:
        store.gate.clear()
        first = store.queue.put(b"0", "x", 1)
        await taken(store)
        weights = (4, 6, 1, 30, 5, 5)
        rest = [store.queue.put(b"%d" % key, "x", weight) for key, weight in enumerate(weights, 1)]
        assert store.queue.weight == sum(weights)
        store.gate.set()
        await asyncio.gather(first, *rest)
        assert store.queue.weight == 0
    assert store.batches == [[b"0"], [b"1", b"2"], [b"3"], [b"4"], [b"5", b"6"]]


async def test_later_write_takes_the_place_and_the_weight_of_one_that_waits():
    async with running() as store:
        store.fault = RedisConnectionError()
        await store.queue.put(b"a", "old", 5)
        store.queue.put(b"b", "x", 1)
        store.queue.put(b"a", "new", 7)
        assert store.queue.weight == 8
        store.fault = None
        await taken(store)
    assert store.held == {b"a": "new", b"b": "x"}


async def test_write_under_way_is_found_and_put_back_before_the_rest_when_it_fails():
    async with running() as store:
        store.gate.clear()
        first = store.queue.put(b"a", "x", 5)
        await taken(store)
        assert store.queue.get(b"a").value == "x"
        store.queue.put(b"b", "y", 6)
        store.fault = RedisConnectionError()
        store.gate.set()
        assert await first
        assert (store.queue.weight, store.queue.state) == (11, DOWN)
        store.fault = None
        await taken(store)
        assert store.queue.get(b"c") is None
    assert store.batches == [[b"a"], [b"b"]]


async def test_write_that_was_replaced_while_it_was_under_way_is_not_tried_again():
    async with running() as store:
        store.gate.clear()
        first = store.queue.put(b"a", "old", 50)
        await taken(store)
        second = store.queue.put(b"a", "new", 5)
        store.fault = RedisConnectionError()
        store.gate.set()
        await asyncio.gather(first, second)
        assert store.queue.weight == 5
        store.fault = None
        await taken(store)
    assert store.held == {b"a": "new"}


@pytest.mark.parametrize("under_way", [False, True])
async def test_withdrawn_write_is_not_tried_again(under_way):
    async with running() as store:
        store.gate.clear()
        waiting = [store.queue.put(b"a" if under_way else b"z", "x", 5)]
        await taken(store)
        waiting.append(store.queue.put(b"z" if under_way else b"a", "x", 3))
        assert store.queue.withdraw(b"a").weight == (5 if under_way else 3)
        assert store.queue.withdraw(b"a") is None
        assert store.queue.get(b"a") is None
        store.fault = RedisConnectionError()
        store.gate.set()
        assert sorted(await asyncio.gather(*waiting)) == [False, True]
        store.fault = None
        await taken(store)
        assert store.queue.weight == 0
    assert store.held == {b"z": "x"}


async def test_oldest_writes_are_given_up_past_the_limit_but_never_the_last():
    async with running(limit=10) as store:
        store.fault = ResponseError("OOM")
        await store.queue.put(b"a", "x", 4)
        for key in (b"b", b"c", b"d"):
            await store.queue.put(key, "x", 4)
        assert (store.dropped, store.queue.weight) == (2, 8)
        await store.queue.put(b"e", "x", 40)
        assert (store.dropped, store.queue.weight, len(store.queue)) == (4, 40, 1)
        store.fault = None
        await taken(store)
    assert store.held == {b"e": "x"}


async def test_change_of_state_is_told_once_each_way():
    async with running() as store:
        store.fault = RedisConnectionError("gone")
        await store.queue.put(b"a", "x")
        store.queue.fail(RedisConnectionError(), b"a")
        store.fault = None
        await taken(store)
        await store.queue.put(b"b", "x")
    told = [(line["before"], line["state"], line["queued"]) for line in store.events("store_state")]
    assert told == [(UP, DOWN, 1), (DOWN, UP, 0)]


async def test_whoever_waits_is_let_go_when_a_reader_finds_the_server_away():
    async with running() as store:
        store.gate.clear()
        under_way = store.queue.put(b"a", "x")
        await taken(store)
        waiting = store.queue.put(b"b", "x")
        store.queue.fail(RedisTimeoutError(), b"a")
        assert await asyncio.gather(under_way, waiting) == [True, True]
    assert store.held == {b"a": "x", b"b": "x"}


async def test_what_cannot_be_written_at_the_end_is_counted_and_told():
    async with running() as store:
        store.fault = RedisConnectionError()
        for key in (b"a", b"b"):
            await store.queue.put(key, "x", 9)
        store.queue.stop()
    assert store.dropped == 2
    assert [line["count"] for line in store.events("store_lost")] == [2]
    assert isinstance(store.queue.get(b"a"), Write)
