"""A gateway that goes away says so, lets what is under way finish, and ends the rest loudly."""

import asyncio

import orjson
import pytest
from openai.types.responses import ResponseFailedEvent

from tests.flows.calls import PLAIN, STREAMED, ask, create, log_lines, nothing_left, relay_of, stream_ends
from tests.rig import scripts, wire
from tests.rig.connection import PeerGone
from tests.rig.eventually import eventually
from tests.rig.gateway import gateway
from tests.rig.settings import config

BODIES = pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
PATIENT, AT_ONCE = 20, 0.01


@BODIES
async def test_answers_close_their_connections_once_a_drain_is_announced(body, upstream, valkey):
    """Also on connections that were kept until now; requests that still come are served."""
    good = scripts.sse_answer(wire.stream_events("resp_1"))
    upstream.on(
        "POST", "/v1/responses", good if "stream" in body else scripts.json_answer(wire.response_object("resp_1"))
    )
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        for last in (False, True):
            await ask(client, body)
            answer = await client.answer()
            await answer.read()
            assert (answer.status, answer.end) == (200, "complete")
            assert answer.header("Connection") == ("close" if last else None)
            gw.app.announce_drain()
        assert await client.ended() == "closed"
        assert (await create(gw, body)).header("Connection") == "close"


async def test_drain_lets_a_stream_finish(upstream, valkey, capfd):
    """New connections are refused meanwhile; the stream loses nothing."""
    events = wire.stream_events(wire.new_id())
    gate = asyncio.Event()
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, gates={3: gate}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_events(3)
        draining = asyncio.create_task(gw.app.drain(PATIENT))
        await eventually(lambda: gw.app._site is None)
        with pytest.raises((ConnectionRefusedError, PeerGone)):
            await create(gw, PLAIN)
        assert not draining.done()
        gate.set()
        assert await answer.read() == b"".join(events)
        await draining
        assert await stream_ends(gw) == {"completed": 1}
    assert [line["end"] for line in log_lines(capfd)] == ["completed"]


@pytest.mark.parametrize("background", [False, True])
async def test_drain_ends_a_stream_with_response_failed_when_time_is_up(background, upstream, valkey, capfd):
    """The client learns that there is no more; so does the provider."""
    rid = wire.new_id()
    events = wire.stream_events(rid)
    upstream.on("POST", "/v1/responses", scripts.cut_stream(events, len(b"".join(events[:4])), gate=asyncio.Event()))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, {**STREAMED, "background": background})
        answer = await client.answer()
        await answer.read_events(4)
        exchange = upstream.requests[0]
        await gw.app.drain(AT_ONCE)
        await answer.read()
        assert await client.ended() == "closed"
        await nothing_left(gw)
        await exchange.closed.wait()
        assert await stream_ends(gw) == {"drained": 1}
        exchange.abort()
    assert (answer.end, answer.body.startswith(b"".join(events[:4]))) == ("complete", True)
    *_, last = answer.events()
    failed = ResponseFailedEvent.model_validate_json(last.data)
    assert (failed.response.id, failed.sequence_number, failed.response.status) == (rid, 4, "failed")
    assert [line["end"] for line in log_lines(capfd)] == ["drained"]


@BODIES
@pytest.mark.parametrize("background", [False, True])
async def test_drain_answers_503_when_no_answer_has_come(background, body, upstream, valkey, capfd):
    """Nothing has been said yet: the client may ask again, elsewhere."""
    upstream.on("POST", "/v1/responses", scripts.silence)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, {**body, "background": background})
        await upstream.received()
        await gw.app.drain(AT_ONCE)
        answer = await client.answer()
        await answer.read()
        assert await client.ended() == "closed"
        await nothing_left(gw, upstream)
    assert (answer.status, answer.end, answer.json()["error"]["code"]) == (503, "complete", "draining")
    assert answer.header("Retry-After") == "1"
    assert [line["status"] for line in log_lines(capfd)] == [503]


@BODIES
async def test_drain_answers_503_when_no_byte_of_the_body_has_come(body, upstream, valkey):
    """The head of an answer is held until its first byte: it can still tell."""
    content_type = "text/event-stream" if "stream" in body else "application/json"

    async def script(exchange):
        await exchange.body()
        await exchange.start(200, [("Content-Type", content_type), ("Transfer-Encoding", "chunked")])
        await exchange.closed.wait()

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, body)
        await upstream.received()
        await eventually(lambda: any(relay_of(exchange) for exchange in gw.app._handlers.active))
        await gw.app.drain(AT_ONCE)
        answer = await client.answer()
        await answer.read()
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == ({"drained": 1} if "stream" in body else {})
    assert (answer.status, answer.json()["error"]["code"]) == (503, "draining")
    assert answer.header("Retry-After") == "1"


@pytest.mark.parametrize("size", [100, 200_000], ids=["small", "large"])
async def test_drain_never_ends_json_cleanly(size, upstream, valkey):
    """Of a small body nothing is out, so the status tells; a large one breaks off."""
    body = orjson.dumps(wire.response_object("resp_1", "x" * size))

    async def script(exchange):
        await exchange.body()
        await exchange.start(200, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        await exchange.send(body[:-10])
        await exchange.closed.wait()

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, PLAIN)
        (exchange,) = await eventually(lambda: gw.app._handlers.active)
        await eventually(lambda: exchange._record.head_received)
        if size > 100_000:
            answer = await client.answer()
            await answer.read_piece()
        await gw.app.drain(AT_ONCE)
        if size < 100_000:
            answer = await client.answer()
        await answer.read()
        await nothing_left(gw, upstream)
    if size < 100_000:
        assert (answer.status, answer.json()["error"]["code"]) == (503, "draining")
    else:
        assert answer.end in {"cut", "reset"}


async def test_drain_ends_a_stream_that_waits_for_redis(upstream, private_valkey):
    """A binding under way is bounded by itself; what waited for it is not lost."""
    rid = wire.new_id()
    events = wire.stream_events(rid)
    upstream.on("POST", "/v1/responses", scripts.cut_stream(events, len(b"".join(events[:4])), gate=asyncio.Event()))
    bindings = {"ack_timeout": 0.3}
    async with gateway(config(upstream, bindings=bindings), redis_url=private_valkey.url) as gw, gw.connect() as client:
        private_valkey.hang()
        await ask(client, STREAMED)
        (exchange,) = await eventually(lambda: gw.app._handlers.active)
        await eventually(lambda: relay_of(exchange) and relay_of(exchange)._binding)
        await gw.app.drain(AT_ONCE)
        private_valkey.resume()
        answer = await client.answer()
        await answer.read()
        upstream.requests[0].abort()
    assert answer.body.startswith(events[0])
    assert answer.events()[-1].name == "response.failed"
    assert len(private_valkey.keys()) == 1
