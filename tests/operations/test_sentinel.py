"""Redis with a replica and Sentinels: the master is lost, hung, demoted, while two gateways serve."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from proxy import redisqueue
from proxy.bindings import Binding, key_of
from proxy.errors import BindingsUnavailable
from proxy.redisqueue import DOWN, UP
from tests.operations.outage import over, traffic
from tests.operations.tools import tool
from tests.rig.archive import TENANT, entry_of
from tests.rig.eventually import eventually
from tests.rig.redisserver import MASTER, PASSWORD, RULES, RedisServer, is_master, url_of, watched
from tests.rig.stores import archive_at, bindings_at

OURS = Binding("main", "team-a")


@pytest.fixture
def group():
    """Give a master, a replica and three Sentinels."""
    with watched(tool("redis-server")) as running:
        yield running


@pytest.fixture
def settled(monkeypatch):
    """Believe at once what a Redis that came back has not."""
    monkeypatch.setattr(redisqueue, "SETTLING", 0.0)


async def test_callers_see_of_a_lost_master_only_that_retrieves_are_refused_for_a_while(group, upstream):
    """Creates see nothing; a retrieve is answered, or refused with when to ask again, and never wrongly."""
    async with traffic(upstream, group.url) as running:
        begun = time.monotonic()
        group.master().kill()
        await over(running, begun)
    print(running.figures(begun))  # noqa: T201 - for whoever asks
    assert {seen.status for seen in running.created} == {200}
    assert {seen.status for seen in running.retrieved() if seen.at < begun} == {200}
    assert {seen.status for seen in running.retrieved()} == {200, 503}
    assert running.missing == []


@pytest.mark.usefixtures("settled")
async def test_master_that_hung_is_not_written_to_once_another_is_master(group):
    """It comes back as one that takes writes, all of which it forgets once a Sentinel tells it."""
    old, sentinel = group.master(), group.sentinels[0]
    async with bindings_at(group.url) as one, bindings_at(group.url) as other:
        await one.bind("resp_1", OURS)
        old.hang()
        # Any of them may be down.
        sentinel.kill()
        await one.bind("resp_2", OURS)
        assert one.state == DOWN
        await eventually(lambda: one.state == UP)
        await one.bind("resp_3", OURS)
        old.resume()
        await one.bind("resp_4", OURS)
        assert is_master(old)
        assert [old.run("EXISTS", key_of(f"resp_{number}")) for number in (1, 3, 4)] == [1, 0, 0]
        await eventually(lambda: found(other, ["resp_1", "resp_2", "resp_3", "resp_4"]))
        assert await other.find("resp_5", "team-a") is None


@pytest.mark.usefixtures("settled")
async def test_bindings_made_while_another_becomes_master_are_all_there(group):
    """The old one takes writes for ten seconds more, all of them lost: it is left, and they are made again."""
    old, new = group.servers
    async with bindings_at(group.url) as one, bindings_at(group.url) as other:
        group.sentinels[0].run("SENTINEL", "FAILOVER", MASTER)
        rids, since = [], 0
        while since < 100 or not new.run("EXISTS", key_of(rids[-1])):
            rids += [f"resp_{len(rids) + number}" for number in range(10)]
            await asyncio.gather(*(one.bind(rid, OURS) for rid in rids[-10:]))
            since += is_master(new)
        assert is_master(old)
        assert old.run("DBSIZE") > 0
        await eventually(lambda: found(other, rids))
        assert (one.states(), other.states()) == ([], [])


async def found(bound, rids):
    """Tell whether all these are bound; not while that cannot be told."""
    with contextlib.suppress(BindingsUnavailable):
        return [await bound.find(rid, "team-a") for rid in rids] == [OURS] * len(rids)
    return False


async def test_gateway_begins_while_no_sentinel_answers(group):
    """It serves from its queue, and finds the master when one does."""
    for sentinel in group.sentinels:
        sentinel.kill()
    async with bindings_at(group.url) as bound:
        await bound.bind("resp_1", OURS)
        assert (bound.state, len(bound)) == (DOWN, 1)
        group.sentinels[2].start()
        await eventually(lambda: bound.state == UP and len(bound) == 0)


# TLS, and a user who may do no more than is needed


async def test_single_server_is_reached_over_tls_by_a_user_of_its_own(secured):
    """The URL holds both."""
    with RedisServer(tool("redis-server"), secured=secured) as server:
        await used(url_of("server", [server], secured))


async def test_sentinels_and_their_master_are_reached_over_tls_by_users_of_their_own(secured):
    """Sentinels have a password that is not the master's."""
    with watched(tool("redis-server"), secured) as group:
        await used(group.url)


async def used(url):
    """Use all there is to use of a Redis."""
    async with bindings_at(url) as one, bindings_at(url) as other, archive_at(url) as kept:
        await one.bind("resp_1", OURS)
        await one.bind("resp_1", Binding("second", "team-a"))
        assert await other.find("resp_1", "team-a") == Binding("second", "team-a")
        await one.forget("resp_1")
        assert await other.find("resp_1", "team-b") is None
        await kept.keep("resp_2", entry_of("resp_2"))
        assert len(await kept.chain("resp_2", TENANT)) == 2
        assert await kept.forget("resp_2", TENANT)
        assert (one.states(), other.states(), kept.states()) == ([], [], [])


async def test_wrong_password_is_an_outage_that_says_so(secured):
    """Nothing is lost for it, and it is not printed."""
    with RedisServer(tool("redis-server"), secured=secured) as server:
        url = f"rediss://gateway:canary@{server.place}?ssl_ca_certs={secured.ca_file}"
        async with bindings_at(url) as bound:
            await bound.bind("resp_1", OURS)
            (down,) = bound.events("redis_state")
            assert "invalid username-password" in down["error"]
            assert "canary" not in str(down)


async def test_server_whose_certificate_is_not_trusted_is_not_spoken_to(secured):
    """An authority has to be the system's, or named."""
    with RedisServer(tool("redis-server"), secured=secured) as server:
        url = url_of("server", [server], secured).partition("?")[0]
        async with bindings_at(url) as bound:
            await bound.bind("resp_1", OURS)
            (down,) = bound.events("redis_state")
            assert "certificate" in down["error"].lower()


def test_instructions_name_what_a_user_has_to_be_allowed():
    """And no more: it is what the servers of these tests allow."""
    text = (Path(__file__).parents[2] / "deploy" / "README.md").read_text(encoding="utf-8")
    assert RULES.replace(PASSWORD, "PASSWORD") in text
