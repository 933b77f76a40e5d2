"""Every wait for a provider has an end: connection, first byte, silence; so has the wait for a client that reads."""

import asyncio

import orjson
import pytest
from openai.types.responses import ResponseFailedEvent

from tests.flows.calls import PLAIN, STREAMED, ask, create, log_lines, nothing_left, stream_ends, timed
from tests.rig import chat, scripts, wire
from tests.rig.eventually import eventually
from tests.rig.gateway import bearer, gateway
from tests.rig.http1 import chunk
from tests.rig.settings import ALICE_KEY, config, provider
from tests.rig.upstream import blackhole

BODIES = pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
IDLE = {"idle": 0.1}
HUGE = "x" * 200_000


def stalling(head, *pieces):
    """Make a script that sends a head and chunks, then nothing until the gateway gives up."""

    async def script(exchange):
        await exchange.body()
        await exchange.start(200, head)
        await exchange.send(*pieces)
        await exchange.closed.wait()

    return script


def stalling_stream(*events):
    """Make a script that streams events and then falls silent."""
    head = [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")]
    return stalling(head, *map(chunk, events))


@BODIES
async def test_create_is_answered_504_when_no_connection_opens(body, valkey, capfd):
    """Nothing was sent, so the client may try again."""
    with blackhole() as url:
        main = provider(f"{url}/v1", timeouts={"connect": 0.1})
        async with gateway(config(providers={"main": main}), redis_url=valkey.url) as gw:
            answer = await create(gw, body)
            await nothing_left(gw)
            assert await gw.metric("responses_proxy_requests_total", code="504") == 1
    assert (answer.status, answer.json()["error"]["code"]) == (504, "upstream_connect_timeout")
    assert answer.header("x-should-retry") == "true"
    assert [line["error_type"] for line in log_lines(capfd)] == ["upstream_connect_timeout"]


@BODIES
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Ty", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_create_is_answered_504_when_no_first_byte_comes(said, body, upstream, valkey, capfd):
    """Half a head is no answer, nor is an interim one; the provider's connection is closed."""

    async def script(exchange):
        await exchange.body()
        await exchange.send(said)
        await exchange.closed.wait()

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(**timed(upstream, first_byte=0.1)), redis_url=valkey.url) as gw:
        answer = await create(gw, body)
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {}
    assert (answer.status, answer.json()["error"]["code"]) == (504, "upstream_first_byte_timeout")
    assert answer.header("x-should-retry") == "false"
    assert len(upstream.requests) == 1
    assert [line["error_type"] for line in log_lines(capfd)] == ["upstream_first_byte_timeout"]


async def test_create_is_not_sent_again_when_a_pooled_connection_stays_silent(upstream, valkey):
    """A provider that says nothing may be at work: silence is no sign of a stale connection."""
    good = scripts.json_answer(wire.response_object("resp_1"))
    upstream.on("POST", "/v1/responses", good, scripts.silence, good)
    async with gateway(config(**timed(upstream, first_byte=0.1)), redis_url=valkey.url) as gw:
        statuses = [(await create(gw, PLAIN)).status for _ in range(3)]
    assert statuses == [200, 504, 200]
    assert [request.connection for request in upstream.requests] == [1, 1, 2]


async def test_first_byte_is_not_waited_for_while_the_client_sends(upstream, valkey):
    """A slow upload is the client's time; the provider's begins with the end of the body."""
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object("resp_1")), scripts.silence)
    body = orjson.dumps(PLAIN)
    async with gateway(config(**timed(upstream, first_byte=0.1)), redis_url=valkey.url) as gw, gw.connect() as client:
        head = [*bearer(ALICE_KEY), ("x-tfy-provider-name", "main"), ("Content-Length", str(len(body)))]
        await client.request("POST", "/v1/responses", headers=head, body=body[:5])
        exchange = await upstream.received()
        assert (await create(gw, PLAIN)).status == 504
        assert not exchange.closed.is_set()
        await client.send(body[5:])
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("events_before", [1, 5])
@pytest.mark.parametrize("cut", [0, 20])
async def test_stream_ends_with_response_failed_when_the_provider_falls_silent(
    events_before, cut, upstream, valkey, capfd
):
    """Between two events or inside one; the provider's connection is closed."""
    rid = wire.new_id()
    events = wire.stream_events(rid)
    passed = events[:events_before]
    upstream.on("POST", "/v1/responses", stalling_stream(*passed, *([events[events_before][:cut]] if cut else [])))
    async with gateway(config(**timed(upstream, **IDLE)), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read()
        assert await client.ended() == "closed"
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {"idle_timeout": 1}
    assert answer.body.startswith(b"".join(passed))
    *_, last = answer.events()
    failed = ResponseFailedEvent.model_validate_json(last.data)
    assert (failed.response.id, failed.sequence_number) == (rid, events_before)
    assert [line["end"] for line in log_lines(capfd)] == ["idle_timeout"]


async def test_stream_is_answered_502_when_the_provider_falls_silent_before_any_event(upstream, valkey):
    """No byte has reached the client, so the status can still tell."""
    upstream.on("POST", "/v1/responses", stalling_stream())
    async with gateway(config(**timed(upstream, **IDLE)), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {"idle_timeout": 1}
    assert answer.status == 502


async def test_stream_goes_on_when_each_silence_is_short(upstream, valkey):
    """The bound is on silence, not on the whole: the gateway's own comments tell how long this one lasts."""
    pieces = [b": the provider's own\n\n", *wire.stream_events(wire.new_id())]
    gates = {number: asyncio.Event() for number in range(1, len(pieces))}
    upstream.on("POST", "/v1/responses", scripts.sse_answer(pieces, gates=gates))
    quick = timed(upstream, idle=0.3, keep_alive_comment=0.05)
    async with gateway(config(**quick), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        for number, gate in gates.items():
            while answer.body.count(b": keep-alive\n\n") < 2 * number:
                assert await answer.read_piece()
            gate.set()
        await answer.read()
    assert answer.body.replace(b": keep-alive\n\n", b"") == b"".join(pieces)


@pytest.mark.parametrize("kind", ["openai-chat-compatible", "openrouter"])
async def test_json_is_read_to_its_end_when_each_silence_is_short(kind, upstream, second_upstream, valkey):
    """Some keep a connection alive by white space while the model thinks; a stream beside it tells how long."""
    pieces = [b" "] * 5 + [orjson.dumps({**chat.completion(), **wire.response_object("gen-1")})]
    gates = [asyncio.Event() for _ in pieces]

    async def trickle(exchange):
        await exchange.body()
        await exchange.start(200, [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")])
        for gate, piece in zip(gates, pieces, strict=True):
            await exchange.send(chunk(piece))
            await gate.wait()
        await exchange.end_chunks()

    upstream.on("POST", "*", trickle)
    second_upstream.on("POST", "*", stalling_stream(b": begun\n\n", *wire.stream_events(wire.new_id())[:1]))
    slow = timed(second_upstream, keep_alive_comment=0.05)["providers"]["main"]
    providers = {"it": provider(upstream, kind=kind, timeouts={"idle": 0.3}), "clock": slow}
    served = config(providers=providers, default_provider="it")
    async with gateway(served, redis_url=valkey.url) as gw, gw.connect() as client, gw.connect() as beside:
        headers = [*bearer(ALICE_KEY), ("x-tfy-provider-name", "clock")]
        await beside.request("POST", "/v1/responses", headers=headers, json=STREAMED)
        clock = await beside.answer()
        await ask(client, PLAIN)
        for number, gate in enumerate(gates, 1):
            while clock.body.count(b": keep-alive\n\n") < 2 * number:
                assert await clock.read_piece()
            gate.set()
        answer = await client.answer()
        await answer.read()
    assert (answer.status, answer.json()["status"]) == (200, "completed")


@pytest.mark.parametrize("text", ["Hi.", HUGE], ids=["small", "large"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_json_never_ends_cleanly_when_the_provider_falls_silent(text, framing, upstream, valkey):
    """What can still be told is told; else the connection breaks."""
    body = orjson.dumps(wire.response_object(wire.new_id(), text))
    length = [("Content-Length", str(len(body)))] if framing == "length" else [("Transfer-Encoding", "chunked")]
    piece = body[:-10] if framing == "length" else chunk(body[:-10])
    upstream.on("POST", "/v1/responses", stalling([("Content-Type", "application/json"), *length], piece))
    async with gateway(config(**timed(upstream, **IDLE)), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
        await nothing_left(gw, upstream)
    assert answer.status == 502 or answer.end in {"cut", "reset"}


async def test_error_is_answered_502_when_the_provider_falls_silent_inside_it(upstream, valkey):
    """Half an error is none."""
    head = [("Content-Type", "application/json"), ("Content-Length", "100")]

    async def script(exchange):
        await exchange.body()
        await exchange.start(500, head)
        await exchange.send(b'{"error"')
        await exchange.closed.wait()

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(**timed(upstream, **IDLE)), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
        await nothing_left(gw, upstream)
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_bad_answer")


@pytest.mark.parametrize("kind", ["stream", "json", "text"])
async def test_client_that_never_reads_is_given_up(kind, upstream, valkey, capfd):
    """Its standstill is bounded as the provider's silence is, and both connections are closed."""
    block = b"x" * 16_384
    types = {"stream": "text/event-stream", "json": "application/json", "text": "text/plain"}
    first = {"stream": b"".join(wire.stream_events("resp_1")[:1]), "json": b'{"id":"', "text": b""}[kind]
    event = wire.event("response.output_text.delta", 1, delta="x" * 16_384) if kind == "stream" else block

    async def script(exchange):
        await exchange.body()
        await exchange.start(200, [("Content-Type", types[kind]), ("Transfer-Encoding", "chunked")])
        await exchange.chunk(first + event)
        while not exchange.closed.is_set():
            await exchange.chunk(event)

    upstream.on("POST", "/v1/responses", script)
    configured = config(**timed(upstream, idle=0.3))
    async with gateway(configured, redis_url=valkey.url) as gw, gw.connect(receive_buffer=4096) as client:
        await ask(client, STREAMED)
        await client.answer()
        client.hold()
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == ({"client_gone": 1} if kind == "stream" else {})
        client.release()
        assert await client.ended()
    assert len(log_lines(capfd)) == 1


async def test_client_that_reads_slowly_is_not_given_up(upstream, valkey):
    """Some progress within the bound is enough; the provider's silence meanwhile is the client's doing."""
    events = wire.stream_events(wire.new_id(), ["x" * 10_000] * 300)
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events))
    configured = config(**timed(upstream, idle=0.4))
    async with gateway(configured, redis_url=valkey.url) as gw, gw.connect(receive_buffer=4096) as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        client.hold()
        await eventually(lambda: upstream.requests[0].stream.blocked)
        client.release()
        await answer.read()
        assert answer.size == len(b"".join(events))
        assert answer.end == "complete"
        assert await stream_ends(gw) == {"completed": 1}
