"""The scripted upstream is proven here: it records what was sent, and misbehaves on the wire as asked."""

import asyncio
import socket

import pytest

from tests.rig import scripts, wire
from tests.rig.client import connect, fetch, render_request
from tests.rig.connection import PeerGone
from tests.rig.eventually import eventually, standstill
from tests.rig.upstream import Upstream, blackhole

PATH = "/v1/responses"


@pytest.fixture
def events():
    return wire.stream_events("resp_1")


async def post(upstream, **request):
    return await fetch(upstream.port, "POST", PATH, **({"json": {}} | request))


# What the upstream records


async def test_upstream_records_the_request_as_it_was_sent(upstream):
    """Target, header case and order, and body are kept byte for byte."""
    upstream.on("POST", "/v1/*", scripts.json_answer({}))
    sent = render_request("POST", "/v1/a%2Fb?include%5B%5D=x", headers=[("x-B", "1"), ("X-a", "2")], body=b"{ }")
    async with connect(upstream.port) as client:
        await client.send(sent)
        assert (await client.answer()).status == 200
    request = upstream.requests[0]
    assert request.head.raw + request.received == sent
    assert (request.target, request.path, request.query) == (
        "/v1/a%2Fb?include%5B%5D=x",
        "/v1/a%2Fb",
        "include%5B%5D=x",
    )
    assert request.headers[-2:] == [("x-B", "1"), ("X-a", "2")]
    assert request.header("X-B") == "1"
    assert request.complete


async def test_upstream_reads_a_chunked_request_body(upstream):
    """Chunk framing is removed from `received` and kept in the body's `raw`."""
    upstream.on("POST", PATH, scripts.json_answer({}))
    framed = b'3;ext=1\r\n{"a\r\n4\r\n":1}\r\n0\r\nTrailer: x\r\n\r\n'
    await post(upstream, json=None, headers=[("Transfer-Encoding", "chunked")], body=framed)
    request = upstream.requests[0]
    assert request.json() == {"a": 1}
    assert (request.size, request.complete, bytes(request.request_body.raw)) == (7, True, framed)


async def test_upstream_counts_past_what_it_keeps(upstream, monkeypatch):
    """A large body is counted whole and kept up to a limit."""
    monkeypatch.setattr("tests.rig.http1.KEPT", 100_000)
    upstream.on("POST", PATH, scripts.json_answer({}))
    await post(upstream, json=None, body=bytes(1_000_000))
    request = upstream.requests[0]
    assert (request.size, len(request.received), len(request.request_body.raw)) == (1_000_000, 100_000, 100_000)


async def test_upstream_sees_body_pieces_before_the_last_one_leaves(upstream):
    """A script reads an upload while it goes on."""
    seen = asyncio.Event()

    async def script(exchange):
        assert await exchange.body_piece() == b"ab"
        seen.set()
        await scripts.json_answer({})(exchange)

    upstream.on("POST", PATH, script)
    async with connect(upstream.port) as client:
        await client.send(render_request("POST", PATH, headers=[("Content-Length", "4")], body=b"ab"))
        await seen.wait()
        assert not upstream.requests[0].complete
        await client.send(b"cd")
        assert (await client.answer()).status == 200
    assert upstream.requests[0].received == b"abcd"


async def test_upstream_tells_a_cut_upload_from_a_whole_one(upstream):
    """A client that leaves in the middle of its body ends the script and leaves the exchange incomplete."""
    upstream.on("POST", PATH, scripts.json_answer({}))
    async with connect(upstream.port) as client:
        await client.send(render_request("POST", PATH, headers=[("Content-Length", "4")], body=b"ab"))
        request = await upstream.received()
        await eventually(lambda: request.received == b"ab")
        client.abort()
        await request.finished.wait()
    assert not request.complete
    assert request.stream.reset


async def test_upstream_counts_connections_and_requests_on_each(upstream):
    """Keep-alive reuse shows in the connection's number and the count served on it."""
    upstream.on("GET", "/", scripts.empty_answer())
    async with connect(upstream.port) as first, connect(upstream.port) as second:
        for client in (first, first, second):
            await client.request("GET", "/")
            assert (await client.answer()).status == 200
        assert [(x.connection, x.served) for x in upstream.requests] == [(1, 0), (1, 1), (2, 0)]
        await eventually(lambda: upstream.idle_connections == 2)
        assert (upstream.connections, upstream.open_connections) == (2, 2)
    await eventually(lambda: upstream.open_connections == 0)


async def test_upstream_runs_scripts_in_turn_and_repeats_the_last(upstream):
    """Several scripts for one path answer one request each; what was said later wins."""
    upstream.on("POST", "/v1/*", scripts.empty_answer(500))
    upstream.on("POST", PATH, scripts.empty_answer(201), scripts.empty_answer(202))
    assert [(await post(upstream)).status for _ in range(3)] == [201, 202, 202]
    assert (await fetch(upstream.port, "POST", "/v1/other")).status == 500


async def test_upstream_answers_418_to_what_no_script_foresaw(upstream):
    """An unforeseen request is named in a status no gateway makes up."""
    answer = await fetch(upstream.port, "GET", "/nowhere?a=1")
    assert (answer.status, answer.json()["error"]["message"]) == (418, "no script for GET /nowhere?a=1")


async def test_upstream_fails_the_test_when_a_script_fails():
    """An assertion in a script is not lost."""

    async def script(exchange):
        assert exchange.method == "PUT"

    upstream = await Upstream().__aenter__()
    upstream.on("POST", PATH, script)
    with pytest.raises(PeerGone):
        await post(upstream)
    with pytest.raises(ExceptionGroup) as failed:
        await upstream.__aexit__()
    assert isinstance(failed.value.exceptions[0], AssertionError)


# How answers are framed, and how they end


@pytest.mark.parametrize(("framing", "seen"), [("length", 7), ("chunked", "chunked"), ("close", "close")])
async def test_json_answer_arrives_in_each_framing(upstream, framing, seen):
    """The same body in each of HTTP's three framings."""
    upstream.on("POST", PATH, scripts.json_answer({"a": 1}, framing=framing))
    answer = await post(upstream)
    assert (answer.json(), answer.framing, answer.end) == ({"a": 1}, seen, "complete")


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [None, 1, 7])
async def test_sse_answer_arrives_in_each_framing_and_chunking(upstream, events, framing, size):
    """The same stream, whatever the chunks."""
    upstream.on("POST", PATH, scripts.sse_answer(events, framing=framing, size=size))
    answer = await post(upstream)
    assert (answer.body, answer.end) == (b"".join(events), "complete")
    if framing == "chunked":
        sizes = [len(event) for event in events] if size is None else [size]
        assert answer.raw.startswith(b"%x\r\n" % sizes[0])
        assert answer.raw.endswith(b"\r\n0\r\n\r\n")


async def test_sse_answer_waits_at_its_gates(upstream, events):
    """A piece behind a gate leaves when the gate opens; so does the end."""
    middle, end = asyncio.Event(), asyncio.Event()
    upstream.on("POST", PATH, scripts.sse_answer(events, gates={2: middle, len(events): end}))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        answer = await client.answer()
        await answer.read_events(2)
        assert await standstill(lambda: client.stream.received)
        assert (len(answer.events()), client.stream.buffered) == (2, 0)
        middle.set()
        assert len(await answer.read_events(len(events))) == len(events)
        await standstill(lambda: client.stream.received)
        assert (answer.end, client.stream.buffered) == (None, 0)
        end.set()
        assert await answer.read() == b"".join(events)
    assert answer.end == "complete"


@pytest.mark.parametrize("reset", [False, True])
async def test_cut_stream_ends_in_the_middle_of_an_event(upstream, events, reset):
    """The client gets every byte up to the cut, and no polite end."""
    gate = asyncio.Event()
    after = len(events[0]) + 20
    upstream.on("POST", PATH, scripts.cut_stream(events, after, reset=reset, gate=gate))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        answer = await client.answer()
        while answer.size < after:
            await answer.read_piece()
        gate.set()
        assert await answer.read() == b"".join(events)[:after]
    assert answer.end == ("reset" if reset else "cut")


@pytest.mark.parametrize("reset", [False, True])
async def test_cut_json_ends_before_its_promised_length(upstream, reset):
    """A Content-Length that is not kept."""
    gate = asyncio.Event()
    upstream.on("POST", PATH, scripts.cut_json({"a": "b"}, 4, reset=reset, gate=gate))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        answer = await client.answer()
        await answer.read_until(b'{"a"')
        gate.set()
        await answer.read()
    assert (answer.framing, answer.body, answer.end) == (9, b'{"a"', "reset" if reset else "cut")


@pytest.mark.parametrize("reset", [False, True])
async def test_no_answer_ends_without_a_byte(upstream, reset):
    """The request is taken and nothing comes back."""
    upstream.on("POST", PATH, scripts.no_answer(reset=reset))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        assert await client.ended() == ("reset" if reset else "closed")
    assert client.stream.received == 0
    assert upstream.requests[0].complete


async def test_html_and_empty_answers_are_what_they_say(upstream):
    """The answers of load balancers and of nobody."""
    upstream.on("POST", PATH, scripts.html_answer(502), scripts.empty_answer(503))
    html, empty = await post(upstream), await post(upstream)
    assert (html.status, html.header("content-type"), html.body[:6]) == (502, "text/html", b"<html>")
    assert (empty.status, empty.framing, empty.body, empty.end) == (503, 0, b"", "complete")


async def test_raw_answer_sends_what_is_not_http(upstream):
    """Exact bytes, then the end."""
    upstream.on("POST", PATH, scripts.raw_answer(b"\x16\x03", b"\x01", close=True))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        assert await client.stream.read_exactly(3) == b"\x16\x03\x01"
        assert await client.ended() == "closed"


async def test_silence_lasts_until_the_client_leaves(upstream):
    """A stalled provider says nothing and notices who hangs up."""
    upstream.on("POST", PATH, scripts.silence)
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        request = await upstream.received()
        await eventually(lambda: request.complete)
        assert await standstill(lambda: client.stream.received) == 0
        assert not request.closed.is_set()
        client.close()
        await request.closed.wait()
        await request.finished.wait()


async def test_gated_script_answers_once_the_gate_opens(upstream):
    """The first byte of an answer is the test's decision."""
    gate = asyncio.Event()
    upstream.on("POST", PATH, scripts.after(gate, scripts.json_answer({})))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        assert await standstill(lambda: client.stream.received) == 0
        gate.set()
        assert (await client.answer()).status == 200


# How connections fail


async def test_refusing_upstream_refuses_and_accepts_again_on_its_port(upstream):
    """New connections are refused, the open one is served, the port stays."""
    upstream.on("POST", PATH, scripts.json_answer({}))
    port = upstream.port
    async with connect(port) as early:
        await early.request("POST", PATH, json={})
        await early.answer()
        await upstream.refuse()
        with pytest.raises(ConnectionRefusedError):
            await post(upstream)
        await early.request("POST", PATH, json={})
        assert (await early.answer()).status == 200
        upstream.accept()
        assert upstream.port == port
        assert (await post(upstream)).status == 200


async def test_upstream_resets_on_accept(upstream):
    """The connection opens and is reset before a byte."""
    upstream.reset_on_accept = True
    async with connect(upstream.port) as client:
        assert await client.ended() == "reset"
    assert upstream.requests == []


async def test_blackhole_neither_opens_nor_refuses():
    """A connection attempt stays in the air."""
    with blackhole() as url, socket.socket() as attempt:
        attempt.settimeout(0.2)
        with pytest.raises(TimeoutError):
            attempt.connect(("127.0.0.1", int(url.rpartition(":")[2])))


async def test_idle_connections_close_and_busy_ones_do_not(upstream):
    """Only connections between two requests get the FIN."""
    gate = asyncio.Event()
    upstream.on("GET", "/", scripts.empty_answer())
    upstream.on("POST", PATH, scripts.after(gate, scripts.json_answer({})))
    async with connect(upstream.port) as idle, connect(upstream.port) as busy:
        await idle.request("GET", "/")
        await idle.answer()
        await busy.request("POST", PATH, json={})
        await upstream.received(2)
        await eventually(lambda: upstream.idle_connections == 1)
        upstream.close_idle_connections()
        assert await idle.ended() == "closed"
        gate.set()
        assert (await busy.answer()).status == 200


async def test_aborted_connections_are_reset(upstream, events):
    """A provider that falls over resets everything."""
    upstream.on("POST", PATH, scripts.sse_answer(events, gates={1: asyncio.Event()}))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        answer = await client.answer()
        await answer.read_events(1)
        upstream.abort_connections()
        await answer.read()
    assert answer.end == "reset"


async def test_connection_closes_right_after_an_answer_that_promised_more(upstream):
    """A pooled connection goes stale by a FIN nobody announced."""
    upstream.on("POST", PATH, scripts.then_close(scripts.json_answer({})))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        answer = await client.answer()
        await answer.read()
        assert (answer.end, answer.header("connection")) == ("complete", None)
        assert await client.ended() == "closed"


@pytest.mark.parametrize("reset", [False, True])
async def test_stale_connection_ends_on_its_second_request(upstream, reset):
    """A reused connection dies without a byte, a new one serves."""
    upstream.on("POST", PATH, scripts.stale_when_reused(scripts.json_answer({}), reset=reset))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        await (await client.answer()).read()
        received = client.stream.received
        await client.request("POST", PATH, json={})
        assert await client.ended() == ("reset" if reset else "closed")
        assert client.stream.received == received
    assert (await post(upstream)).status == 200
