"""Writes for several servers: each place for itself, keys that move, what is not found, what may have been lost."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

import proxy.redisqueue
from proxy.redisqueue import DOWN, READ_ONLY, UP
from tests.rig.eventually import eventually
from tests.rig.redisqueue import running, taken


@pytest.fixture(autouse=True)
def probe_often(monkeypatch):
    monkeypatch.setattr(proxy.redisqueue, "PROBE_INTERVAL", 0.01)


# Keys that end in 1 and in 2 live in two places


async def test_place_that_is_away_holds_up_nobody_elses_writes():
    async with running() as store:
        store.link.faults["1"] = RedisConnectionError()
        await store.queue.put(b"a1", "x")
        assert (store.queue.state_of(b"a1"), store.queue.state_of(b"a2"), store.queue.state) == (DOWN, UP, DOWN)
        assert store.queue.put(b"b1", "x").done()
        waiting = store.queue.put(b"a2", "x")
        assert not waiting.done()
        assert await waiting
        assert (store.held, len(store.queue)) == ({b"a2": "x"}, 2)
        store.link.faults.clear()
        await taken(store)
    assert store.held == {b"a1": "x", b"b1": "x", b"a2": "x"}
    assert [(line["state"], line["server"]) for line in store.events("store_state")] == [(DOWN, "1"), (UP, "1")]


async def test_state_is_the_worst_of_all_places():
    async with running() as store:
        store.queue.fail(ResponseError("OOM"), b"a1")
        assert store.queue.state == READ_ONLY
        store.queue.fail(RedisTimeoutError(), b"a2")
        assert store.queue.state == DOWN


async def test_place_under_way_holds_up_nobody_elses_writes():
    async with running() as store:
        store.gate.clear()
        hung = store.queue.put(b"a1", "x")
        await taken(store)
        other = store.queue.put(b"a2", "x")
        await taken(store)
        assert (hung.done(), store.queue.get(b"a2").value) == (False, "x")
        store.gate.set()
        assert await asyncio.gather(hung, other) == [True, True]
    assert sorted(store.batches) == [[b"a1"], [b"a2"]]


async def test_place_with_most_writes_gives_up_its_oldest():
    async with running(limit=10) as store:
        store.link.faults["1"] = RedisConnectionError()
        await store.queue.put(b"a1", "x", 2)
        store.queue.put(b"b1", "x", 8)
        waiting = store.queue.put(b"a2", "x", 3)
        assert (store.dropped, store.queue.get(b"a1")) == (1, None)
        assert store.queue.get(b"a2") is not None
        await waiting
        store.link.faults.clear()
        await taken(store)
    assert store.held == {b"b1": "x", b"a2": "x"}


async def test_writes_go_where_their_keys_have_moved():
    async with running() as store:
        store.link.faults["1"] = RedisConnectionError()
        await store.queue.put(b"a1", "x", 3)
        store.queue.put(b"b1", "y", 4)
        store.link.move("1", "3")
        assert (store.queue.state_of(b"a1"), store.queue.get(b"b1").value, store.queue.weight) == (UP, "y", 7)
        await taken(store)
    assert store.held == {b"a1": "x", b"b1": "y"}
    assert [(line["state"], line["server"]) for line in store.events("store_state")] == [(DOWN, "1"), (UP, "1")]


async def test_write_under_way_while_its_key_moves_is_tried_again_where_it_lives_now():
    async with running() as store:
        store.gate.clear()
        first = store.queue.put(b"a1", "x", 3)
        await taken(store)
        store.fault = RedisConnectionError()
        store.link.move("1", "3")
        store.gate.set()
        assert await first
        store.fault = None
        await eventually(lambda: store.held)
    assert store.held == {b"a1": "x"}


async def test_write_that_waits_is_let_go_where_its_key_moved_to_a_place_that_is_away():
    async with running() as store:
        store.link.faults["2"] = RedisConnectionError()
        await store.queue.put(b"a2", "x")
        store.gate.clear()
        store.queue.put(b"a1", "x")
        await eventually(lambda: len(store.queue) == 1)
        waiting = store.queue.put(b"b1", "x")
        store.link.move("1", "2")
        assert await waiting
        store.link.faults.clear()
    assert set(store.held) == {b"a1", b"b1", b"a2"}


async def test_write_under_way_is_not_tried_again_once_another_was_put_where_its_key_moved():
    async with running() as store:
        store.gate.clear()
        store.queue.put(b"a1", "old")
        await taken(store)
        store.link.move("1", "3")
        store.queue.put(b"a1", None)
        await taken(store)
        store.fault = RedisConnectionError()
        store.gate.set()
        await eventually(lambda: store.queue.state == DOWN)
        store.fault = None
        await taken(store)
    assert (store.batches, store.held) == ([[b"a1"]], {b"a1": None})


async def test_server_that_is_a_replica_now_is_left():
    """Its name may lead to another by now."""
    async with running() as store:
        store.link.faults["1"] = ResponseError("READONLY You can't write against a read only replica.")
        await store.queue.put(b"a1", "x")
        store.link.faults["2"] = ResponseError("OOM command not allowed")
        await store.queue.put(b"a2", "x")
        assert (store.queue.state, set(store.link.left)) == (READ_ONLY, {"1"})
        store.link.faults.clear()


# What is not found


@pytest.fixture
def settling(monkeypatch):
    monkeypatch.setattr(proxy.redisqueue, "SETTLING", 0.1)


@pytest.mark.usefixtures("settling")
async def test_key_that_is_not_there_may_be_in_a_queue_for_a_while_after_its_server_came_back():
    async with running() as store:
        assert store.queue.is_sure_of(b"a1")
        store.queue.fail(RedisConnectionError(), b"a1")
        assert not store.queue.is_sure_of(b"a1")
        assert store.queue.is_sure_of(b"a2")
        await eventually(lambda: store.queue.state == UP)
        assert not store.queue.is_sure_of(b"a1")
        await eventually(lambda: store.queue.is_sure_of(b"a1"))


@pytest.mark.usefixtures("settling")
async def test_key_that_is_not_there_may_be_in_a_queue_where_a_connection_broke_off():
    async with running() as store:
        store.queue.renewed("1")
        assert (store.queue.state, store.queue.is_sure_of(b"a1"), store.queue.is_sure_of(b"a2")) == (UP, False, True)
        await eventually(lambda: store.queue.is_sure_of(b"a1"))


@pytest.mark.usefixtures("settling")
async def test_key_that_is_not_there_may_be_in_a_queue_where_it_moved_because_a_server_was_away():
    async with running() as store:
        store.link.move("1", "3")
        assert store.queue.is_sure_of(b"a1")
        store.queue.fail(RedisConnectionError(), b"a1")
        store.link.move("1", "4")
        assert (store.queue.state, store.queue.is_sure_of(b"a1")) == (UP, False)
        await eventually(lambda: store.queue.is_sure_of(b"a1"))


# What a server that went away may have lost


async def test_what_was_acknowledged_last_is_written_again_once_a_server_was_away():
    async with running(repeats=True) as store:
        for key in (b"a1", b"b1", b"a2"):
            await store.queue.put(key, "x")
        await store.queue.put(b"a1", "y")
        store.held.clear()
        store.queue.renewed("1")
        await taken(store)
        await eventually(lambda: len(store.held) == 2)
        store.queue.renewed("1")
    assert store.held == {b"a1": "y", b"b1": "x"}


async def test_what_was_refused_or_deleted_is_not_written_again():
    """Its key may be another's by now."""
    async with running(repeats=True) as store:
        assert not await store.queue.put(b"a1", "refused")
        await store.queue.put(b"b1", "x")
        await store.queue.put(b"b1", None)
        store.held.clear()
        store.queue.renewed("1")
        assert len(store.queue) == 0
    assert store.held == {}


async def test_what_waits_is_not_replaced_by_what_was_written_before_it():
    async with running(repeats=True) as store:
        await store.queue.put(b"a1", "old")
        store.gate.clear()
        waiting = store.queue.put(b"a1", "new")
        store.queue.renewed("1")
        store.gate.set()
        await waiting
    assert store.held == {b"a1": "new"}


async def test_what_was_acknowledged_last_is_written_again_where_its_key_moved_because_a_server_was_away():
    async with running(repeats=True) as store:
        await store.queue.put(b"a1", "x")
        store.link.move("1", "3")
        await store.queue.put(b"b1", "x")
        store.held.clear()
        store.queue.fail(RedisConnectionError(), b"a1")
        store.link.move("1", "4")
        await eventually(lambda: store.held)
    assert store.held == {b"b1": "x"}


async def test_what_moved_while_it_was_written_again_is_new_where_it_lives_now():
    async with running(repeats=True) as store:
        await store.queue.put(b"a1", "x")
        store.link.faults["1"] = RedisConnectionError()
        store.queue.fail(RedisConnectionError(), b"a1")
        store.queue.renewed("1")
        store.link.move("1", "3")
        await taken(store)
        await eventually(lambda: store.queue.get(b"a1") is None)
        store.held.clear()
        store.queue.renewed("3")
        await eventually(lambda: store.held)
    assert store.held == {b"a1": "x"}


async def test_what_was_written_again_is_not_newer_for_it(monkeypatch):
    """A connection that is lost again and again would have more written again each time, for ever."""
    async with running(repeats=True) as store:
        now = [100.0]
        monkeypatch.setattr(store.queue, "_clock", lambda: now[0])
        await store.queue.put(b"a1", "x")
        for now[0] in (100.5, 101.0, 101.5):
            store.queue.renewed("1")
            assert store.queue.get(b"a1") is not None
            await eventually(lambda: store.queue.get(b"a1") is None)
        now[0] = 102.5
        await store.queue.put(b"b1", "x")
        store.batches.clear()
        store.queue.renewed("1")
        await eventually(lambda: store.queue.get(b"b1") is None)
    assert store.batches == [[b"b1"]]


async def test_what_is_written_again_takes_nothings_place_that_was_not_written_yet():
    async with running(repeats=True, limit=2) as store:
        for key in (b"a1", b"b1"):
            await store.queue.put(key, "x")
        store.link.faults["1"] = RedisConnectionError()
        store.queue.fail(RedisConnectionError(), b"a1")
        store.queue.put(b"c1", "x")
        store.held.clear()
        store.queue.renewed("1")
        assert (store.queue.get(b"a1"), store.dropped) == (None, 0)
        store.link.faults.clear()
        await taken(store)
    assert store.held == {b"b1": "x", b"c1": "x"}


async def test_what_is_remembered_of_a_place_ends_with_its_time(monkeypatch):
    async with running(repeats=True) as store:
        monkeypatch.setattr(proxy.redisqueue, "REPEATED", 0.0)
        for key in (b"a1", b"b1"):
            await store.queue.put(key, "x")
        monkeypatch.setattr(proxy.redisqueue, "OUTAGE", 0.0)
        (lane,) = [lane for lane in store.queue._lanes.values() if lane.place == "1"]
        assert [list(batch) for _, batch in lane.recent] == [[b"b1"]]
        store.queue.renewed("1")
        assert len(store.queue) == 0
