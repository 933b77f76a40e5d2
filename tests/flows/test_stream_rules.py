"""Rules of the stream: an id is bound before its bytes leave, bytes are untouched, only whole events are followed."""

import asyncio
import contextlib
import itertools

import orjson
import pytest

from tests.flows.calls import PLAIN, STREAMED, ask, create, nothing_left, relay_of, stream_ends, timed
from tests.rig import scripts, wire
from tests.rig.client import comments
from tests.rig.eventually import eventually, standstill
from tests.rig.gateway import bearer, gateway
from tests.rig.http1 import chunk
from tests.rig.settings import ALICE_KEY, config

SLOW_REDIS = {"ack_timeout": 20}
"""Long enough for a test to look at what waits for Redis; the test lets Redis go on."""
QUICK_REDIS = {"ack_timeout": 0.05}
LONG = {"instructions": "Be brief. " * 300_000}


def opened_late(rid):
    """Make a stream whose response is named late: comments and foreign events first, the id behind megabytes."""
    events = wire.stream_events(rid)
    created = orjson.loads(events[0].partition(b"data: ")[2])
    response = {**LONG, **created["response"]}
    data = orjson.dumps({"type": "response.created", "response": response, "sequence_number": 0})
    return [b"event: response.created\ndata: " + data + b"\n\n", *events[1:]]


def xai(rid):
    """Make a stream that begins as xAI's do, then with an event of a type nobody knows."""
    keepalives = [b": keepalive\n\n"] * 3 + [b'event: keepalive\ndata: {"type":"keepalive","sequence_number":0}\n\n']
    return [*keepalives, b'data: {"type":"surprise","response_id":null}\n\n', *wire.stream_events(rid)]


def crlf(rid):
    """Make a stream with the other line ends."""
    return [event.replace(b"\n", b"\r\n") for event in wire.stream_events(rid)]


def nameless(rid):
    """Make a stream without `event:` lines, and with `[DONE]`, as OpenRouter's are."""
    return [event.partition(b"\n")[2] for event in wire.stream_events(rid)] + [b"data: [DONE]\n\n"]


STREAMS = {"plain": wire.stream_events, "xai": xai, "crlf": crlf, "nameless": nameless, "late": opened_late}
WAYS = {f"{name}-{size}": (make, size) for name, make in STREAMS.items() for size in (1, 7, None)}
WAYS |= {"late-1": (opened_late, 7_000), "late-7": (opened_late, 70_001)}
"""Every stream in chunks of that many bytes, or an event a chunk; megabytes in larger ones."""


async def test_stream_withholds_the_id_until_it_is_bound(upstream, private_valkey):
    """While Redis is silent no byte of a response's id is out, however its event is cut and whatever precedes it."""
    made = {way: make(wire.new_id()) for way, (make, _) in WAYS.items()}

    async def script(exchange):
        await exchange.body()
        way = exchange.json()["model"]
        await scripts.sse_answer(made[way], size=WAYS[way][1])(exchange)

    async def watch(gw, way, look):
        async with gw.connect() as client:
            await ask(client, {**STREAMED, "model": way})
            await look.wait()
            early = b"resp_" in client.stream._buffer
            private_valkey.resume()
            answer = await client.answer()
            await answer.read_until(b"resp_")
            bound = len(private_valkey.keys())
            return early, bound, await answer.read() == b"".join(made[way])

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream, bindings=SLOW_REDIS), redis_url=private_valkey.url) as gw:
        private_valkey.hang()
        look = asyncio.Event()
        watching = [asyncio.create_task(watch(gw, way, look)) for way in WAYS]
        active = gw.app._handlers.active
        await upstream.received(len(WAYS))
        await eventually(lambda: all(relay_of(one) and relay_of(one)._binding for one in active))
        await standstill(lambda: sum(exchange.stream.received for exchange in upstream.requests))
        look.set()
        seen = dict(zip(WAYS, await asyncio.gather(*watching), strict=True))
    assert [way for way, (early, _, _) in seen.items() if early] == []
    assert [way for way, (_, bound, _) in seen.items() if not bound] == []
    assert [way for way, (_, _, same) in seen.items() if not same] == []
    assert len(private_valkey.keys()) == len(WAYS)


async def test_stream_shows_what_comes_before_the_response_while_the_binding_waits(upstream, private_valkey):
    """Comments carry no id: they need not wait."""
    rid = wire.new_id()
    gate = asyncio.Event()
    upstream.on(
        "POST", "/v1/responses", scripts.sse_answer([b": hello\n\n", *wire.stream_events(rid)], gates={1: gate})
    )
    async with (
        gateway(config(upstream, bindings=SLOW_REDIS), redis_url=private_valkey.url) as gw,
        gw.connect() as client,
    ):
        private_valkey.hang()
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_until(b": hello\n\n")
        gate.set()
        await standstill(lambda: client.stream.received)
        assert not client.stream.buffered
        private_valkey.resume()
        await answer.read()
        assert private_valkey.keys()


async def test_json_withholds_its_end_until_the_id_is_bound(upstream, private_valkey):
    """A client can do nothing with an object that has not ended, small or large, with a length or in chunks."""
    ways = list(itertools.product(("Hi.", "x" * 200_000), ("length", "chunked")))
    bodies = [orjson.dumps(wire.response_object(wire.new_id(), text)) for text, _ in ways]
    answers = [scripts.json_answer(body, framing=framing) for body, (_, framing) in zip(bodies, ways, strict=True)]

    async def script(exchange):
        await exchange.body()
        await answers[int(exchange.json()["model"])](exchange)

    upstream.on("POST", "/v1/responses", script)
    async with contextlib.AsyncExitStack() as stack:
        gw = await stack.enter_async_context(
            gateway(config(upstream, bindings=SLOW_REDIS), redis_url=private_valkey.url)
        )
        clients = [await stack.enter_async_context(gw.connect()) for _ in ways]
        private_valkey.hang()
        for number, client in enumerate(clients):
            await ask(client, {**PLAIN, "model": str(number)})
        await upstream.received(len(ways))
        await standstill(lambda: sum(client.stream.received for client in clients))
        early = [b'"provider":"openai"}' in client.stream._buffer for client in clients]
        private_valkey.resume()
        got = [await (await client.answer()).read() for client in clients]
    assert early == [False] * len(ways)
    assert got == [body[:-1] + b',"provider":"openai"}' for body in bodies]
    assert len(private_valkey.keys()) == len(ways)


@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
async def test_answer_goes_on_when_redis_stays_silent(body, upstream, private_valkey):
    """After a bounded wait the response passes, a counter says so, and the binding arrives when Redis is back."""
    rid = wire.new_id()
    events = wire.stream_events(rid)
    good = scripts.sse_answer(events) if "stream" in body else scripts.json_answer(wire.response_object(rid))
    upstream.on("POST", "/v1/responses", good)
    async with gateway(config(upstream, bindings=QUICK_REDIS), redis_url=private_valkey.url) as gw:
        private_valkey.hang()
        answer = await create(gw, body)
        assert (answer.status, answer.end) == (200, "complete")
        assert rid.encode() in answer.body
        assert await gw.metric("responses_proxy_redis_operations_total", operation="bind", outcome="error") >= 1
        assert await gw.metric("responses_proxy_binding_queue") == 1
        private_valkey.resume()
    assert len(private_valkey.keys()) == 1


@pytest.mark.parametrize(
    ("fields", "keys"), [({"store": False}, 0), ({"store": True}, 1), ({"store": None}, 1), ({}, 1)], ids=str
)
@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
async def test_response_is_bound_unless_it_is_not_stored(fields, keys, streamed, upstream, valkey):
    """What the provider does not keep nobody can ask for."""
    rid = wire.new_id()
    good = scripts.sse_answer(wire.stream_events(rid)) if streamed else scripts.json_answer(wire.response_object(rid))
    upstream.on("POST", "/v1/responses", good)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, {**PLAIN, "stream": streamed, **fields})
        assert rid.encode() in answer.body
        assert len(valkey.keys()) == keys


@pytest.mark.parametrize(("make", "size"), WAYS.values(), ids=WAYS.keys())
async def test_stream_is_what_the_provider_sent(make, size, upstream, valkey):
    """To the byte, however it was cut: comments, keep-alives, unknown events, line ends, `[DONE]`."""
    events = make(wire.new_id())
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, size=size))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        assert await stream_ends(gw) == {"completed": 1}
        assert await gw.metric("responses_proxy_tokens_total", type="output") == wire.USAGE["output_tokens"]
    assert answer.body == b"".join(events)
    assert answer.header("Content-Type") == "text/event-stream; charset=utf-8"
    assert answer.header("Cache-Control") == "no-cache, no-transform"
    assert answer.header("X-Accel-Buffering") == "no"


async def test_events_behind_the_terminal_one_pass(upstream, valkey):
    """An error frame after `response.failed` is the provider's to send; the stream ends where it ends."""
    error = wire.event("error", 9, error={"type": "server_error", "code": "quota", "message": "Out.", "param": None})
    events = [*wire.stream_events(wire.new_id(), end="failed"), error, b": bye\n\n", b"data: no end"]
    gates = {len(events) - 1: asyncio.Event()}
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, gates=gates))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_until(b": bye\n\n")
        gates[len(events) - 1].set()
        assert await answer.read() == b"".join(events)
        assert await stream_ends(gw) == {"failed": 1}


async def test_error_event_in_place_of_a_response_is_the_end(upstream, valkey):
    """It is passed as it is, and counted as the provider's error; nothing is added to it."""
    error = wire.event("error", 0, error={"type": "server_error", "code": "quota", "message": "Out.", "param": None})
    upstream.on("POST", "/v1/responses", scripts.sse_answer([error]))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        assert await stream_ends(gw) == {"upstream_error": 1}
        assert await gw.metric("gen_ai_client_operation_duration_seconds_count", error_type="quota") == 1
    assert (answer.body, answer.end) == (error, "complete")


async def test_terminal_event_closes_the_stream_when_the_provider_does_not(upstream, valkey, monkeypatch):
    """The client has all there is: it need not wait for a socket that stays open."""
    monkeypatch.setattr("proxy.relay.TERMINAL_GRACE", 0.05)
    events = wire.stream_events(wire.new_id())
    gate = asyncio.Event()
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, gates={len(events): gate}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        for _ in range(2):
            await ask(client, STREAMED)
            answer = await client.answer()
            assert await answer.read() == b"".join(events)
            assert answer.end == "complete"
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {"completed": 2}
    gate.set()
    assert [request.connection for request in upstream.requests] == [1, 2]


async def test_terminal_event_closes_the_stream_also_when_the_provider_goes_on_saying_nothing(
    upstream, valkey, monkeypatch
):
    """Comments that keep a connection alive are no reason to keep the client."""
    monkeypatch.setattr("proxy.relay.TERMINAL_GRACE", 0.2)
    events = wire.stream_events(wire.new_id())

    async def script(exchange):
        await exchange.body()
        await exchange.start(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])
        await exchange.send(*map(chunk, events))
        while not exchange.closed.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(exchange.closed.wait(), 0.05)
            exchange.write(chunk(b": still here\n\n"))

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await asyncio.wait_for(create(gw, STREAMED), 5)
        await nothing_left(gw, upstream)
    assert answer.end == "complete"
    assert answer.body.replace(b": still here\n\n", b"") == b"".join(events)


async def test_provider_has_time_for_what_follows_the_terminal_event(upstream, valkey):
    """`[DONE]` may come in a piece of its own."""
    events = [*wire.stream_events(wire.new_id()), b"data: [DONE]\n\n"]
    gate = asyncio.Event()
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, gates={len(events) - 1: gate}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_until(b"response.completed")
        gate.set()
        assert await answer.read() == b"".join(events)
        await nothing_left(gw)
        assert gw.app._upstreams["main"].connections() == {"active": 0, "idle": 1}


async def test_keep_alive_comments_stand_between_events_only(upstream, valkey):
    """After a silence, never inside an event that has begun; without them the stream is the provider's."""
    events = wire.stream_events(wire.new_id())
    whole = b"".join(events)
    half = len(events[0]) // 2
    pieces = [events[0][:half], events[0][half:] + events[1], *events[2:]]
    gates = {at: asyncio.Event() for at in (0, 1, 2, 3)}
    upstream.on("POST", "/v1/responses", scripts.sse_answer(pieces, gates=gates))
    async with (
        gateway(config(**timed(upstream, keep_alive_comment=0.02)), redis_url=valkey.url) as gw,
        gw.connect() as client,
    ):
        await ask(client, STREAMED)
        answer = await client.answer()
        for gate in gates.values():
            said = len(comments(answer.body))
            while len(comments(answer.body)) < said + 2:
                assert await answer.read_piece()
            gate.set()
        await answer.read()
    assert set(comments(answer.body)) == {" keep-alive"}
    assert answer.body.replace(b": keep-alive\n\n", b"") == whole
    assert [event.json()["sequence_number"] for event in answer.events()] == list(range(len(events)))


async def test_keep_alive_comments_stay_out_of_an_event_too_large_to_hold(upstream, valkey):
    """Its beginning is out: only its end may follow."""
    rid = wire.new_id()
    events = wire.stream_events(rid, ["x" * 20_000])
    whole = b"".join(events)
    cut = len(b"".join(events[:4])) + 10_000
    gate = asyncio.Event()
    upstream.on("POST", "/v1/responses", scripts.sse_answer([whole[:cut], whole[cut:]], gates={1: gate}))
    sections = {**timed(upstream, keep_alive_comment=0.02), "limits": {"look_ahead_bytes": 1024}}
    async with gateway(config(**sections), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        while answer.size < cut:
            await answer.read_piece()
        await standstill(lambda: client.stream.received)
        gate.set()
        assert await answer.read() == whole


@pytest.mark.parametrize("text", ["Hi.", "x" * 200_000], ids=["small", "large"])
async def test_keep_alive_comments_stay_out_of_json(text, upstream, valkey):
    """There is no place for one."""
    body = orjson.dumps(wire.response_object(wire.new_id(), text))
    gate = asyncio.Event()

    async def script(exchange):
        await exchange.body()
        await exchange.start(200, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        await exchange.send(body[:500])
        await gate.wait()
        await exchange.send(body[500:])

    upstream.on("POST", "/v1/responses", script)
    configured = config(**timed(upstream, keep_alive_comment=0.02))
    async with gateway(configured, redis_url=valkey.url) as gw, gw.connect() as client:
        await client.request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json=PLAIN)
        await upstream.received()
        await standstill(lambda: client.stream.received)
        gate.set()
        answer = await client.answer()
        assert await answer.read() == body[:-1] + b',"provider":"openai"}'
