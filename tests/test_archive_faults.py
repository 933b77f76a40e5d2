"""Redis away, hung, read-only, full, restarted: creates go on, reads and deletes say when to come back."""

import asyncio

import pytest

import proxy.redisqueue
from proxy.archive import key_of
from proxy.errors import StoreUnavailable
from proxy.redisqueue import DOWN, READ_ONLY, UP
from tests.rig import wire
from tests.rig.archive import TENANT, archive, entry_of
from tests.rig.eventually import eventually

ACK = 0.1
PATIENCE = 20.0
FAULTS = {
    "stopped": ("stop", "start", DOWN),
    "hung": ("hang", "resume", DOWN),
    "read-only": ("read_only", "writable", READ_ONLY),
    "full": ("fill", "unfill", READ_ONLY),
}
EACH_FAULT = pytest.mark.parametrize("fault", FAULTS)


@pytest.fixture(autouse=True)
def probe_often(monkeypatch):
    """Look for the server a hundred times a second, so that a test need not wait for it."""
    monkeypatch.setattr(proxy.redisqueue, "PROBE_INTERVAL", 0.01)


@pytest.fixture
def unobserved(monkeypatch):
    """Never look for the server again."""
    monkeypatch.setattr(proxy.redisqueue, "PROBE_INTERVAL", 3600.0)


async def within(call):
    """Run a call that has to end by itself."""
    async with asyncio.timeout(PATIENCE):
        return await call


async def keep(kept, **entry):
    rid = wire.new_id()
    await within(kept.keep(rid, entry_of(rid, **entry)))
    return rid


async def unavailable(call):
    """Run a call that must not be answered, and see that it says when to ask again."""
    with pytest.raises(StoreUnavailable) as raised:
        await within(call)
    assert (raised.value.status, raised.value.code) == (503, "store_unavailable")
    assert ("Retry-After", "1") in raised.value.headers()


def break_down(server, fault):
    getattr(server, FAULTS[fault][0])()


def heal(server, fault):
    getattr(server, FAULTS[fault][1])()


def kept_by(server, *rids):
    keys = sorted(key_of(rid, TENANT) for rid in rids)
    return lambda: server.keys() == keys


@EACH_FAULT
@pytest.mark.usefixtures("unobserved")
async def test_what_is_kept_meanwhile_answers_here_until_it_is_written(private_valkey, fault):
    async with archive(private_valkey, ack_timeout=ACK) as kept:
        break_down(private_valkey, fault)
        rid = await keep(kept, events=b"data: {}\n\n")
        await eventually(lambda: kept.state == FAULTS[fault][2])
        later = await keep(kept, said="And?", previous=rid)
        assert kept.queued > 0
        assert (await kept.head(later, TENANT)).previous == rid
        assert await kept.response(rid, TENANT) == entry_of(rid).response
        assert len(await kept.events(rid, TENANT)) == 1
        assert await kept.input_items(later, TENANT) == entry_of(later, said="And?").input
        assert len(await kept.chain(later, "team-a")) == 4
        heal(private_valkey, fault)


@EACH_FAULT
async def test_what_is_kept_meanwhile_is_written_when_the_server_is_back(private_valkey, fault):
    async with archive(private_valkey, ack_timeout=ACK) as kept:
        before = await keep(kept)
        break_down(private_valkey, fault)
        rids = [await keep(kept) for _ in range(5)]
        await eventually(lambda: kept.state == FAULTS[fault][2])
        heal(private_valkey, fault)
        await eventually(lambda: kept.state == UP and kept.queued == 0)
        assert kept_by(private_valkey, before, *rids)()
        assert private_valkey.run("TTL", key_of(rids[0], TENANT)) > 0
        async with archive(private_valkey) as other:
            assert await other.response(rids[0], TENANT) == entry_of(rids[0]).response
    assert (kept.states(), kept.dropped()) == ([FAULTS[fault][2], UP], 0)


@EACH_FAULT
async def test_keep_waits_a_bounded_time(private_valkey, fault):
    async with archive(private_valkey, ack_timeout=ACK) as kept:
        break_down(private_valkey, fault)
        await within(asyncio.gather(*(keep(kept, text="x" * size) for size in (1, 10, 300_000) * 5)))
        heal(private_valkey, fault)


async def test_keep_waits_no_longer_than_its_own_time_where_the_connection_is_given_more(private_valkey):
    """A large response under way is no reason to hold up an answer."""
    async with archive(private_valkey, ack_timeout=ACK) as kept:
        kept._link._line._timeout = 3 * PATIENCE
        private_valkey.hang()
        rid = await keep(kept)
        assert kept.state == UP
        private_valkey.resume()
        await eventually(kept_by(private_valkey, rid))


@pytest.mark.parametrize("fault", ["stopped", "hung"])
@pytest.mark.usefixtures("unobserved")
async def test_reads_are_refused_while_the_server_is_away(private_valkey, fault):
    async with archive(private_valkey, ack_timeout=ACK) as kept:
        rid = await keep(kept)
        break_down(private_valkey, fault)
        await unavailable(kept.head(rid, TENANT))
        assert kept.state == DOWN
        refused = kept.counted("read", "error")
        for call in (kept.head, kept.response, kept.input_items, kept.events, kept.forget, kept.chain, kept.context):
            await unavailable(call(rid, TENANT))
        assert kept.counted("read", "error") == refused == 1
        heal(private_valkey, fault)


@pytest.mark.parametrize("fault", ["read-only", "full"])
@pytest.mark.usefixtures("unobserved")
async def test_server_that_takes_no_writes_still_answers(private_valkey, fault):
    """What it has is read, by chains too, which cannot live longer then; what it has not may wait elsewhere."""
    async with archive(private_valkey, ack_timeout=ACK) as kept, archive(private_valkey) as other:
        rid = await keep(kept)
        break_down(private_valkey, fault)
        assert len(await other.chain(rid, "team-a")) == 2
        queued = await keep(kept)
        await keep(other)
        assert await other.response(rid, TENANT) is not None
        assert len(await other.chain(rid, "team-a")) == 2
        await unavailable(other.head(queued, TENANT))
        assert await kept.head(queued, TENANT) is not None


@pytest.mark.usefixtures("unobserved")
async def test_delete_that_is_not_confirmed_changes_nothing(private_valkey):
    async with archive(private_valkey, ack_timeout=ACK) as kept:
        written = await keep(kept)
        private_valkey.read_only()
        queued = await keep(kept)
        for rid in (written, queued):
            await unavailable(kept.forget(rid, TENANT))
            assert await kept.head(rid, TENANT) is not None
        assert kept.queued > 0


@pytest.mark.parametrize("which", ["under way", "waiting"])
async def test_delete_overtakes_what_is_not_written_yet(private_valkey, which):
    """It must not come back with the server."""
    async with archive(private_valkey, ack_timeout=PATIENCE) as kept:
        private_valkey.hang()
        rids = {name: wire.new_id() for name in ("under way", "waiting")}
        keeping = []
        for rid in rids.values():
            keeping.append(asyncio.create_task(kept.keep(rid, entry_of(rid))))
            await eventually(lambda rid=rid: kept._writes.get(key_of(rid, TENANT)))
            await eventually(lambda: kept._writes._under_way)
        assert len(kept._writes) == 1
        forgetting = asyncio.create_task(kept.forget(rids.pop(which), TENANT))
        await asyncio.sleep(0)
        private_valkey.resume()
        assert await within(forgetting)
        await within(asyncio.gather(*keeping))
        assert kept_by(private_valkey, *rids.values())()


async def test_restart_between_two_calls_is_not_noticed(private_valkey):
    async with archive(private_valkey) as kept:
        rid = await keep(kept)
        private_valkey.stop()
        private_valkey.start()
        assert await kept.head(rid, TENANT) is not None
        private_valkey.stop()
        private_valkey.start()
        later = await keep(kept)
        assert kept_by(private_valkey, rid, later)()
    assert kept.states() == []


@pytest.mark.usefixtures("unobserved")
async def test_oldest_responses_are_dropped_and_counted_when_too_many_bytes_wait(private_valkey):
    async with archive(private_valkey, ack_timeout=ACK, queue_bytes=4000) as kept:
        private_valkey.read_only()
        rids = [await keep(kept, said=wire.new_id() * 20) for _ in range(20)]
        assert kept.queued <= 4000
        assert 0 < kept.dropped() < 20
        assert await kept.head(rids[-1], TENANT) is not None
        await unavailable(kept.head(rids[0], TENANT))
        private_valkey.writable()


@pytest.mark.usefixtures("unobserved")
async def test_last_response_waits_however_large_it_is(private_valkey):
    async with archive(private_valkey, ack_timeout=ACK, queue_bytes=1024) as kept:
        private_valkey.read_only()
        rid = await keep(kept, text="".join(map(str, range(10_000))))
        assert kept.queued > 1024
        assert await kept.head(rid, TENANT) is not None
        private_valkey.writable()


async def test_archive_starts_without_the_server(private_valkey):
    private_valkey.stop()
    async with archive(private_valkey, ack_timeout=ACK) as kept:
        rid = await keep(kept)
        private_valkey.start()
        await eventually(lambda: kept.queued == 0 and kept.state == UP)
        assert kept_by(private_valkey, rid)()
    assert kept.states() == [DOWN, UP]


@pytest.mark.usefixtures("unobserved")
async def test_what_waits_is_written_at_the_end_or_counted_as_lost(private_valkey):
    async with archive(private_valkey, ack_timeout=ACK) as kept:
        private_valkey.read_only()
        rid = await keep(kept)
        private_valkey.writable()
    assert kept_by(private_valkey, rid)()
    async with archive(private_valkey, ack_timeout=ACK) as kept:
        private_valkey.read_only()
        await keep(kept)
    assert kept.dropped() == 1


async def test_response_whose_client_left_is_kept_all_the_same(valkey):
    async with archive(valkey) as kept:
        rid = wire.new_id()
        keeping = asyncio.create_task(kept.keep(rid, entry_of(rid)))
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await eventually(kept_by(valkey, rid))
