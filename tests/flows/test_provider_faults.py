"""Providers that die: before an answer, inside a stream, inside a JSON body. Nothing hangs, nothing ends politely."""

import asyncio
import itertools

import orjson
import pytest
from openai.types.responses import ResponseErrorEvent, ResponseFailedEvent

from tests.flows.calls import PLAIN, STREAMED, ask, create, log_lines, nothing_left, stream_ends
from tests.rig import scripts, wire
from tests.rig.gateway import gateway
from tests.rig.http1 import chunk
from tests.rig.settings import config

BODIES = pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
ENDINGS = pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
SMALL_LIMITS = {"look_ahead_bytes": 1024}
HUGE = "x" * 200_000


def failed_event(events, rid):
    """Take the last event for what the gateway has to write: `response.failed`, whole, next in number."""
    *before, last = events
    assert last.name == "response.failed"
    failed = ResponseFailedEvent.model_validate_json(last.data)
    assert failed.response.id == rid
    assert failed.response.status == "failed"
    assert failed.response.error.code == "server_error"
    assert failed.sequence_number == before[-1].json()["sequence_number"] + 1
    assert last.json()["response"].keys() >= wire.response_object(rid).keys() - {"completed_at"}
    return failed


@BODIES
@pytest.mark.parametrize(
    ("script", "code"),
    [
        (scripts.no_answer(), "upstream_disconnected"),
        (scripts.no_answer(reset=True), "upstream_disconnected"),
        (scripts.raw_answer(b"HTTP/1.1 200 OK\r\nContent-Ty", close=True), "upstream_disconnected"),
        (scripts.raw_answer(b"+OK POP3 ready\r\n\r\n"), "upstream_bad_answer"),
        (scripts.raw_answer(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"), "upstream_bad_answer"),
        (scripts.raw_answer(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n"), "upstream_bad_answer"),
    ],
    ids=["closed", "reset", "head cut", "not http", "no length", "huge head"],
)
async def test_create_is_answered_502_when_no_answer_comes(script, code, body, upstream, valkey, capfd):
    """The client may not believe that another try is safe: the provider may have acted."""
    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, body)
        await nothing_left(gw, upstream)
        assert await gw.metric("responses_proxy_requests_total", code="502") == 1
        assert await stream_ends(gw) == {}
    assert (answer.status, answer.end) == (502, "complete")
    assert answer.json()["error"]["code"] == code
    assert answer.header("x-should-retry") == "false"
    assert len(upstream.requests) == 1
    assert [line["error_type"] for line in log_lines(capfd)] == [code]


@BODIES
async def test_create_is_answered_502_when_the_provider_refuses(body, upstream, valkey, capfd):
    """Nothing was sent, so the client may try again, and is served once the provider is back."""
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object("resp_1")))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        await upstream.refuse()
        answer = await create(gw, body)
        assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_connect_failed")
        assert answer.header("x-should-retry") == "true"
        upstream.accept()
        assert (await create(gw, body)).status == 200
    assert [line.get("error_type") for line in log_lines(capfd)] == ["upstream_connect_failed", None]


async def test_create_is_answered_502_when_connections_are_reset_at_once(upstream, valkey):
    """A connection that was new is not tried a second time."""
    upstream.reset_on_accept = True
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
        await nothing_left(gw)
    assert answer.status == 502
    assert answer.json()["error"]["code"] in {"upstream_disconnected", "upstream_connect_failed"}
    assert upstream.connections == 1


@ENDINGS
@pytest.mark.parametrize("events_before", [1, 4, 6])
@pytest.mark.parametrize("bytes_after", [0, 1, 30])
async def test_stream_ends_with_response_failed_when_it_is_cut(
    events_before, bytes_after, reset, upstream, valkey, capfd
):
    """Between two events or inside one: whole events pass, then comes one that every client understands."""
    rid = wire.new_id()
    events = wire.stream_events(rid)
    passed = b"".join(events[:events_before])
    upstream.on("POST", "/v1/responses", scripts.cut_stream(events, len(passed) + bytes_after, reset=reset))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read()
        assert await client.ended() == "closed"
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {"upstream_cut": 1}
    assert (answer.status, answer.end) == (200, "complete")
    assert answer.body.startswith(passed)
    assert len(answer.events()) == events_before + 1
    failed_event(answer.events(), rid)
    (line,) = log_lines(capfd)
    assert (line["status"], line["end"], line["response_id"]) == (200, "upstream_cut", rid)


async def test_stream_that_is_cut_is_a_failed_response_to_the_official_client(upstream, valkey, alice):
    """The SDK hands the failure out as an event of its own type, with everything in its place."""
    rid = wire.new_id()
    events = wire.stream_events(rid, instructions="Be brief.", metadata={"k": "v"})
    upstream.on("POST", "/v1/responses", scripts.cut_stream(events, len(b"".join(events[:5]))))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        stream = await alice(gw).responses.create(model="gpt-4o-mini", input="hello", stream=True)
        seen = [event async for event in stream]
    assert [event.sequence_number for event in seen] == list(range(6))
    assert isinstance(seen[-1], ResponseFailedEvent)
    response = seen[-1].response
    assert (response.id, response.status, response.error.code) == (rid, "failed", "server_error")
    assert (response.instructions, response.metadata, response.output) == ("Be brief.", {"k": "v"}, [])


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_stream_ends_with_response_failed_when_it_has_no_terminal_event(framing, upstream, valkey):
    """However properly the provider closed, a response that was not finished is not finished."""
    rid = wire.new_id()
    events = wire.stream_events(rid)[:-1]
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, framing=framing))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        assert await stream_ends(gw) == {"upstream_cut": 1}
    assert answer.body.startswith(b"".join(events))
    failed_event(answer.events(), rid)


@pytest.mark.parametrize(
    "garbage",
    [b"not a length\r\n", b"5\r\nab", b"-1\r\n\r\n", b"fffffffffffffffff\r\n", b"0\r\nbad trailer without end"],
    ids=["no length", "short chunk", "negative", "overflow", "trailer"],
)
async def test_stream_ends_with_response_failed_when_chunks_are_garbage(garbage, upstream, valkey):
    """Framing that breaks is a provider that died."""
    rid = wire.new_id()
    events = wire.stream_events(rid)[:3]
    arrived = asyncio.Event()

    async def script(exchange):
        await exchange.body()
        await exchange.start_stream()
        await exchange.send(*(chunk(event) for event in events))
        await arrived.wait()
        await exchange.send(garbage)
        exchange.close()

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_events(3)
        arrived.set()
        await answer.read()
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {"upstream_cut": 1}
    assert answer.body.startswith(b"".join(events))
    failed_event(answer.events(), rid)


@pytest.mark.parametrize("sent", [b"", b": hello\n", b"event: response.created\nda"], ids=["nothing", "line", "cut"])
@ENDINGS
async def test_stream_is_answered_502_when_it_dies_before_any_event(sent, reset, upstream, valkey, capfd):
    """No byte has reached the client, so the status can still tell."""
    upstream.on("POST", "/v1/responses", scripts.cut_stream([sent], len(sent), reset=reset))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {"upstream_cut": 1}
        assert await gw.metric("responses_proxy_requests_total", code="502") == 1
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_bad_answer")
    assert [line["status"] for line in log_lines(capfd)] == [502]


async def test_stream_ends_with_an_error_event_when_it_dies_before_the_response_was_named(upstream, valkey):
    """After a comment there is no response to fail; an error event is what is left."""
    upstream.on("POST", "/v1/responses", scripts.cut_stream([b": hello\n\n"], 9))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        assert await stream_ends(gw) == {"upstream_cut": 1}
    assert answer.body.startswith(b": hello\n\n")
    (event,) = answer.events()
    assert (event.name, event.json()["sequence_number"]) == ("error", 0)
    assert event.json()["error"]["code"] == "server_error"
    assert ResponseErrorEvent.model_construct(**event.json()).type == "error"


@ENDINGS
async def test_stream_is_broken_off_when_it_dies_inside_an_event_too_large_to_hold(reset, upstream, valkey, capfd):
    """Half an event is out: another cannot be placed, so the connection breaks and the client knows."""
    rid = wire.new_id()
    events = wire.stream_events(rid, [HUGE])
    cut = len(b"".join(events[:4])) + 100_000
    upstream.on("POST", "/v1/responses", scripts.cut_stream(events, cut, reset=reset))
    async with gateway(config(upstream, limits=SMALL_LIMITS), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {"upstream_cut": 1}
    assert answer.end in {"cut", "reset"}
    assert b"".join(events).startswith(answer.body)
    assert [line["end"] for line in log_lines(capfd)] == ["upstream_cut"]


async def test_stream_ends_with_response_failed_when_it_dies_behind_a_large_event(upstream, valkey):
    """An event that passed in pieces and has ended leaves a place, and its number counts."""
    rid = wire.new_id()
    events = wire.stream_events(rid, [HUGE])[:5]
    upstream.on("POST", "/v1/responses", scripts.cut_stream(events, len(b"".join(events))))
    async with gateway(config(upstream, limits=SMALL_LIMITS), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
    assert answer.body.startswith(b"".join(events))
    failed_event(answer.events(), rid)


@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
async def test_stream_is_whole_when_the_connection_dies_behind_the_terminal_event(end, upstream, valkey):
    """What the provider said last is the end, whatever becomes of its connection."""
    events = wire.stream_events(wire.new_id(), end=end)
    upstream.on("POST", "/v1/responses", scripts.cut_stream(events, len(b"".join(events)), reset=True))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        await nothing_left(gw, upstream)
        assert await stream_ends(gw) == {end: 1}
    assert (answer.body, answer.end) == (b"".join(events), "complete")


SIZES = pytest.mark.parametrize("text", ["Hi.", HUGE], ids=["small", "large"])


@SIZES
@ENDINGS
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_json_never_ends_cleanly_when_it_is_cut(text, reset, framing, upstream, valkey, capfd):
    """A small body is told as an error; of a large one the head is out, so its connection breaks."""
    body = orjson.dumps(wire.response_object(wire.new_id(), text))
    cut = body[: len(body) - 10]
    framed = [b"Content-Length: %d\r\n\r\n" % len(body), cut]
    if framing == "chunked":
        framed = [b"Transfer-Encoding: chunked\r\n\r\n", chunk(cut)]

    async def script(exchange):
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", *framed)
        exchange.abort() if reset else exchange.close()

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
        await nothing_left(gw, upstream)
    if text is HUGE or framing == "chunked":
        assert answer.end in {"cut", "reset"} or answer.status == 502
    else:
        assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_bad_answer")
    assert not body.startswith(answer.body) or answer.end != "complete"
    assert not valkey.keys()
    (line,) = log_lines(capfd)
    assert line["error_type"]


@SIZES
async def test_json_never_ends_cleanly_when_the_connection_was_its_only_end(text, upstream, valkey):
    """Without a length the end of the connection ends the body; an object still open then was cut."""
    body = orjson.dumps(wire.response_object(wire.new_id(), text))
    head = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
    upstream.on("POST", "/v1/responses", scripts.raw_answer(head, body[:-10], close=True))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
        await nothing_left(gw, upstream)
    assert answer.status == 502 or answer.end in {"cut", "reset"}
    assert not valkey.keys()


@pytest.mark.parametrize("failing", list(itertools.product([PLAIN, STREAMED], [False, True])), ids=str)
async def test_next_request_is_served_after_a_fault(failing, upstream, valkey):
    """Neither the pool nor the client's connection is poisoned by what went wrong."""
    body, reset = failing
    rid = wire.new_id()
    good = scripts.json_answer(wire.response_object(rid))
    upstream.on("POST", "/v1/responses", good, scripts.no_answer(reset=reset), good)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        for expected in (200, 200, 200):
            await ask(client, body)
            answer = await client.answer()
            await answer.read()
            assert answer.status == expected, answer.body
    assert len(upstream.requests) == 4
