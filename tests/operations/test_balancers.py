"""The shipped balancer configurations, run in front of two gateways on one Redis: what clients and providers notice."""

from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
import pytest_asyncio

from tests.operations import balanced
from tests.operations.balanced import MEBIBYTE, PATH, PLAIN, ask, headers
from tests.operations.balancers import KINDS, Balancer, Replica, balancer, replicas
from tests.rig import scripts, wire
from tests.rig.certificates import Authority
from tests.rig.client import comments, connect, fetch
from tests.rig.eventually import eventually
from tests.rig.gateway import Command, bearer, free_port
from tests.rig.settings import ALICE_KEY
from tests.rig.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SILENCE = 2.5
"""Seconds: longer than the two after which the impatient balancers hang up."""
LONG = 1.2
"""Seconds: longer than the one after which Envoy, told so, cuts a stream that speaks; see test_balancers_broken.py."""


class Way(NamedTuple):
    """The way of a request: a balancer, two gateways, the provider."""

    name: str
    balancer: Balancer
    impatient: Balancer
    gateways: list[Replica]
    upstream: Upstream

    @property
    def port(self):
        """Where the balancer listens."""
        return self.balancer.port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateways(shared_valkey):
    async with Upstream() as upstream, replicas(upstream, shared_valkey.url) as both:
        yield upstream, both


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def running(request, gateways):
    upstream, both = gateways
    commands = [each.command for each in both]
    async with (
        balancer(request.param, commands) as shipped,
        balancer(request.param, commands, KINDS[request.param].impatient) as impatient,
    ):
        yield Way(request.param, shipped, impatient, both, upstream)


@pytest.fixture
def path(running):
    """Give the way of a request, with no request made on it yet."""
    running.upstream.requests.clear()
    return running


async def test_events_are_not_delayed_and_not_clumped(path):
    """Each reaches the client before the provider has the next one."""
    await balanced.events_pass_one_by_one(path.port, path.upstream)


@pytest.mark.parametrize("at", ["head", "body"])
async def test_client_that_leaves_reaches_the_provider(at, path):
    """Nobody pays for what nobody reads."""
    await balanced.client_that_leaves_reaches_the_provider(path.port, path.upstream, at=at)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_upload_of_100_megabytes_passes_as_it_comes(chunked, path):
    """With a length and without one."""
    await balanced.upload_passes_as_it_comes(path.port, path.upstream, 100 * MEBIBYTE, chunked=chunked)


async def test_upload_that_is_refused_is_told_why(path):
    """A client that sends much before it reads gets the gateway's answer, not the balancer's."""
    body = b'{"model":"gpt-4o-mini","input":"' + b"x" * 3 * MEBIBYTE + b'"}'
    answer = await fetch(path.port, "POST", PATH, headers=[("Authorization", "Bearer nobody")], body=body)
    assert (answer.status, answer.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_slow_client_slows_the_provider(path):
    """Nothing piles up in between."""
    await balanced.slow_client_slows_the_provider(path.port, path.upstream)


async def test_silence_longer_than_the_timeout_is_survived_by_comments(path):
    """They count as traffic everywhere, and as nothing to the client."""
    answer, sent = await balanced.stream_over_silence(path.impatient.port, path.upstream, "main", SILENCE)
    assert (answer.end, len(answer.events())) == ("complete", sent)
    assert comments(answer.body)


async def test_silence_without_comments_is_cut_and_looks_it(path):
    """Which is what the comments are for; and a stream that was cut must not look complete."""
    answer, _ = await balanced.stream_over_silence(path.impatient.port, path.upstream, "silent", SILENCE)
    assert (answer.end in {"cut", "reset"}, len(answer.events())) == (True, 3)


async def test_create_that_is_late_is_not_sent_again(path):
    """The balancer gives up once and for all."""
    await balanced.late_create_is_sent_once(path.impatient.port, path.upstream)


async def test_stream_may_last(path):
    """It is not its length that counts, but its silences."""
    answer, sent = await balanced.stream_over_silence(path.port, path.upstream, "main", LONG)
    assert (answer.end, len(answer.events())) == ("complete", sent)


async def test_refused_connection_is_made_elsewhere(path):
    """A gateway that just closed its port costs no request."""
    one, other = (each.command for each in path.gateways)
    gone = Command(one.process, free_port(), one.admin_port, Path())
    async with balancer(path.name, [gone, other]) as beside_a_dead_one:
        await balanced.refused_connection_is_made_elsewhere(beside_a_dead_one.port, path.upstream)


async def test_large_head_passes(path):
    """Keys and cookies may be long."""
    await balanced.create_with_a_large_head_passes(path.port, path.upstream)


async def test_body_that_dies_stays_broken(path):
    """An answer in JSON that the provider cut must not end cleanly."""
    answer = wire.response_object(wire.new_id(), "x" * MEBIBYTE)
    path.upstream.on("POST", PATH, scripts.cut_json(answer, MEBIBYTE // 2))
    async with connect(path.port) as client:
        await ask(client, PLAIN)
        cut = await client.answer()
        await cut.read()
    assert (cut.status, cut.end in {"cut", "reset"}) == (200, True)


async def test_connection_to_a_gateway_is_kept(path):
    """One that is there is used again."""
    await balanced.connection_to_a_gateway_is_kept(path.balancer, path.upstream)


async def test_requests_go_where_the_fewest_are(path):
    """Streams last: the gateway that has fewer is the one with room."""
    await balanced.requests_go_where_the_fewest_are(path.port, path.upstream)


async def test_affinity_is_not_needed(path):
    """Created through one gateway, a response is read and deleted through the other, in both directions."""
    crossed = set()
    upstream = path.upstream
    while crossed < {("1", "2"), ("2", "1")}:
        rid = wire.new_id()
        kept = scripts.json_answer(wire.response_object(rid))
        upstream.on("POST", PATH, kept)
        upstream.on("GET", f"{PATH}/{rid}", kept)
        upstream.on("DELETE", f"{PATH}/{rid}", scripts.json_answer({"id": rid, "object": "response", "deleted": True}))
        upstream.requests.clear()
        for method, below, body in [("POST", "", PLAIN), ("GET", f"/{rid}", None), ("DELETE", f"/{rid}", None)]:
            answer = await fetch(path.port, method, PATH + below, headers=bearer(ALICE_KEY), json=body)
            assert (answer.status, answer.json()["id"]) == (200, rid)
        made, *used = (exchange.header("x-replica") for exchange in upstream.requests)
        crossed |= {(made, each) for each in used if each != made}


async def test_websocket_is_told_to_use_http(path):
    """By the gateway: balancers have other answers to it, from which clients do not recover as fast."""
    await balanced.websocket_is_told_to_use_http(path.port)


async def test_admin_port_is_out_of_reach(path):
    """Metrics and readiness have no key; only the balancer's own health is public."""
    for target in ("/metrics", "/readyz", "/stats", "/config_dump", "/server_info"):
        answer = await fetch(path.port, "GET", target, headers=headers())
        assert (answer.status, answer.json()["error"]["type"]) == (404, "invalid_request_error")
    assert (await fetch(path.port, "GET", "/healthz")).status == 200


async def test_log_line_leads_to_the_gateways_log(path):
    """It names the gateway, its request id, when its answer began, and no key."""
    path.upstream.on("POST", PATH, scripts.json_answer(wire.response_object(wire.new_id())))
    answer = await fetch(path.port, "POST", PATH, headers=headers(), json=PLAIN)
    request = answer.header("x-gateway-request-id")

    def lines():
        return [line for line in path.balancer.output().splitlines() if request in line]

    (line,) = await eventually(lines)
    entry = orjson.loads(line)
    gateway = path.gateways[int(path.upstream.requests[-1].header("x-replica")) - 1]
    assert entry["upstream"] in {f"127.0.0.1:{gateway.command.port}", f"gateway-{gateway.number}"}
    assert (entry["gateway_request"], int(entry["status"]), entry["client"]) == (request, 200, "127.0.0.1")
    assert float(entry["first_byte"]) >= 0
    assert ALICE_KEY not in path.balancer.output()


async def test_gateway_is_told_who_asks(path):
    """Address and scheme are the balancer's to say, and a request's id; the scripted provider plays the gateway."""
    gateways = [
        Command(each.command.process, path.upstream.port, each.command.admin_port, Path()) for each in path.gateways
    ]
    path.upstream.on("POST", PATH, scripts.json_answer({}))
    async with balancer(path.name, gateways) as before_the_provider:
        invented = [("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-Proto", "gopher")]
        await fetch(before_the_provider.port, "POST", PATH, headers=[*headers(), *invented], json=PLAIN)
    (exchange,) = path.upstream.requests
    assert (exchange.version, exchange.header("Host"), exchange.json()) == ("HTTP/1.1", "gateway.test", PLAIN)
    assert exchange.head.all("X-Forwarded-For") == ["127.0.0.1"]
    assert exchange.head.all("X-Forwarded-Proto") == ["http"]
    assert exchange.header("X-Request-ID")
    assert (exchange.header("Authorization"), exchange.header("Upgrade")) == (headers()[0][1], None)


async def test_tls_brings_http2(path, tmp_path):
    """What the file has behind comment signs works as it stands there, and streams pass."""
    authority = Authority(tmp_path)
    authority.vouch_for("gateway.test")
    commands = [each.command for each in path.gateways]
    async with balancer(path.name, commands, certificate=tmp_path / "gateway.test.pem") as over_tls:
        await balanced.events_pass_over_http2(over_tls.port, authority.ca_file, path.upstream)
