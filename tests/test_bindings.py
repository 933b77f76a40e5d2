"""Bindings on a real server that answers; what happens while it does not is in `test_bindings_faults`."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.bindings import BACKGROUND, CONVERSATION, KEPT, Binding, key_of
from proxy.config import KeyConfig
from proxy.redisqueue import UP
from tests.rig import wire
from tests.rig.bindings import bindings, count

OURS = Binding("main", "team-a", BACKGROUND)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@pytest.fixture
def valkey(valkey):
    """Give the server with its statistics begun anew."""
    valkey.run("CONFIG", "RESETSTAT")
    return valkey


# The value


@settings(max_examples=100)
@given(names, names, st.integers(0, 255))
def test_binding_reads_back_what_it_packed(provider, tenant, flags):
    binding = Binding(provider, tenant, flags)
    assert Binding.parse(binding.pack()) == binding
    assert len(binding.pack()) == 3 + len(provider) + len(tenant)


@settings(max_examples=200)
@given(st.binary(max_size=40) | st.binary(max_size=40).map(b"\x01\x00\x04".__add__))
def test_binding_reads_garbage_as_none_or_as_what_packs_to_the_same(packed):
    binding = Binding.parse(packed)
    assert binding is None or (binding.pack() == packed and binding.provider and binding.tenant)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x01",
        b"\x01\x00",
        b"\x01\x00\x00",
        b"\x01\x00\x04main",
        b"\x01\x00\xffmainteam-a",
        b"\x01\x00\x00team-a",
        b"\x01\x00\x04m\xff\xfenteam-a",
        b"\x00\x00\x04mainteam-a",
        b"\x02\x00\x04mainteam-a",
        b'{"provider":"main"}',
    ],
)
def test_binding_of_another_version_or_of_none_is_none(packed):
    assert Binding.parse(packed) is None


def test_binding_is_small_and_its_flags_are_apart():
    assert len(Binding("my-openai-provider", "team-a", BACKGROUND | CONVERSATION | KEPT).pack()) < 64
    assert len({BACKGROUND, CONVERSATION, KEPT}) == (BACKGROUND | CONVERSATION | KEPT).bit_count()


def test_names_the_configuration_takes_fit_into_a_binding():
    longest = KeyConfig(name="n", tenant="t" * 64).tenant
    assert Binding.parse(Binding("p" * 64, longest).pack()) == Binding("p" * 64, longest)


# The key


@settings(max_examples=100)
@given(st.text(), st.text())
def test_key_is_as_long_as_any_other_and_differs_for_different_ids(one, other):
    assert len(key_of(one)) == len(key_of(other)) == 17
    assert (key_of(one) == key_of(other)) == (one == other)


def test_key_is_made_of_any_text():
    assert len({key_of(text) for text in ("", "\udcff", "\ud800", "\0", "a", "A", "a ", "{a}")}) == 8


# Written and found


async def test_id_is_bound_when_bind_returns(valkey):
    rid = wire.new_id()
    async with bindings(valkey) as bound:
        await bound.bind(rid, OURS)
        assert valkey.run("GET", key_of(rid)) == OURS.pack()
        assert len(bound) == 0
    assert valkey.keys() == [key_of(rid)]


@pytest.mark.parametrize(("days", "seconds"), [(30, 2_592_000), (0.5, 43_200), (0.000001, 1)])
async def test_binding_lives_as_long_as_configured(valkey, days, seconds):
    async with bindings(valkey, ttl_days=days) as bound:
        await bound.bind("resp_1", OURS)
        assert bound.state == UP
        left = valkey.run("PTTL", key_of("resp_1")) / 1000
        assert seconds - 20 < left <= seconds


async def test_binding_is_found_by_another_process(valkey):
    async with bindings(valkey) as one, bindings(valkey) as other:
        await one.bind("resp_1", OURS)
        assert await other.find("resp_1", "team-a") == OURS
        assert await other.find("resp_2", "team-a") is None


async def test_forgotten_binding_is_gone_everywhere(valkey):
    async with bindings(valkey) as one, bindings(valkey) as other:
        await one.bind("resp_1", OURS)
        await other.forget("resp_1")
        assert valkey.keys() == []
        assert await other.find("resp_1", "team-a") is None


async def test_forgetting_what_is_not_there_changes_nothing(valkey):
    async with bindings(valkey) as bound:
        await bound.forget("resp_1")
        assert (valkey.keys(), bound.state) == ([], UP)


async def test_known_binding_costs_no_look_up_for_its_own_tenant(valkey):
    async with bindings(valkey) as bound:
        await bound.bind("resp_1", OURS)
        assert await bound.find("resp_1", "team-a") == OURS
        assert count(valkey, "get") == 0


async def test_foreign_binding_is_looked_up_like_one_that_is_not_there(valkey):
    """What this process knows must not make another tenant's id answer sooner."""
    async with bindings(valkey) as bound:
        await bound.bind("resp_1", OURS)
        for asked, rid in enumerate(("resp_1", "resp_2", "resp_1", "resp_2"), 1):
            found = await bound.find(rid, "team-b")
            assert found == (OURS if rid == "resp_1" else None)
            assert count(valkey, "get") == asked


async def test_value_of_a_future_version_is_not_there(valkey):
    valkey.run("SET", key_of("resp_1"), b"\x02" + OURS.pack()[1:])
    async with bindings(valkey) as bound:
        assert await bound.find("resp_1", "team-a") is None


async def test_bindings_remembered_are_limited_to_those_used_last(valkey):
    async with bindings(valkey, cache=3) as bound:
        for number in range(3):
            await bound.bind(f"resp_{number}", OURS)
        await bound.find("resp_0", "team-a")
        await bound.bind("resp_3", OURS)
        for rid in ("resp_0", "resp_2", "resp_3"):
            await bound.find(rid, "team-a")
        assert count(valkey, "get") == 0
        await bound.find("resp_1", "team-a")
        assert count(valkey, "get") == 1


async def test_bindings_remember_nothing_when_told_so(valkey):
    async with bindings(valkey, cache=0) as bound:
        await bound.bind("resp_1", OURS)
        assert await bound.find("resp_1", "team-a") == OURS
        assert count(valkey, "get") == 1


# An id stays with its first tenant


async def test_id_stays_with_the_tenant_it_was_bound_to_first(valkey):
    """There are servers that let a client choose the id: it must not take over another tenant's."""
    theirs = Binding("main", "team-b")
    async with bindings(valkey) as one, bindings(valkey) as other:
        await one.bind("resp_1", OURS)
        await other.bind("resp_1", theirs)
        await one.bind("resp_1", theirs)
        for process in (one, other):
            assert await process.find("resp_1", "team-b") == OURS
            assert await process.find("resp_1", "team-a") == OURS
    assert valkey.run("GET", key_of("resp_1")) == OURS.pack()


async def test_id_bound_again_by_its_own_tenant_leads_where_it_led_last(valkey):
    moved = Binding("second", "team-a")
    async with bindings(valkey) as one, bindings(valkey) as other:
        await one.bind("resp_1", OURS)
        await other.bind("resp_1", moved)
        assert await other.find("resp_1", "team-a") == moved
        assert 0 < valkey.run("TTL", key_of("resp_1")) <= 2_592_000
    assert valkey.run("GET", key_of("resp_1")) == moved.pack()


async def test_id_can_be_bound_again_by_its_own_tenant_and_by_any_once_forgotten(valkey):
    async with bindings(valkey) as bound:
        await bound.bind("resp_1", OURS)
        await bound.bind("resp_1", OURS)
        assert await bound.find("resp_1", "team-a") == OURS
        await bound.forget("resp_1")
        await bound.bind("resp_1", Binding("main", "team-b"))
        assert await bound.find("resp_1", "team-b") == Binding("main", "team-b")


# Groups


async def test_many_bindings_at_once_take_few_pipelines(valkey):
    async with bindings(valkey) as bound:
        before = bound.pipelines()
        rids = [wire.new_id() for _ in range(1000)]
        await asyncio.gather(*(bound.bind(rid, OURS) for rid in rids))
        assert valkey.keys() == sorted(map(key_of, rids))
        assert bound.pipelines() - before <= 6
        assert count(valkey, "set") == 1000


async def test_binding_whose_client_left_is_written_all_the_same(valkey):
    async with bindings(valkey) as bound:
        waiting = asyncio.create_task(bound.bind("resp_1", OURS))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await bound.bind("resp_2", OURS)
    assert valkey.keys() == sorted([key_of("resp_1"), key_of("resp_2")])


async def test_stop_writes_what_is_queued(valkey):
    async with bindings(valkey) as bound:
        waiting = [asyncio.create_task(bound.bind(f"resp_{number}", OURS)) for number in range(600)]
        await asyncio.sleep(0)
        assert len(bound) == 600
        bound.stop()
        await asyncio.gather(*waiting)
    assert len(valkey.keys()) == 600
    assert (bound.dropped(), bound.events("bindings_lost")) == (0, [])


async def test_nobody_waits_for_a_binding_once_writing_has_ended(valkey):
    async with bindings(valkey) as bound:
        bound.stop()
        await bound.ended()
        async with asyncio.timeout(20):
            await bound.bind("resp_1", OURS)
            await bound.forget("resp_2")


async def test_server_without_faults_is_not_worth_a_line(valkey):
    async with bindings(valkey) as bound:
        await bound.bind("resp_1", OURS)
        await bound.find("resp_2", "team-a")
    assert bound.states() == []
