"""A client that leaves stops the bill, but for a background response: that one goes on to its end."""

import asyncio

import orjson
import pytest

from tests.flows.calls import PLAIN, STREAMED, ask, log_lines, nothing_left, stream_ends
from tests.rig import scripts, wire
from tests.rig.eventually import eventually
from tests.rig.gateway import bearer, gateway
from tests.rig.settings import ALICE_KEY, config

BACKGROUND = {"background": True}
LEAVING = pytest.mark.parametrize("how", ["close", "abort", "half_close"])


@LEAVING
@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
async def test_background_response_goes_on_when_its_client_leaves_before_the_answer(body, how, upstream, valkey, capfd):
    """It is answered to nobody, bound and counted; the connection goes back to the pool."""
    rid = wire.new_id()
    gate = asyncio.Event()
    events = wire.stream_events(rid)
    good = scripts.sse_answer(events) if "stream" in body else scripts.json_answer(wire.response_object(rid))
    upstream.on("POST", "/v1/responses", scripts.after(gate, good))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await ask(client, body | BACKGROUND)
            await upstream.received()
            getattr(client, how)()
            (exchange,) = gw.app._handlers.active
            await eventually(lambda: exchange._downstream.gone)
            gate.set()
            await nothing_left(gw)
        assert len(valkey.keys()) == 1
        assert await gw.metric("responses_proxy_tokens_total", type="output") == wire.USAGE["output_tokens"]
        assert await stream_ends(gw) == ({"completed": 1} if "stream" in body else {})
        assert gw.app._upstreams["main"].connections() == {"active": 0, "idle": 1}
    (line,) = log_lines(capfd)
    assert (line["status"], line["response_id"]) == (200, rid)


@LEAVING
async def test_background_stream_goes_on_when_its_client_leaves(how, upstream, valkey, capfd):
    """The provider is read to its end, though more comes than a client's buffers would hold."""
    events = wire.stream_events(wire.new_id(), ["x" * 100_000] * 20)
    gate = asyncio.Event()
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, gates={5: gate}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await ask(client, STREAMED | BACKGROUND)
            answer = await client.answer()
            await answer.read_events(4)
            (exchange,) = gw.app._handlers.active
            getattr(client, how)()
            await eventually(lambda: exchange._downstream.gone)
            gate.set()
            await nothing_left(gw)
        assert await stream_ends(gw) == {"completed": 1}
        assert await gw.metric("responses_proxy_tokens_total", type="output") == wire.USAGE["output_tokens"]
    assert upstream.requests[0].finished.is_set()
    assert [line["end"] for line in log_lines(capfd)] == ["completed"]


async def test_background_stream_goes_on_when_the_client_that_leaves_did_not_read(upstream, valkey):
    """What waited for the client waits no longer."""
    events = wire.stream_events(wire.new_id(), ["x" * 100_000] * 40)
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect(receive_buffer=4096) as client:
            await ask(client, STREAMED | BACKGROUND)
            await client.answer()
            client.hold()
            await eventually(lambda: upstream.requests[0].stream.blocked)
            (exchange,) = gw.app._handlers.active
            await eventually(lambda: exchange._downstream.paused)
            client.abort()
            await nothing_left(gw)
        assert await stream_ends(gw) == {"completed": 1}


@pytest.mark.parametrize("size", [100, 200_000], ids=["small", "large"])
async def test_background_json_goes_on_when_its_client_leaves_inside_it(size, upstream, valkey, capfd):
    """The id is bound at the end of the body, so that another client can ask for the response."""
    body = orjson.dumps(wire.response_object(wire.new_id(), "x" * size))
    gate = asyncio.Event()

    async def script(exchange):
        await exchange.body()
        await exchange.start(200, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        await exchange.send(body[:90])
        await gate.wait()
        await exchange.send(body[90:])

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await ask(client, PLAIN | BACKGROUND)
            answer = await client.answer()
            await answer.read_piece()
            (exchange,) = gw.app._handlers.active
            client.abort()
            await eventually(lambda: exchange._delivery._client_gone)
            gate.set()
            await nothing_left(gw)
        assert len(valkey.keys()) == 1
    assert [line["status"] for line in log_lines(capfd)] == [200]


async def test_background_upload_is_given_up_when_its_client_leaves_inside_it(upstream, valkey):
    """Half a request is none: the provider never has the end of it."""
    body = orjson.dumps({**PLAIN, **BACKGROUND, "input": "x" * 50_000})
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        upstream.on("POST", "/v1/responses", scripts.silence)
        async with gw.connect() as client:
            head = [*bearer(ALICE_KEY), ("x-tfy-provider-name", "main"), ("Content-Length", str(len(body)))]
            await client.request("POST", "/v1/responses", headers=head, body=body[:-10])
            await upstream.received()
        await nothing_left(gw, upstream)
    assert not upstream.requests[0].complete


async def test_background_response_that_fails_after_its_client_left_is_counted_as_failed(upstream, valkey, capfd):
    """Nobody is told, but the operator."""
    gate = asyncio.Event()
    events = wire.stream_events(wire.new_id())
    upstream.on("POST", "/v1/responses", scripts.cut_stream(events, len(events[0]), gate=gate))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await ask(client, STREAMED | BACKGROUND)
            answer = await client.answer()
            await answer.read_events(1)
            (exchange,) = gw.app._handlers.active
            client.abort()
            await eventually(lambda: exchange._delivery._client_gone)
            gate.set()
            await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {"upstream_cut": 1}
    assert [line["end"] for line in log_lines(capfd)] == ["upstream_cut"]
