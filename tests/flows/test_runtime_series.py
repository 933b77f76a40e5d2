"""What the gateway tells of itself while it runs: connections, Redis, the event loop, the process."""

import os
import time

import psutil
import pytest

from proxy import app, redisqueue
from tests.flows.calls import PLAIN, create, nothing_left
from tests.rig import scripts, wire
from tests.rig.eventually import eventually
from tests.rig.gateway import gateway, total
from tests.rig.settings import config

SAMPLED, STALL = 0.02, 0.15
"""Seconds between two samples of the lag, and that the loop stands still: the timer is late by the rest or more."""


@pytest.fixture
def answering(upstream):
    """Give a provider that answers every create."""
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(wire.new_id())))
    return upstream


async def test_client_connections_are_those_open_now(answering, valkey):
    """Idle ones too."""
    async with gateway(config(answering), redis_url=valkey.url) as gw:
        assert await gw.metric("responses_proxy_client_connections") == 0
        async with gw.connect(), gw.connect():
            await eventually(lambda: shows(gw, "responses_proxy_client_connections", 2))
        await eventually(lambda: shows(gw, "responses_proxy_client_connections", 0))


async def shows(gw, name, expected, **labels):
    return await gw.metric(name, **labels) == expected


async def test_new_connections_to_a_provider_are_timed_and_pooled_ones_are_not(answering, valkey):
    """What takes name, TCP and TLS is the first request's."""
    async with gateway(config(answering), redis_url=valkey.url) as gw:
        assert await gw.metric("responses_proxy_upstream_connect_seconds_count", provider="main") == 0
        for _ in range(3):
            assert (await create(gw, PLAIN)).status == 200
        assert await gw.metric("responses_proxy_upstream_connect_seconds_count", provider="main") == 1
        assert await gw.metric("responses_proxy_upstream_connect_seconds_sum", provider="main") > 0
        assert await gw.metric("responses_proxy_upstream_connect_failures_total", provider="main") == 0
        assert answering.connections == 1


async def test_connections_that_cannot_be_made_are_counted_and_not_timed(answering, second_upstream, valkey):
    """By the provider that could not be reached."""
    async with gateway(config(answering, second_upstream), redis_url=valkey.url) as gw:
        await answering.refuse()
        for _ in range(2):
            assert (await create(gw, {**PLAIN, "model": "main/gpt-4o-mini"})).status == 502
        for provider, failures in (("main", 2), ("second", 0)):
            assert await gw.metric("responses_proxy_upstream_connect_failures_total", provider=provider) == failures
        assert await gw.metric("responses_proxy_upstream_connect_seconds_count") == 0


async def test_request_sent_again_is_counted_once(upstream, valkey):
    """Its client saw one answer; so did the count of requests."""
    good = scripts.json_answer(wire.response_object(wire.new_id()))
    upstream.on("POST", "/v1/responses", scripts.stale_when_reused(good))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        for retries in (0, 1):
            assert (await create(gw, PLAIN)).status == 200
            await nothing_left(gw)
            assert await gw.metric("responses_proxy_upstream_retries_total", provider="main") == retries
        assert await gw.metric("responses_proxy_requests_total", code="200") == 2


async def test_redis_state_is_one_for_the_state_a_store_is_in(answering, private_valkey, monkeypatch):
    """It is the bindings' that a create writes; the archive has not been asked meanwhile."""
    monkeypatch.setattr(redisqueue, "PROBE_INTERVAL", 0.02)
    async with gateway(config(answering, bindings={"ack_timeout": 0.5}), redis_url=private_valkey.url) as gw:
        assert await states(gw, "bindings") == await states(gw, "archive") == {"up": 1, "read_only": 0, "down": 0}
        private_valkey.read_only()
        await create(gw, PLAIN)
        assert await states(gw, "bindings") == {"up": 0, "read_only": 1, "down": 0}
        private_valkey.stop()
        await eventually(lambda: shows(gw, "responses_proxy_redis_state", 1, store="bindings", state="down"))
        assert await states(gw, "archive") == {"up": 1, "read_only": 0, "down": 0}
        private_valkey.start()
        await eventually(lambda: shows(gw, "responses_proxy_redis_state", 1, store="bindings", state="up"))
    assert await gw.metric("responses_proxy_redis_state") == 0, "one that is closed is in no state"


async def states(gw, store):
    known = ("up", "read_only", "down")
    return {state: await gw.metric("responses_proxy_redis_state", store=store, state=state) for state in known}


@pytest.fixture
def sampled(monkeypatch):
    """Sample the lag more often than five times a second."""
    monkeypatch.setattr(app, "FLUSH_INTERVAL", SAMPLED)


async def lags(gw):
    """Return how many samples of the lag there are, and how many of them over a tenth of a second."""
    name, shown = "responses_proxy_event_loop_lag_seconds", await gw.exposition()
    count = total(shown, f"{name}_count")
    return count, count - total(shown, f"{name}_bucket", le="0.1")


async def more_than(gw, count):
    return (await lags(gw))[0] > count


@pytest.mark.usefixtures("sampled")
async def test_loop_that_stands_still_is_seen_as_lag(answering, valkey):
    """Whatever holds it: the timer due meanwhile fires that much later."""
    async with gateway(config(answering), redis_url=valkey.url) as gw:
        await eventually(lambda: more_than(gw, 0))
        count, late = await lags(gw)
        time.sleep(STALL)  # noqa: ASYNC251 - the fault under test
        await eventually(lambda: more_than(gw, count))
        assert (await lags(gw))[1] > late


@pytest.mark.usefixtures("sampled")
async def test_log_that_nobody_reads_in_time_is_seen_as_lag(answering, valkey, monkeypatch):
    """Writing lines holds the loop like anything else, though it is the timer's own task that does."""
    written = []
    monkeypatch.setattr(app, "_write_lines", lambda lines: (time.sleep(STALL), written.append(lines)))
    async with gateway(config(answering), redis_url=valkey.url) as gw:
        _, late = await lags(gw)
        await create(gw, PLAIN)
        await eventually(lambda: written)
        count, _ = await lags(gw)
        await eventually(lambda: more_than(gw, count))
        assert (await lags(gw))[1] > late


async def test_process_is_shown_under_its_slot(answering, valkey):
    """Memory, descriptors and processor time are this process's, as the system counts them."""
    itself = psutil.Process()
    async with gateway(config(answering), redis_url=valkey.url, slot=3) as gw:
        resident = await gw.metric("responses_proxy_resident_memory_bytes", process="worker-3")
        assert resident == pytest.approx(itself.memory_info().rss, rel=0.2)
        before = await gw.metric("responses_proxy_open_fds", process="worker-3")
        with open(os.devnull, "rb"):  # noqa: ASYNC230, PTH123
            assert await gw.metric("responses_proxy_open_fds", process="worker-3") == before + 1
        assert await gw.metric("responses_proxy_max_fds", process="worker-3") == itself.rlimit(psutil.RLIMIT_NOFILE)[0]
        used = await gw.metric("responses_proxy_cpu_seconds_total", process="worker")
        assert used <= time.process_time()
        assert await gw.metric("responses_proxy_cpu_seconds_total", process="worker") > used
