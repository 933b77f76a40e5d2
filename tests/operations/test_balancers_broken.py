"""Settings of the balancer configurations taken out: what the comment beside each says goes wrong does go wrong."""

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio

from tests.operations import balanced
from tests.operations.balanced import MEBIBYTE
from tests.operations.balancers import KINDS, balancer, replicas
from tests.rig.connection import PeerGone
from tests.rig.eventually import eventually
from tests.rig.gateway import Command, free_port
from tests.rig.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

IN_VAIN = 1.5
"""Seconds after which what did not come is taken not to come: with the setting it takes a fraction of that."""
IMPATIENT = {name: (old, new.replace("2s", "1s")) for name, (old, new) in ((n, k.impatient) for n, k in KINDS.items())}
"""They give up within that time."""


async def events(running, upstream):
    await balanced.events_pass_one_by_one(running.port, upstream)


async def client_gone(running, upstream):
    await balanced.client_that_leaves_reaches_the_provider(running.port, upstream, at="head")


async def upload(running, upstream):
    await balanced.upload_passes_as_it_comes(running.port, upstream, 4 * MEBIBYTE)


async def chunked_upload(running, upstream):
    await balanced.upload_passes_as_it_comes(running.port, upstream, 4 * MEBIBYTE, chunked=True)


async def slow_client(running, upstream):
    await balanced.slow_client_slows_the_provider(running.port, upstream)


async def fewest(running, upstream):
    await balanced.requests_go_where_the_fewest_are(running.port, upstream)


async def websocket(running, _upstream):
    await balanced.websocket_is_told_to_use_http(running.port)


async def large_head(running, upstream):
    await balanced.create_with_a_large_head_passes(running.port, upstream)


async def once(running, upstream):
    await balanced.late_create_is_sent_once(running.port, upstream)


async def elsewhere(running, upstream):
    await balanced.refused_connection_is_made_elsewhere(running.port, upstream)


async def kept(running, upstream):
    await balanced.connection_to_a_gateway_is_kept(running, upstream)
    await eventually(lambda: not running.connections())
    pytest.fail("the connection went away")


async def lasting(running, upstream):
    answer, sent = await balanced.stream_over_silence(running.port, upstream, "main", 1.2)
    assert (answer.end, len(answer.events())) == ("complete", sent)


CASES = [
    ("nginx", chunked_upload, ("proxy_http_version 1.1;", "proxy_http_version 1.0;")),
    ("nginx", upload, ("proxy_request_buffering off;", "")),
    ("nginx", slow_client, ("proxy_buffering off;", "")),
    (
        "nginx",
        events,
        ("proxy_http_version 1.1;", "proxy_http_version 1.0;"),
        ("proxy_buffering off;", "proxy_ignore_headers X-Accel-Buffering;"),
    ),
    ("nginx", upload, ("client_max_body_size 256m;", "")),
    ("nginx", kept, ("proxy_set_header Connection $connection_of;", "")),
    ("nginx", kept, ("keepalive 256;", ""), ("keepalive_timeout 4s;", "")),
    ("nginx", websocket, ("proxy_set_header Upgrade $upgrade_to;", "")),
    ("nginx", fewest, ("least_conn;", "")),
    ("nginx", large_head, ("large_client_header_buffers 4 32k;", "")),
    ("nginx", elsewhere, ("proxy_next_upstream error timeout;", "proxy_next_upstream off;")),
    (
        "nginx",
        once,
        ("proxy_next_upstream error timeout;", "proxy_next_upstream error timeout non_idempotent;"),
        ("proxy_request_buffering off;", ""),
        IMPATIENT["nginx"],
    ),
    ("haproxy", events, ("option http-no-delay", "")),
    ("haproxy", client_gone, ("option abortonclose", "")),
    ("haproxy", fewest, ("balance leastconn", "")),
    ("haproxy", large_head, ("tune.bufsize 32768", "")),
    ("haproxy", elsewhere, ("option redispatch 1", "no option redispatch")),
    ("haproxy", once, ("retry-on conn-failure", "retry-on all-retryable-errors"), IMPATIENT["haproxy"]),
    ("envoy", lasting, ("timeout: 0s", "timeout: 1s")),
    (
        "envoy",
        fewest,
        ("least_request.v3.LeastRequest", "round_robin.v3.RoundRobin"),
        ("selection_method: FULL_SCAN", ""),
    ),
    ("envoy", fewest, ("max_requests: 50000", "max_requests: 3")),
    ("envoy", websocket, ("upgrade_configs: [{upgrade_type: websocket}]", "")),
    ("envoy", elsewhere, ("num_retries: 3", "num_retries: 0")),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateways(shared_valkey):
    async with Upstream() as upstream, replicas(upstream, shared_valkey.url) as both:
        yield upstream, [each.command for each in both]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1].__name__} {case[2][0]}")
async def test_setting_is_needed(case, gateways):
    """The shipped file passes the same check, see test_balancers.py."""
    name, check, *changes = case
    upstream, (one, other) = gateways
    upstream.requests.clear()
    if check is elsewhere:
        one = Command(one.process, free_port(), one.admin_port, Path())
    async with balancer(name, [one, other], *changes) as broken:
        with pytest.raises((AssertionError, TimeoutError, PeerGone)):
            async with asyncio.timeout(IN_VAIN):
                await check(broken, upstream)
