"""A Redis Cluster of three masters: one is lost, hung, replaced, gives slots away, while two gateways serve."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from proxy import redisqueue
from proxy.archive import key_of as archive_key_of
from proxy.bindings import Binding, key_of
from proxy.errors import BindingsUnavailable, StoreUnavailable
from proxy.rediscluster import ClusterLink
from proxy.redisqueue import DOWN, READ_ONLY, UP
from proxy.redisurl import parse_redis_url
from tests.operations.outage import over, traffic
from tests.operations.tools import tool
from tests.rig.archive import TENANT, entry_of
from tests.rig.eventually import eventually
from tests.rig.redisserver import HOST, cluster
from tests.rig.stores import ACK_TIMEOUT, archive_at, bindings_at

OURS = Binding("main", "team-a")
IDS = [f"resp_{number}" for number in range(60)]
BOUNDS = (5461, 10_923, 16_384)
PROBED = 0.05


def shard_of(key):
    """Return the number of the master that a key lives at."""
    return next(number for number, bound in enumerate(BOUNDS) if key_slot(key) < bound)


def of_shard(number, key=key_of):
    return [rid for rid in IDS if shard_of(key(rid)) == number]


@pytest.fixture(scope="module")
def formed():
    with cluster(tool("redis-server"), replicas=False) as running:
        yield running


@pytest.fixture
def three(formed, monkeypatch):
    """Give three masters without replicas, empty; what they have not is believed at once, and looked for often."""
    monkeypatch.setattr(redisqueue, "SETTLING", 0.0)
    monkeypatch.setattr(redisqueue, "PROBE_INTERVAL", PROBED)
    for server in formed.masters:
        server.run("FLUSHALL")
        server.run("CONFIG", "RESETSTAT")
    return formed


@pytest.fixture
async def link(three):
    made = ClusterLink(parse_redis_url(three.url), ACK_TIMEOUT)
    yield made
    made.close()


def calls(server, command):
    return server.run("INFO", "commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)


# Where keys live


@settings(max_examples=200)
@given(key=st.binary(max_size=24) | st.text("{}ab", max_size=8).map(str.encode))
def test_slot_of_a_key_is_what_the_server_says(formed, key):
    """Keys are digests: among them are some with a pair of braces."""
    assert key_slot(key) == formed.masters[0].run("CLUSTER", "KEYSLOT", key)


async def test_replies_are_in_the_order_of_the_commands_whichever_node_gives_them(link, three):
    """A block from MULTI to EXEC stays together."""
    keys = [b"k%d" % number for number in range(60)]
    block = [("MULTI",), ("UNLINK", b"h"), ("HSET", b"h", "f", "v"), ("EXEC",)]
    commands = [command for key in keys for command in (("SET", key, key), ("GET", key))]
    replies = await link.ask([*commands, *block, *commands])
    said = [reply for key in keys for reply in (b"OK", key)]
    assert replies == [*said, b"OK", b"QUEUED", b"QUEUED", [0, 1], *said]
    assert {link.place_of(key) for key in keys} == {server.place for server in three.masters} == set(link.places())
    assert sum(server.run("DBSIZE") for server in three.masters) == 61


async def test_cluster_is_found_though_some_of_its_hosts_are_away(three):
    """One that answers is enough."""
    url = f"redis+cluster://{HOST}:1,{HOST}:2,{HOST}:3,{three.masters[2].place}"
    async with bindings_at(url) as bound:
        await bound.bind(IDS[0], OURS)
        assert (bound.state, len(bound)) == (UP, 0)


async def test_nodes_are_reached_by_the_names_they_announce(three):
    """As where certificates and addresses are of names."""
    for server in three.masters:
        server.run("CONFIG", "SET", "cluster-announce-hostname", "localhost")
        server.run("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
    try:
        await eventually(lambda: all(names(server) == {b"localhost"} for server in three.masters))
        async with bindings_at(three.url) as bound:
            for rid in IDS:
                await bound.bind(rid, OURS)
            assert {place.partition(":")[0] for place in bound._link.places()} == {"localhost"}
    finally:
        for server in three.masters:
            server.run("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")


def names(server):
    return {row[2][0] for row in server.run("CLUSTER", "SLOTS")}


async def test_responses_are_kept_on_all_nodes_and_followed_across_them(three):
    """What a chain is read of lives on, and the bindings of it with it, on whatever node."""
    async with archive_at(three.url) as kept, bindings_at(three.url) as bound:
        previous = None
        for rid in IDS[:12]:
            await kept.keep(rid, entry_of(rid, previous=previous))
            await bound.bind(rid, OURS)
            previous = rid
        node = three.masters[shard_of(key_of(IDS[0]))]
        node.run("EXPIRE", key_of(IDS[0]), 100)
        assert len(await kept.chain(IDS[11], TENANT)) == 24
        assert node.run("TTL", key_of(IDS[0])) > 100
        assert await kept.forget(IDS[0], TENANT)
        assert await kept.head(IDS[0], TENANT) is None
        assert kept.states() == []


# A master is away


async def test_ids_of_other_nodes_are_served_and_written_while_one_hangs(three):
    """Its own wait, and are not said to be unknown; nothing waits for it."""
    hung = three.masters[1]
    async with bindings_at(three.url, cache=0) as one, bindings_at(three.url, cache=0) as other:
        for rid in IDS[:30]:
            await one.bind(rid, OURS)
        hung.hang()
        for rid in IDS[30:]:
            await one.bind(rid, OURS)
        lost = of_shard(1)
        for rid in IDS:
            if rid not in lost:
                assert await other.find(rid, "team-a") == OURS
            else:
                with pytest.raises(BindingsUnavailable):
                    await other.find(rid, "team-a")
        assert (one.state, other.state, len(one)) == (DOWN, DOWN, len(set(lost) & set(IDS[30:])))
        hung.resume()
        await eventually(lambda: one.state == other.state == UP and len(one) == 0)
        assert [await other.find(rid, "team-a") for rid in IDS] == [OURS] * len(IDS)
        assert {line["server"] for line in one.events("redis_state")} == {hung.place}
        assert await other.find("resp_unknown", "team-a") is None


async def test_chain_is_read_though_the_node_of_its_bindings_hangs(three):
    """To let a binding live on is not worth an error."""
    rid = next(each for each in IDS if shard_of(key_of(each)) == 1 != shard_of(archive_key_of(each, TENANT)))
    async with archive_at(three.url) as kept:
        await kept.keep(rid, entry_of(rid))
        three.masters[1].hang()
        assert len(await kept.chain(rid, TENANT)) == 2
        lost = next(each for each in IDS if shard_of(archive_key_of(each, TENANT)) == 1)
        with pytest.raises(StoreUnavailable):
            await kept.head(lost, TENANT)
        await kept.keep(lost, entry_of(lost))
        assert (kept.state, kept.queued > 0) == (DOWN, True)
        assert (await kept.head(lost, TENANT)) is not None
        three.masters[1].resume()
        await eventually(lambda: kept.state == UP and kept.queued == 0)


async def test_cluster_that_serves_nothing_while_one_is_lost_gets_everything_afterwards(three):
    """As clusters are by default: `cluster-require-full-coverage`."""
    for server in three.masters:
        server.run("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    async with bindings_at(three.url, cache=0) as one, bindings_at(three.url) as other:
        three.masters[1].hang()
        await eventually(lambda: b"cluster_state:fail" in three.masters[0].run("CLUSTER", "INFO"))
        for rid in IDS:
            await one.bind(rid, OURS)
        assert len(one) == len(IDS)
        for rid in IDS[:5]:
            with pytest.raises(BindingsUnavailable):
                await other.find(rid, "team-a")
        assert {line["state"] for line in one.events("redis_state")} <= {DOWN, READ_ONLY}
        three.masters[1].resume()
        await eventually(lambda: one.state == other.state == UP and len(one) == 0)
        assert [await other.find(rid, "team-a") for rid in IDS] == [OURS] * len(IDS)
    for server in three.masters:
        server.run("CONFIG", "SET", "cluster-require-full-coverage", "no")


# Slots move


async def test_slot_that_moves_is_followed_at_every_stage(three):
    """First its new keys are elsewhere (ASK), then all of them (MOVED): whoever asks is not told."""
    source, target = three.masters[0], three.masters[2]
    rid = next(each for each in IDS if shard_of(archive_key_of(each, TENANT)) == 0)
    slot = key_slot(archive_key_of(rid, TENANT))
    async with archive_at(three.url) as one, archive_at(three.url) as other:
        await one.keep(rid, entry_of(rid))
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", three.ids[source.place])
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", three.ids[target.place])
        assert await other.head(rid, TENANT) is not None
        assert calls(target, "asking") == 0
        source.run("MIGRATE", HOST, target.port, archive_key_of(rid, TENANT), 0, 5000)
        assert await other.head(rid, TENANT) is not None
        await one.keep(rid, entry_of(rid, text="Again"))
        assert b"Again" in await other.response(rid, TENANT)
        assert calls(target, "asking") == 3
        assert source.run("DBSIZE") == 0
        for server in (target, source, three.masters[1]):
            server.run("CLUSTER", "SETSLOT", slot, "NODE", three.ids[target.place])
        assert b"Again" in await other.response(rid, TENANT)
        await one.keep(rid, entry_of(rid, text="Once more"))
        await eventually(lambda: one._link.place_of(archive_key_of(rid, TENANT)) == target.place)
        assert b"Once more" in await other.response(rid, TENANT)
        assert (one.states(), other.states()) == ([], [])
    target.run("FLUSHALL")
    for server in (source, target, three.masters[1]):
        server.run("CLUSTER", "SETSLOT", slot, "NODE", three.ids[source.place])
    await eventually(lambda: holds(three, slot, source))


def holds(running, slot, owner):
    """Tell whether every node says who holds a slot."""
    rows = [row for server in running.masters for row in server.run("CLUSTER", "SLOTS") if row[0] <= slot <= row[1]]
    return {row[2][1] for row in rows} == {owner.port}


# TLS, and a user who may do no more than is needed


async def test_cluster_is_reached_over_tls_by_a_user_of_its_own(secured):
    """The nodes say the ports that take TLS, where they are asked over it."""
    with cluster(tool("redis-server"), replicas=False, secured=secured) as running:
        async with (
            bindings_at(running.url) as one,
            bindings_at(running.url, cache=0) as other,
            archive_at(running.url) as kept,
        ):
            for rid in IDS:
                await one.bind(rid, OURS)
            assert [await other.find(rid, "team-a") for rid in IDS] == [OURS] * len(IDS)
            await one.forget(IDS[0])
            assert await other.find(IDS[0], "team-a") is None
            for rid in IDS[:9]:
                await kept.keep(rid, entry_of(rid))
                assert len(await kept.chain(rid, TENANT)) == 2
                assert await kept.forget(rid, TENANT)
            assert (one.states(), other.states(), kept.states()) == ([], [], [])


# Replicas take over


@pytest.fixture(scope="module")
def six():
    """Give three masters with a replica each."""
    with cluster(tool("redis-server")) as running:
        yield running


async def test_callers_see_of_a_lost_master_only_that_retrieves_of_its_ids_are_refused_for_a_while(six, upstream):
    """Creates see nothing; ids of other nodes are answered all the time, and none is answered wrongly."""
    lost = six.masters[1]

    def of_the_lost(rid):
        return shard_of(key_of(rid)) == 1

    async with traffic(upstream, six.url) as running:
        begun = time.monotonic()
        lost.kill()
        await over(running, begun, of_the_lost)
    print(running.figures(begun))  # noqa: T201 - for whoever asks
    assert {seen.status for seen in running.created} == {200}
    assert {seen.status for seen in running.retrieved() if seen.at < begun} == {200}
    assert {seen.status for seen in running.retrieved() if not of_the_lost(seen.rid)} == {200}
    assert {seen.status for seen in running.retrieved() if of_the_lost(seen.rid)} == {200, 503}
    assert running.missing == []


async def test_replica_that_takes_over_in_good_order_is_not_noticed(six):
    """Nothing is refused, nothing is lost."""
    async with bindings_at(six.url) as one, bindings_at(six.url, cache=0) as other:
        for rid in IDS[:30]:
            await one.bind(rid, OURS)
        six.replicas[0].run("CLUSTER", "FAILOVER")
        number = 30
        while six.replicas[0].run("ROLE")[0] != b"master" or number < len(IDS):
            await one.bind(f"resp_{number}", OURS)
            assert await other.find(f"resp_{number}", "team-a") == OURS
            number += 1
        rids = [f"resp_{each}" for each in range(number)]
        assert [await other.find(rid, "team-a") for rid in rids] == [OURS] * number
        assert (one.states(), other.states()) == ([], [])
