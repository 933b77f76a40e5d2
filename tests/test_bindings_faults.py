"""Redis away, hung, read-only, full, restarted: nothing waits for it, and nothing is lost that fits the queue."""

import asyncio

import orjson
import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

import proxy.bindings
import proxy.redisqueue
from proxy.bindings import Binding, key_of
from proxy.errors import BindingsUnavailable
from proxy.redisqueue import DOWN, READ_ONLY, UP
from tests.rig.bindings import bindings
from tests.rig.eventually import eventually

OURS, THEIRS = Binding("main", "team-a"), Binding("main", "team-b")
ACK = 0.1
PATIENCE = 20.0


@pytest.fixture(autouse=True)
def probe_often(monkeypatch):
    """Look for the server twenty times a second, and believe at once what it has not: no test need wait for it."""
    monkeypatch.setattr(proxy.redisqueue, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(proxy.redisqueue, "SETTLING", 0.0)


def at_once(call):
    """Run a call that may not wait for anything."""
    with pytest.raises(StopIteration) as returned:
        call.send(None)
    return returned.value.value


async def within(call):
    """Run a call that has to end by itself."""
    async with asyncio.timeout(PATIENCE):
        return await call


async def under_way(bound, call):
    """Start a write and return once it is on its way to the server."""
    writing = asyncio.create_task(call)
    await asyncio.sleep(0)
    assert len(bound) == 1
    await eventually(lambda: len(bound) == 0)
    assert not writing.done()
    return writing


async def unavailable(call):
    """Run a look-up that must not be answered, and see that it says when to ask again."""
    with pytest.raises(BindingsUnavailable) as raised:
        await within(call)
    assert raised.value.status == 503
    assert ("Retry-After", "1") in raised.value.headers()


def bound_to(server, *rids, binding=OURS):
    """Make a fact to wait for: these ids, and no others, are bound."""
    keys = sorted(map(key_of, rids))
    return lambda: server.keys() == keys and all(server.run("GET", key) == binding.pack() for key in keys)


# Hung


async def test_hung_server_holds_up_one_bind_for_a_bounded_time_and_no_other(private_valkey):
    rids = [f"resp_{number}" for number in range(40)]
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        private_valkey.hang()
        await within(bound.bind(rids[0], OURS))
        assert bound.state == DOWN
        for rid in rids[1:]:
            at_once(bound.bind(rid, OURS))
        for rid in rids:
            assert at_once(bound.find(rid, "team-a")) == OURS
        await unavailable(bound.find("resp_unknown", "team-a"))
        await unavailable(bound.find(rids[0], "team-b"))
        private_valkey.resume()
        await eventually(bound_to(private_valkey, *rids))
        await eventually(lambda: bound.state == UP)
        assert await bound.find("resp_unknown", "team-a") is None
    assert (bound.states(), bound.dropped()) == ([DOWN, UP], 0)


async def test_hung_server_holds_up_all_binds_of_the_moment_for_the_same_time(private_valkey):
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        private_valkey.hang()
        await within(asyncio.gather(*(bound.bind(f"resp_{number}", OURS) for number in range(600))))
        private_valkey.resume()
        await eventually(lambda: len(private_valkey.keys()) == 600)


@pytest.mark.parametrize("write", ["bind", "forget"])
async def test_what_waits_before_a_write_is_not_waited_for_to_the_end(private_valkey, monkeypatch, write):
    """After an outage that may be all that was bound in it."""
    monkeypatch.setattr(proxy.bindings, "BATCH", 1)
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        private_valkey.stop()
        await bound.bind("resp_0", OURS)
        for number in range(1, 10_000):
            at_once(bound.bind(f"resp_{number}", OURS))
        private_valkey.start()
        await eventually(lambda: bound.state == UP)
        await (bound.bind("resp_last", OURS) if write == "bind" else bound.forget("resp_9999"))
        assert len(bound) > 0
        private_valkey.stop()


async def test_bind_under_way_is_let_go_when_a_look_up_finds_the_server_hung_first(private_valkey):
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        private_valkey.hang()
        binding = await under_way(bound, bound.bind("resp_1", OURS))
        bound._writes.fail(RedisTimeoutError("Late."), key_of("resp_1"))
        await within(binding)
        private_valkey.resume()
        await eventually(bound_to(private_valkey, "resp_1"))


async def test_bind_under_way_is_let_go_when_a_later_write_takes_its_place(private_valkey):
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        private_valkey.hang()
        binding = await under_way(bound, bound.bind("resp_1", OURS))
        forgetting = asyncio.create_task(bound.forget("resp_1"))
        await within(asyncio.gather(binding, forgetting))
        private_valkey.resume()
        await eventually(lambda: bound.state == UP and len(bound) == 0)
        assert private_valkey.keys() == []


async def test_bind_is_let_go_when_the_writer_ends_with_an_error(private_valkey):
    """Whatever became of the writer, exchanges go on."""
    async with bindings(private_valkey, ack_timeout=PATIENCE) as bound:
        private_valkey.hang()
        waiting = [await under_way(bound, bound.bind("resp_1", OURS))]
        waiting.append(asyncio.create_task(bound.bind("resp_2", OURS)))
        await asyncio.sleep(0)
        bound.interrupt()
        await within(asyncio.gather(*waiting))
        at_once(bound.bind("resp_3", OURS))
        private_valkey.resume()


async def test_stop_is_bounded_while_the_server_hangs_and_says_what_is_lost(private_valkey):
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        private_valkey.hang()
        await within(asyncio.gather(*(bound.bind(f"resp_{number}", OURS) for number in range(5))))
        bound.stop()
        await within(bound.ended())
        assert bound.dropped() == 5
        assert [line["count"] for line in bound.events("bindings_lost")] == [5]
        private_valkey.resume()


async def test_queue_answers_for_what_is_not_remembered(private_valkey):
    """A binding that waits to be written is as good as one that was."""
    async with bindings(private_valkey, ack_timeout=ACK, cache=0) as bound:
        private_valkey.read_only()
        await bound.bind("resp_1", OURS)
        await eventually(lambda: len(bound) == 1)
        assert await bound.find("resp_1", "team-a") == OURS
        await unavailable(bound.find("resp_1", "team-b"))


async def test_forgetting_waits_for_the_server_to_be_back(private_valkey):
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        await bound.bind("resp_1", OURS)
        private_valkey.hang()
        await within(bound.bind("resp_2", OURS))
        at_once(bound.forget("resp_1"))
        at_once(bound.forget("resp_2"))
        await unavailable(bound.find("resp_1", "team-a"))
        private_valkey.resume()
        await eventually(lambda: bound.state == UP and len(bound) == 0)
        assert private_valkey.keys() == []


# Away


async def test_server_that_is_away_when_the_gateway_starts_is_found_when_it_comes(private_valkey):
    """Also by a process nobody creates a response at."""
    private_valkey.stop()
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        assert bound.state == DOWN
        await unavailable(bound.find("resp_1", "team-a"))
        private_valkey.start()
        await eventually(lambda: bound.state == UP)
        assert await bound.find("resp_1", "team-a") is None
    assert bound.states() == [DOWN, UP]


async def test_server_lost_while_nobody_writes_is_found_again(private_valkey):
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        private_valkey.stop()
        await unavailable(bound.find("resp_1", "team-a"))
        private_valkey.start()
        await eventually(lambda: bound.state == UP)
        assert await bound.find("resp_1", "team-a") is None


async def test_server_that_was_away_gets_what_waited(private_valkey):
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        await bound.bind("resp_1", OURS)
        private_valkey.stop()
        await within(bound.bind("resp_2", OURS))
        at_once(bound.bind("resp_3", OURS))
        private_valkey.start()
        await eventually(bound_to(private_valkey, "resp_1", "resp_2", "resp_3"))
    assert bound.states() == [DOWN, UP]


async def test_queue_is_bounded_and_gives_up_the_oldest(private_valkey):
    rids = [f"resp_{number:03}" for number in range(100)]
    async with bindings(private_valkey, ack_timeout=ACK, queue=10, cache=0) as bound:
        private_valkey.stop()
        for rid in rids:
            await within(bound.bind(rid, OURS))
            assert len(bound) <= 10
        await eventually(lambda: bound.dropped() == 90)
        private_valkey.start()
        await eventually(bound_to(private_valkey, *rids[-10:]))
    assert bound.dropped() == 90


async def test_server_restarted_between_two_calls_is_not_even_noticed(private_valkey):
    async with bindings(private_valkey) as bound:
        await bound.bind("resp_1", OURS)
        private_valkey.stop()
        private_valkey.start()
        await bound.bind("resp_2", OURS)
        assert await bound.find("resp_3", "team-a") is None
        assert private_valkey.keys() == sorted([key_of("resp_1"), key_of("resp_2")])
    assert bound.states() == []


async def test_change_of_state_is_one_line_with_its_cause(private_valkey):
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        private_valkey.stop()
        for number in range(10):
            await within(bound.bind(f"resp_{number}", OURS))
            await unavailable(bound.find("resp_unknown", "team-a"))
        private_valkey.start()
        await eventually(lambda: bound.state == UP)
    down, up = bound.events("redis_state")
    assert (down["state"], down["before"], up["state"], up["before"]) == (DOWN, UP, UP, DOWN)
    assert "Error" in down["error"]
    assert up["error"] is None
    assert private_valkey.url not in orjson.dumps([down, up]).decode()


# Answers, but takes no writes


@pytest.mark.parametrize("fault", ["read-only", "full"])
async def test_server_that_takes_no_writes_still_answers(private_valkey, fault):
    begin, end = {
        "read-only": (private_valkey.read_only, private_valkey.writable),
        "full": (private_valkey.fill, private_valkey.unfill),
    }[fault]
    async with bindings(private_valkey, ack_timeout=ACK) as one, bindings(private_valkey, ack_timeout=ACK) as other:
        await one.bind("resp_1", OURS)
        begin()
        await within(one.bind("resp_2", OURS))
        assert one.state == READ_ONLY
        at_once(one.bind("resp_3", OURS))
        assert at_once(one.find("resp_3", "team-a")) == OURS
        await within(other.bind("resp_4", THEIRS))
        assert await other.find("resp_1", "team-a") == OURS
        end()
        await eventually(lambda: len(private_valkey.keys()) == 4)
        await eventually(lambda: one.state == other.state == UP)
    assert one.states() == other.states() == [READ_ONLY, UP]


async def test_id_not_found_while_writes_wait_is_not_said_to_be_unknown(private_valkey):
    """It may wait in another process. And a foreign one must not answer otherwise than one that is not there."""
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        private_valkey.run("SET", key_of("resp_foreign"), THEIRS.pack())
        private_valkey.read_only()
        await within(bound.bind("resp_1", OURS))
        await unavailable(bound.find("resp_unknown", "team-a"))
        await unavailable(bound.find("resp_foreign", "team-a"))
        private_valkey.writable()
        await eventually(lambda: bound.state == UP)
        assert await bound.find("resp_unknown", "team-a") is None
        assert await bound.find("resp_foreign", "team-a") == THEIRS


# An id stays with its first tenant, also while Redis is away


async def test_queued_binding_is_not_replaced_by_another_tenants(private_valkey):
    async with bindings(private_valkey, ack_timeout=ACK, cache=0) as bound:
        private_valkey.stop()
        await within(bound.bind("resp_1", OURS))
        await eventually(lambda: len(bound) == 1)
        await within(bound.bind("resp_1", THEIRS))
        private_valkey.start()
        await eventually(bound_to(private_valkey, "resp_1"))


async def test_queued_binding_does_not_replace_another_tenants(private_valkey):
    async with bindings(private_valkey, ack_timeout=ACK) as bound:
        private_valkey.run("SET", key_of("resp_1"), OURS.pack())
        private_valkey.hang()
        await within(bound.bind("resp_2", THEIRS))
        at_once(bound.bind("resp_1", THEIRS))
        private_valkey.resume()
        await eventually(lambda: bound.state == UP and private_valkey.run("EXISTS", key_of("resp_2")))
        assert await bound.find("resp_1", "team-b") == OURS
        assert private_valkey.run("GET", key_of("resp_1")) == OURS.pack()
