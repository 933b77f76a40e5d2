"""Bindings and kept responses as a gateway writes them, counted and removed as an operator does."""

from math import inf

import pytest

from proxy import archive as kept_keys
from proxy.bindings import BACKGROUND, CONVERSATION, KEPT, Binding, key_of
from proxy.masters import open_masters
from proxy.stored import BATCH, Tally, look_up, remove, take_stock
from tests.rig.archive import TENANT, archive, entry_of
from tests.rig.bindings import bindings


@pytest.fixture
async def masters(valkey):
    async with open_masters(valkey.url) as opened:
        yield opened


def put(valkey, rid, binding, seconds=None):
    """Store a binding with so long to live."""
    expiry = () if seconds is None else ("EX", str(seconds))
    valkey.run("SET", key_of(rid), binding.pack(), *expiry)


def put_many(valkey, number):
    """Store bindings in one go."""
    pairs = ((key_of(f"resp_{index}"), Binding("main", f"t{index % 3}").pack()) for index in range(number))
    valkey.run("MSET", *(part for pair in pairs for part in pair))


# Counting


async def test_stock_is_counted_by_provider_and_tenant(valkey, masters):
    async with bindings(valkey) as bound:
        await bound.bind("resp_1", Binding("main", "team-a"))
        await bound.bind("resp_2", Binding("main", "team-a", BACKGROUND))
        await bound.bind("conv_1", Binding("main", "team-b", CONVERSATION))
        await bound.bind("resp_3", Binding("claude", "team-a", KEPT))
    stock = await take_stock(masters)
    counted = {
        who: (one.ids, one.dependent, one.background, one.conversations, one.kept) for who, one in stock.tallies.items()
    }
    assert counted == {
        ("main", "team-a"): (2, 2, 1, 0, 0),
        ("main", "team-b"): (1, 1, 0, 1, 0),
        ("claude", "team-a"): (1, 0, 0, 0, 1),
    }
    assert list(stock.of("main")) == ["team-a", "team-b"]
    assert stock.unreadable == 0


async def test_stock_tells_when_the_first_and_the_last_id_expires(valkey, masters):
    put(valkey, "resp_1", Binding("main", "t"), 100)
    put(valkey, "resp_2", Binding("main", "t"), 200)
    put(valkey, "resp_3", Binding("main", "t", KEPT), 300)
    tally = (await take_stock(masters)).tallies["main", "t"]
    times = (tally.first_expires, tally.last_dependent_expires, tally.last_expires)
    assert [100 - 20 < times[0] <= 100, 200 - 20 < times[1] <= 200, 300 - 20 < times[2] <= 300] == [True] * 3


async def test_id_that_never_expires_is_the_last(valkey, masters):
    put(valkey, "resp_1", Binding("main", "t"))
    assert (await take_stock(masters)).tallies["main", "t"].last_dependent_expires == inf


async def test_stock_of_many_batches_counts_each_id_once(valkey, masters):
    number = 3 * BATCH + 7
    put_many(valkey, number)
    stock = await take_stock(masters)
    assert sum(tally.ids for tally in stock.tallies.values()) == number


async def test_stock_leaves_out_what_other_programs_keep(valkey, masters):
    put(valkey, "resp_1", Binding("main", "t"), 100)
    valkey.run("SET", "b", "x")
    valkey.run("SET", "batch:0123456789", "x")
    valkey.run("LPUSH", "b0123456789abcdef", "x")
    valkey.run("SET", "c0123456789abcdef", "x")
    valkey.run("SET", b"b" + bytes(16), Binding("other", "t").pack()[1:])
    stock = await take_stock(masters)
    assert list(stock.tallies) == [("main", "t")]
    assert stock.unreadable == 1


async def test_counting_serves_others_between_two_batches(valkey, masters):
    """No command looks through more keys than a batch has."""
    put_many(valkey, 2 * BATCH)
    valkey.run("CONFIG", "RESETSTAT")
    await take_stock(masters)
    commands = valkey.run("INFO", "commandstats")
    assert commands["cmdstat_scan"]["calls"] >= 2
    assert not {"cmdstat_keys", "cmdstat_mget", "cmdstat_eval"} & commands.keys()


def test_tally_of_nothing_depends_on_nobody():
    assert (Tally().dependent, Tally().last_dependent_expires) == (0, 0.0)


# One id


async def test_look_up_finds_the_binding_and_the_size_of_what_is_kept(valkey, masters):
    async with bindings(valkey) as bound, archive(valkey) as kept:
        await bound.bind("resp_1", Binding("claude", TENANT, KEPT))
        await kept.keep("resp_1", entry_of("resp_1"))
    found = await look_up(masters, "resp_1", [])
    assert found
    assert found.binding == Binding("claude", TENANT, KEPT)
    assert 0 < found.expires <= 30 * 86_400
    (response,) = found.kept
    fields = valkey.run("HGETALL", kept_keys.key_of("resp_1", TENANT))
    assert (response.tenant, response.size) == (TENANT, sum(map(len, fields.values())))
    assert 0 < response.expires <= 30 * 86_400


async def test_look_up_of_what_is_not_there_finds_nothing(masters):
    found = await look_up(masters, "resp_1", ["team-a", "team-b"])
    assert not found
    assert (found.binding, found.kept) == (None, ())


async def test_look_up_without_a_binding_looks_at_every_tenant_s(valkey, masters):
    async with archive(valkey) as kept:
        await kept.keep("resp_1", entry_of("resp_1"))
    assert not await look_up(masters, "resp_1", ["other"])
    found = await look_up(masters, "resp_1", ["other", TENANT])
    assert found
    assert found.binding is None
    assert [response.tenant for response in found.kept] == [TENANT]


async def test_look_up_does_not_read_what_a_response_says(valkey, masters):
    async with archive(valkey) as kept:
        await kept.keep("resp_1", entry_of("resp_1"))
    valkey.run("CONFIG", "RESETSTAT")
    await look_up(masters, "resp_1", [TENANT])
    asked = valkey.run("INFO", "commandstats").keys() - {"cmdstat_config|resetstat", "cmdstat_info"}
    assert asked <= {"cmdstat_get", "cmdstat_pttl", "cmdstat_hstrlen", "cmdstat_client|setinfo", "cmdstat_hello"}


async def test_removed_id_is_gone_with_what_is_kept_of_it_and_nothing_else(valkey, masters):
    async with bindings(valkey) as bound, archive(valkey) as kept:
        for rid in ("resp_1", "resp_2"):
            await bound.bind(rid, Binding("claude", TENANT, KEPT))
            await kept.keep(rid, entry_of(rid))
    await remove(masters, "resp_1", await look_up(masters, "resp_1", []))
    assert not await look_up(masters, "resp_1", [TENANT])
    assert valkey.keys() == sorted([key_of("resp_2"), kept_keys.key_of("resp_2", TENANT)])
