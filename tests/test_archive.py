"""Responses kept on a real server that answers; what happens while it does not is in `test_archive_faults`."""

import asyncio

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.archive import BLOCK_BYTES, ChainBroken, EventLog, Head, key_of
from proxy.compression import pack, unpack
from proxy.errors import BadRequest, PayloadTooLarge
from tests.rig import wire
from tests.rig.archive import TENANT, archive, entry_of, message

HEAD = Head("team-a", "main", "anthropic", "large", None)
FRAMES = b"event: a\ndata: {}\n\n"
names = st.text(max_size=20)


def said(items):
    return [item["content"][0]["text"] for item in items]


async def keep_chain(kept, *texts, tenant="team-a", **entry):
    """Keep a chain of responses, the oldest first; return their ids."""
    rids = []
    for text in texts:
        rid = wire.new_id()
        previous = rids[-1] if rids else None
        await kept.keep(rid, entry_of(rid, said=f"Q{text}", text=text, previous=previous, tenant=tenant, **entry))
        rids.append(rid)
    return rids


# The head


@given(names, names, names, names, st.none() | st.text(min_size=1, max_size=20))
def test_head_reads_back_what_it_packed(tenant, provider, kind, model, previous):
    head = Head(tenant, provider, kind, model, previous)
    assert Head.parse(head.pack()) == head


@pytest.mark.parametrize(
    "packed",
    [
        None,
        7,
        b"",
        b"\x01",
        b"\x02" + HEAD.pack()[1:],
        b'["a","b","c","d",null]',
        b"\x01[]",
        b"\x01{}",
        b'\x01["a","b","c","d"]',
        b'\x01["a","b","c","d",7]',
        b'\x01["a","b","c",null,"e"]',
        HEAD.pack()[:-1],
    ],
)
def test_head_of_another_version_or_of_none_is_none(packed):
    assert Head.parse(packed) is None


@given(st.binary(max_size=40) | st.binary(max_size=40).map(b"\x01".__add__))
def test_any_bytes_are_a_head_or_none(packed):
    assert Head.parse(packed) is None or isinstance(Head.parse(packed), Head)


# The log of a stream


@settings(max_examples=50)
@given(st.lists(st.integers(1, 60_000), max_size=12))
def test_log_gives_back_every_run_in_blocks_of_whole_runs(sizes):
    log = EventLog(1 << 30)
    runs = [bytes([at % 256]) * size for at, size in enumerate(sizes)]
    for run in runs:
        log.append(run)
        assert log._size < BLOCK_BYTES
    blocks = [unpack(block) for block in log.blocks()]
    assert b"".join(blocks) == b"".join(runs)
    ends = {sum(map(len, runs[:count])) for count in range(len(runs) + 1)}
    assert {sum(map(len, blocks[:count])) for count in range(len(blocks) + 1)} <= ends
    assert all(len(block) >= BLOCK_BYTES for block in blocks[:-1])


def test_log_without_events_has_no_block():
    assert EventLog(1).blocks() == ()


def test_log_can_be_asked_twice():
    log = EventLog(1 << 20)
    log.append(FRAMES)
    assert log.blocks() == log.blocks()


def test_log_past_its_limit_says_so_and_holds_nothing():
    log = EventLog(1000)
    for number in range(40_000):
        log.append(b"%d\n\n" % number)
    assert log.exceeded
    assert log.blocks() == ()
    assert log._pending == []


def test_log_within_its_limit_has_not_exceeded_it():
    log = EventLog(len(pack(FRAMES)))
    log.append(FRAMES)
    assert (len(log.blocks()), log.exceeded) == (1, False)


# Kept and read


async def test_response_is_there_when_keep_returns(valkey):
    rid = wire.new_id()
    entry = entry_of(rid, said=[{"role": "user", "content": "Hi", "id": "mine"}], events=FRAMES)
    async with archive(valkey) as one, archive(valkey) as other:
        await one.keep(rid, entry)
        assert one.queued == 0
        assert await other.head(rid, TENANT) == HEAD
        assert await other.response(rid, TENANT) == entry.response
        assert await other.input_items(rid, TENANT) == entry.input
        assert await other.events(rid, TENANT) == entry.events
        assert b"".join(map(unpack, entry.events)) == FRAMES
    assert valkey.keys() == [key_of(rid, TENANT)]
    assert sorted(valkey.run("HKEYS", key_of(rid, TENANT))) == [b"e", b"h", b"i", b"r"]


async def test_response_that_was_not_streamed_has_no_events(valkey):
    async with archive(valkey) as kept:
        (rid,) = await keep_chain(kept, "a")
        assert await kept.events(rid, TENANT) is None
        assert sorted(valkey.run("HKEYS", key_of(rid, TENANT))) == [b"h", b"i", b"r"]


async def test_what_is_not_there_is_none(valkey):
    async with archive(valkey) as kept:
        rid = wire.new_id()
        assert await kept.head(rid, TENANT) is None
        assert await kept.response(rid, TENANT) is None
        assert await kept.input_items(rid, TENANT) is None
        assert await kept.events(rid, TENANT) is None
        assert await kept.context(rid, "team-a") is None
        assert not await kept.forget(rid, TENANT)
        with pytest.raises(ChainBroken):
            await kept.chain(rid, "team-a")


async def test_later_entry_replaces_the_earlier_whole(valkey):
    rid = wire.new_id()
    async with archive(valkey) as kept:
        await kept.keep(rid, entry_of(rid, events=FRAMES))
        await kept.keep(rid, entry_of(rid, text="Again."))
        assert await kept.events(rid, TENANT) is None
        assert b"Again." in await kept.response(rid, TENANT)


async def test_large_response_is_kept(valkey):
    rid = wire.new_id()
    text = "".join(f"{number} " for number in range(400_000))
    async with archive(valkey) as kept:
        await kept.keep(rid, entry_of(rid, text=text))
        assert said((await kept.chain(rid, "team-a"))[1:]) == [text]


async def test_response_over_the_limit_is_refused_and_not_kept(valkey):
    rid = wire.new_id()
    async with archive(valkey, max_response_bytes=2000) as kept:
        fitting = entry_of(rid, text="x" * 1000)
        with pytest.raises(PayloadTooLarge) as raised:
            await kept.keep(rid, entry_of(rid, text="x" * 2000))
        assert raised.value.code == "response_too_large"
        with pytest.raises(PayloadTooLarge):
            await kept.keep(rid, entry_of(rid, said="x" * 2000))
        assert valkey.keys() == []
        await kept.keep(rid, fitting)
        assert await kept.response(rid, TENANT) == fitting.response


async def test_forgotten_response_is_gone_everywhere(valkey):
    async with archive(valkey) as one, archive(valkey) as other:
        (rid,) = await keep_chain(one, "a")
        assert await other.forget(rid, TENANT)
        assert await one.head(rid, TENANT) is None
        assert not await one.forget(rid, TENANT)
    assert valkey.keys() == []


async def test_call_reads_what_it_needs_and_no_more(valkey):
    """A replay need not carry the input along, nor a page of input the stream."""
    rid = wire.new_id()
    async with archive(valkey) as kept:
        await kept.keep(rid, entry_of(rid, said=wire.new_id() * 20_000, events=FRAMES))
        valkey.run("CONFIG", "RESETSTAT")
        await kept.head(rid, TENANT)
        await kept.response(rid, TENANT)
        await kept.events(rid, TENANT)
        sent = int(valkey.run("INFO", "stats")["total_net_output_bytes"])
    assert sent < 8000


@pytest.mark.parametrize("count", [1, 40])
async def test_responses_at_once_go_in_one_pipeline(valkey, count):
    async with archive(valkey) as kept:
        before = kept.counted("keep")
        await asyncio.gather(*(keep_chain(kept, "a") for _ in range(count)))
        assert kept.counted("keep") - before <= 2
    assert len(valkey.keys()) == count


# How long


@pytest.mark.parametrize(("days", "seconds"), [(30, 2_592_000), (0.5, 43_200), (0.000001, 1)])
async def test_response_lives_as_long_as_configured(valkey, days, seconds):
    async with archive(valkey, ttl_days=days) as kept:
        (rid,) = await keep_chain(kept, "a")
        assert seconds - 20 < valkey.run("PTTL", key_of(rid, TENANT)) / 1000 <= seconds


async def test_chain_lives_as_long_as_its_newest_response(valkey):
    async with archive(valkey) as kept:
        rids = await keep_chain(kept, "a", "b", "c")
        for rid in rids:
            valkey.run("EXPIRE", key_of(rid, TENANT), "100")
        await kept.chain(rids[1], "team-a")
        left = [valkey.run("TTL", key_of(rid, TENANT)) for rid in rids]
    assert [seconds > 2_500_000 for seconds in left] == [True, True, False]


async def test_merely_looking_makes_nothing_live_longer(valkey):
    async with archive(valkey) as kept:
        rids = await keep_chain(kept, "a", "b")
        for rid in rids:
            valkey.run("EXPIRE", key_of(rid, TENANT), "100")
        await kept.head(rids[1], TENANT)
        await kept.response(rids[1], TENANT)
        await kept.context(rids[1], "team-a")
        assert all(valkey.run("TTL", key_of(rid, TENANT)) <= 100 for rid in rids)


# Chains


async def test_chain_is_all_that_was_said_oldest_first(valkey):
    async with archive(valkey) as one, archive(valkey) as other:
        rids = await keep_chain(one, "a", "b", "c")
        assert said(await other.chain(rids[2], "team-a")) == ["Qa", "a", "Qb", "b", "Qc", "c"]
        assert said(await other.chain(rids[0], "team-a")) == ["Qa", "a"]
        assert (await other.chain(rids[1], "team-a"))[3] == message(rids[1], "b")


async def test_context_is_the_chain_before_it_and_its_own_input(valkey):
    async with archive(valkey) as kept:
        rids = await keep_chain(kept, "a", "b")
        assert said(await kept.context(rids[1], "team-a")) == ["Qa", "a", "Qb"]
        assert said(await kept.context(rids[0], "team-a")) == ["Qa"]


async def test_chain_without_one_of_its_responses_is_broken_and_names_it(valkey):
    async with archive(valkey) as kept:
        rids = await keep_chain(kept, "a", "b", "c", "d")
        await kept.forget(rids[1], TENANT)
        with pytest.raises(ChainBroken) as raised:
            await kept.chain(rids[3], "team-a")
        assert raised.value.id == rids[1]
        assert said(await kept.context(rids[3], "team-a")) == ["Qc", "c", "Qd"]


async def test_chain_through_another_tenants_response_is_broken(valkey):
    async with archive(valkey) as kept:
        (theirs,) = await keep_chain(kept, "a", tenant="team-b")
        rid = wire.new_id()
        await kept.keep(rid, entry_of(rid, previous=theirs))
        with pytest.raises(ChainBroken) as raised:
            await kept.chain(rid, "team-a")
        assert raised.value.id == theirs
        with pytest.raises(ChainBroken):
            await kept.chain(theirs, "team-a")
        assert said(await kept.context(rid, "team-a")) == ["Hi"]


async def test_chain_of_too_many_responses_is_refused(valkey):
    async with archive(valkey, max_chain=3) as kept:
        rids = await keep_chain(kept, "a", "b", "c", "d")
        assert len(await kept.chain(rids[2], "team-a")) == 6
        with pytest.raises(BadRequest) as raised:
            await kept.chain(rids[3], "team-a")
        assert (raised.value.code, raised.value.param) == ("chain_too_long", "previous_response_id")
        assert len(await kept.context(rids[3], "team-a")) == 7


async def test_chain_of_too_many_bytes_is_refused(valkey):
    async with archive(valkey, max_chain_bytes=5000) as kept:
        rids = await keep_chain(kept, "a" * 1500, "b" * 1500)
        assert len(await kept.chain(rids[0], "team-a")) == 2
        with pytest.raises(BadRequest):
            await kept.chain(rids[1], "team-a")


async def test_chain_that_leads_back_to_itself_ends(valkey):
    async with archive(valkey, max_chain=10) as kept:
        rid = wire.new_id()
        await kept.keep(rid, entry_of(rid, previous=rid))
        with pytest.raises(BadRequest):
            await kept.chain(rid, "team-a")


async def test_storage_grows_with_the_conversation_and_not_with_its_square(valkey):
    """Fifty turns take what fifty responses take: each holds a reference to what it continues."""
    async with archive(valkey) as kept:
        texts = [f"{number}: " + wire.new_id() * 10 for number in range(50)]
        rids = await keep_chain(kept, *texts)
        used = [valkey.run("MEMORY", "USAGE", key_of(rid, TENANT)) for rid in rids]
        (alone,) = await keep_chain(kept, texts[0])
        single = valkey.run("MEMORY", "USAGE", key_of(alone, TENANT))
        assert len(await kept.chain(rids[-1], "team-a")) == 100
    assert max(used) < 1.25 * single
    assert sum(used) < 50 * 1.25 * single


# What is not what was kept


BROKEN = {
    "no head": lambda key: [("HDEL", key, "h")],
    "a later version": lambda key: [("HSET", key, "h", b"\x02" + HEAD.pack()[1:])],
    "another type": lambda key: [("DEL", key), ("SET", key, "x")],
    "nothing but the head": lambda key: [("HDEL", key, "r", "i", "e")],
    "cut": lambda key: [("HSET", key, name, b"\x28\xb5\x2f\xfd\x00") for name in "rie"],
    "not compressed": lambda key: [("HSET", key, name, b"[]") for name in "rie"],
    "not JSON": lambda key: [("HSET", key, name, pack(b"{")) for name in "ri"] + [("HSET", key, "e", b"x")],
}


@pytest.mark.parametrize("case", BROKEN)
async def test_what_cannot_be_read_is_not_there(valkey, case):
    rid = wire.new_id()
    async with archive(valkey) as kept:
        await kept.keep(rid, entry_of(rid, events=FRAMES))
        for command in BROKEN[case](key_of(rid, TENANT)):
            valkey.run(*command)
        assert await kept.response(rid, TENANT) in (None, b"{")
        assert await kept.input_items(rid, TENANT) is None
        assert await kept.events(rid, TENANT) is None
        assert await kept.context(rid, "team-a") is None
        with pytest.raises(ChainBroken):
            await kept.chain(rid, "team-a")
        assert kept.state == "up"
        await kept.keep(rid, entry_of(rid))
        assert await kept.head(rid, TENANT) == HEAD


@pytest.mark.parametrize("value", [{}, [1], [{}, "x"], "x", None, 7])
async def test_input_and_output_that_are_no_items_are_not_there(valkey, value):
    rid = wire.new_id()
    async with archive(valkey) as kept:
        await kept.keep(rid, entry_of(rid))
        valkey.run("HSET", key_of(rid, TENANT), "i", pack(orjson.dumps(value)))
        assert await kept.input_items(rid, TENANT) is None
        await kept.keep(rid, entry_of(rid, output=value))
        with pytest.raises(ChainBroken):
            await kept.chain(rid, "team-a")


async def test_tenants_whose_provider_gave_them_one_id_do_not_meet(valkey):
    async with archive(valkey) as kept:
        await kept.keep("gen-1", entry_of("gen-1", text="Mine."))
        await kept.keep("gen-1", entry_of("gen-1", text="Theirs.", tenant="team-b"))
        assert b"Mine." in await kept.response("gen-1", TENANT)
        assert await kept.forget("gen-1", "team-b")
        assert b"Mine." in await kept.response("gen-1", TENANT)
