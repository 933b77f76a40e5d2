import asyncio

import orjson
import pytest

from tests.flows.calls import PLAIN, STREAMED, ask, create, log_lines, nothing_left
from tests.rig import scripts, wire
from tests.rig.eventually import eventually
from tests.rig.gateway import bearer, gateway
from tests.rig.settings import ALICE_KEY, config

PHASES = ("routed_ms", "connected_ms", "head_received_ms", "bound_ms")


@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
async def test_exchange_settles_with_its_phases_in_order(body, upstream, valkey, capfd):
    rid = wire.new_id()
    good = (
        scripts.sse_answer(wire.stream_events(rid))
        if "stream" in body
        else scripts.json_answer(wire.response_object(rid))
    )
    upstream.on("POST", "/v1/responses", good)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, body)
    (line,) = log_lines(capfd)
    phases = [line[phase] for phase in PHASES]
    assert phases == sorted(phases)
    assert 0 < line["overhead_ms"] <= line["total_ms"]
    assert (line["provider"], line["caller"], line["tenant"]) == ("main", "alice", "team-a")
    assert (line["bytes_in"], line["bytes_out"]) == (len(orjson.dumps(body)), len(answer.body))
    assert (line["response_id"], line["tokens"]["output"]) == (rid, wire.USAGE["output_tokens"])


async def test_stop_before_the_provider_is_known_answers_503(upstream, valkey):
    """The client is still sending: nothing has been sent anywhere."""
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        head = [*bearer(ALICE_KEY), ("Content-Length", "1000")]
        await client.request("POST", "/v1/responses", headers=head, body=b'{"input"')
        (exchange,) = await eventually(lambda: gw.app._handlers.active)
        await eventually(lambda: exchange._admission.upload)
        exchange.stop()
        answer = await client.answer()
        await answer.read()
    assert (answer.status, answer.json()["error"]["code"]) == (503, "draining")
    assert upstream.requests == []


async def test_exchange_gauges_stand_while_it_runs(upstream, valkey):
    gate = asyncio.Event()
    events = wire.stream_events("resp_1")
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, gates={1: gate}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_events(1)
        for gauge in ("responses_proxy_inflight_requests", "responses_proxy_inflight_streams"):
            assert await gw.metric(gauge, provider="main") == 1
        assert await gw.metric("responses_proxy_upstream_connections", provider="main", state="active") == 1
        gate.set()
        await answer.read()
        await nothing_left(gw)
        for gauge in ("responses_proxy_inflight_requests", "responses_proxy_inflight_streams"):
            assert await gw.metric(gauge, provider="main") == 0
        assert await gw.metric("responses_proxy_upstream_connections", provider="main", state="idle") == 1
