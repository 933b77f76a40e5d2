"""A client that reads slowly slows the provider's socket, not the gateway's heap, and loses nothing."""

import asyncio

import orjson
import pytest

from tests.flows.calls import PLAIN, STREAMED, ask, create, nothing_left, relay_of, stream_ends
from tests.rig import scripts, wire
from tests.rig.eventually import eventually, standstill
from tests.rig.gateway import bearer, gateway
from tests.rig.settings import ALICE_KEY, config

BLOCK = b"x" * 65_536


def endless(kind, sent):
    """Make a script that writes a body of the kind in blocks for as long as they are taken, or until `sent` says so."""
    types = {"stream": "text/event-stream", "json": "application/json", "text": "text/plain"}
    first = {"stream": b"".join(wire.stream_events("resp_1")[:4]), "json": b'{"id":"resp_1","x":"', "text": b""}[kind]
    block = {"stream": wire.event("response.output_text.delta", 4, delta="x" * 65_000)}.get(kind, BLOCK)
    last = {"stream": wire.stream_events("resp_1")[-1], "json": b'"}', "text": b""}[kind]

    async def script(exchange):
        await exchange.body()
        await exchange.start(200, [("Content-Type", types[kind]), ("Transfer-Encoding", "chunked")])
        for piece in (first, *[block] * 200, last):
            sent.append(len(piece))
            if piece:
                await exchange.chunk(piece)
        await exchange.end_chunks()

    return script


@pytest.mark.parametrize("kind", ["stream", "json", "text"])
async def test_client_that_stops_reading_stops_the_provider(kind, upstream, valkey):
    """Both sockets stand still, with kilobytes in between; read on, everything arrives."""
    sent = []
    upstream.on("POST", "/v1/responses", endless(kind, sent))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect(receive_buffer=4096) as client:
        await ask(client, STREAMED if kind == "stream" else PLAIN)
        answer = await client.answer()
        client.hold()
        await standstill(lambda: sum(sent))
        assert upstream.requests[0].stream.blocked
        (exchange,) = gw.app._handlers.active
        assert exchange._downstream.paused
        held = relay_of(exchange)._answer.body._size + exchange._downstream._transport.get_write_buffer_size()
        assert held < 400_000
        client.release()
        await answer.read()
        await nothing_left(gw)
    spliced = len(b',"provider":"openai"') if kind == "json" else 0
    assert (answer.end, answer.size) == ("complete", sum(sent) + spliced)
    assert sum(sent) > 10_000_000


async def test_bytes_behind_the_terminal_event_wait_for_a_slow_client(upstream, valkey, monkeypatch):
    """The time a provider has to close is not taken from a client that has not read yet."""
    monkeypatch.setattr("proxy.relay.TERMINAL_GRACE", 0.1)
    rid = wire.new_id()
    tail = [b": %d\n\n" % number + b"x: " + BLOCK + b"\n\n" for number in range(20)]
    big = wire.stream_events(rid, ["x" * 100_000] * 40)
    upstream.on("POST", "/v1/responses", scripts.sse_answer([*big, *tail, b"data: [DONE]\n\n"]))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect(receive_buffer=4096) as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        client.hold()
        await eventually(lambda: gw.app._handlers.active)
        (exchange,) = gw.app._handlers.active
        while not relay_of(exchange)._tap.finished:
            client.release()
            await answer.read_piece()
            client.hold()
        await standstill(lambda: client.stream.received)
        assert exchange._downstream.paused
        client.release()
        await answer.read()
        assert await stream_ends(gw) == {"completed": 1}
    assert answer.size == len(b"".join([*big, *tail, b"data: [DONE]\n\n"]))
    assert answer.end == "complete"


async def test_slow_client_holds_up_nobody_else(upstream, valkey):
    """While one stream stands still, another runs."""
    sent = []
    upstream.on("POST", "/v1/responses", endless("stream", sent), scripts.sse_answer(wire.stream_events("resp_2")))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect(receive_buffer=4096) as client:
        await ask(client, STREAMED)
        await client.answer()
        client.hold()
        await standstill(lambda: sum(sent))
        answer = await create(gw, STREAMED)
        assert (answer.status, answer.end) == (200, "complete")


@pytest.mark.parametrize("kind", ["stream", "json"])
async def test_client_of_http_1_0_sees_that_an_answer_was_cut(kind, upstream, valkey):
    """Its answer ends with the connection: where that is no proper end, it is a reset."""
    gate = asyncio.Event()
    events = wire.stream_events("resp_1", ["x" * 20_000])
    cut = len(b"".join(events[:4])) + 10_000
    json = scripts.cut_json(wire.response_object("resp_1", "x" * 200_000), 100_000, gate=gate)
    upstream.on("POST", "/v1/responses", json if kind == "json" else scripts.cut_stream(events, cut, gate=gate))
    limits = {"look_ahead_bytes": 1024}
    async with gateway(config(upstream, limits=limits), redis_url=valkey.url) as gw, gw.connect() as client:
        asked = orjson.dumps(STREAMED if kind == "stream" else PLAIN)
        lines = [b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in bearer(ALICE_KEY)]
        head = b"POST /v1/responses HTTP/1.0\r\n" + b"".join(lines) + b"Content-Length: %d\r\n\r\n" % len(asked)
        await client.send(head + asked)
        answer = await client.answer()
        assert answer.framing == "close"
        await answer.read_piece()
        gate.set()
        await answer.read()
        assert answer.end == "reset"
