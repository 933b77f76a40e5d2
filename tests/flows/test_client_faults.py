"""Clients that vanish, stall, or send what is not HTTP: nothing hangs, nothing leaks, and the next one is served."""

import asyncio
import contextlib

import pytest

from tests.flows.calls import nothing_left, stream_ends
from tests.flows.exact import check_refusal, chunked, create, head
from tests.rig import scripts, wire
from tests.rig.client import render_request
from tests.rig.connection import PeerGone
from tests.rig.eventually import eventually
from tests.rig.gateway import bearer, gateway
from tests.rig.settings import ALICE_KEY, config

BODY = {"model": "gpt-4o-mini", "input": "hello"}
WAYS = ["close", "abort", "half_close"]
SMUGGLED = b"GET /v1/responses/smuggled HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice-key-0123456789\r\n\r\n"


async def all_gone(gw, *upstreams):
    """Wait until nothing is left of an exchange: not the client's connection, not the provider's."""
    await nothing_left(gw, *upstreams)
    await eventually(lambda: not gw.app._runner.server.connections)


async def check_next_is_served(gw):
    """Check that another client finds the gateway as ever."""
    assert (await gw.fetch("POST", "/v1/responses", json=BODY)).status == 200


async def answers(client):
    """Read every answer up to the connection's end."""
    read = []
    with contextlib.suppress(PeerGone):
        while True:
            read.append(await client.answer())
            await read[-1].read()
    return read


@pytest.fixture
def replying(upstream):
    """Give a provider that answers every create at once."""
    upstream.on("POST", "/v1/responses", scripts.json_answer({"id": "resp_1"}))
    return upstream


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sent", [b"", b"P", b"POST /v1/responses HTTP/1.1\r\nHost: x", create()[:-2]])
async def test_client_that_leaves_before_its_head_is_whole_is_forgotten(sent, way, replying, valkey):
    """There is no request, and no trace of one."""
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await client.send(sent)
            await eventually(lambda: gw.app._runner.server.connections)
            getattr(client, way)()
            await all_gone(gw, replying)
        assert not replying.requests
        await check_next_is_served(gw)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("framing", ["Content-Length: 9999", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("named", ["x-tfy-provider-name: main", "X-Title: none"])
async def test_client_that_leaves_during_its_upload_takes_the_request_along(named, framing, way, upstream, valkey):
    """The provider, where it has been reached, never has a whole request."""
    upstream.on("POST", "/v1/responses", scripts.json_answer({}))
    part = b'{"input":"abc'
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await client.send(create(named, framing), part if "Length" in framing else chunked(part))
            await eventually(lambda: gw.app._handlers.active)
            if named.endswith("main"):
                await upstream.received(1)
            getattr(client, way)()
            await all_gone(gw, upstream)
        assert [request.complete for request in upstream.requests] == [False] * named.endswith("main")
        await check_next_is_served(gw)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", [BODY, {**BODY, "stream": True}])
async def test_client_that_leaves_before_the_answer_stops_the_bill(body, way, upstream, valkey):
    """The provider sees its connection end; a client that ends its side of the connection counts as gone."""
    upstream.on("POST", "/v1/responses", scripts.silence, scripts.json_answer({}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await client.request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json=body)
            request = await upstream.received(1)
            await eventually(lambda: request.complete)
            getattr(client, way)()
            await all_gone(gw, upstream)
        assert request.complete
        await check_next_is_served(gw)


@pytest.mark.parametrize("way", WAYS)
async def test_client_that_leaves_in_the_middle_of_a_stream_stops_the_bill(way, upstream, valkey):
    """The provider's connection ends at once, and the stream counts as left by its client."""
    never = asyncio.Event()
    events = wire.stream_events("resp_1")
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, gates={3: never}), scripts.json_answer({}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await client.request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json={**BODY, "stream": True})
            await (await client.answer()).read_events(3)
            getattr(client, way)()
            await upstream.requests[0].closed.wait()
            never.set()
            await all_gone(gw, upstream)
        assert await stream_ends(gw) == {"client_gone": 1}
        await check_next_is_served(gw)


@pytest.mark.parametrize("way", WAYS)
async def test_client_that_leaves_right_after_the_last_event_had_its_answer(way, upstream, valkey):
    """Codex hangs up on it: that is success, and its tokens count."""
    never = asyncio.Event()
    events = wire.stream_events("resp_1")
    stream = scripts.sse_answer(events, gates={len(events): never})
    upstream.on("POST", "/v1/responses", stream, scripts.json_answer({}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await client.request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json={**BODY, "stream": True})
            await (await client.answer()).read_events(len(events))
            getattr(client, way)()
            await upstream.requests[0].closed.wait()
            never.set()
            await all_gone(gw, upstream)
        assert await stream_ends(gw) == {"completed": 1}
        assert await gw.metric("responses_proxy_tokens_total", type="output") == 7
        await check_next_is_served(gw)


async def test_client_that_stops_sending_its_head_is_told_so(replying, valkey):
    """408, on a new connection and on one that served before; a byte now and then does not help."""
    async with gateway(config(replying, limits={"header_timeout": 0.15}), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await client.send(create()[:-2])
            (answer,) = await answers(client)
            check_refusal(answer, 408, "request_timeout")
        async with gw.connect() as client:
            await client.request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json=BODY)
            assert (await (await client.answer()).read()).startswith(b"{")
            client.stream.write(b"POST /v1/responses HTTP/1.1\r\nX: ")
            await eventually(lambda: client.stream.write(b"a") or client.stream.buffered)
            (answer,) = await answers(client)
            check_refusal(answer, 408, "request_timeout")
        await all_gone(gw)
        await check_next_is_served(gw)


async def test_connection_that_brings_nothing_is_closed_without_a_word(replying, valkey):
    """An answer nobody asked for would be taken for that of the next request."""
    async with gateway(config(replying, limits={"header_timeout": 0.1}), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            assert await client.ended() == "closed"
            assert client.stream.received == 0
        await all_gone(gw)


async def test_kept_connection_outlives_the_time_a_head_may_take(replying, valkey):
    """Between two requests a connection may be idle for longer than a head may take."""
    settings = config(replying, limits={"header_timeout": 0.05})
    async with gateway(settings, redis_url=valkey.url) as gw, gw.connect() as client, gw.connect() as idle:
        for _ in range(2):
            await client.request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json=BODY)
            assert (await (await client.answer()).read()).startswith(b"{")
            # The other connection's end tells that more than a head's time has passed.
            await idle.ended()
        assert not client.stream.closed.is_set()


@pytest.mark.parametrize("framing", ["Content-Length: 9999", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("named", ["x-tfy-provider-name: main", "X-Title: none"])
async def test_client_that_stops_sending_its_body_is_told_so(named, framing, replying, valkey):
    """408, and the provider, where it has been reached, never has a whole request."""
    part = b'{"input":"abc'
    async with gateway(config(replying, limits={"body_timeout": 0.1}), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await client.send(create(named, framing), part if "Length" in framing else chunked(part))
            answer = await client.answer()
            await answer.read()
            check_refusal(answer, 408, "request_timeout")
            assert answer.header("Connection") == "close"
            await nothing_left(gw, replying)
        await all_gone(gw, replying)
        assert [request.complete for request in replying.requests] == [False] * named.endswith("main")
        await check_next_is_served(gw)


MALFORMED = {
    "not HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown method": head("BREW", "/v1/responses"),
    "method in lower case": head("post", "/v1/responses"),
    "unknown version": head("GET", "/v1/models", version="HTTP/3.5"),
    "raw bytes in the path": head("GET", "/v1/responses/\xff"),
    "raw bytes in the query": head("GET", "/v1/responses/a?b=\xe9"),
    "blank in the path": head("GET", "/v1/responses/a b"),
    "NUL in a header": head("GET", "/v1/models", "X: a\0b"),
    "blank before the colon": head("GET", "/v1/models", "X : a"),
    "folded header": head("GET", "/v1/models", "X: a", " b"),
    "header without a colon": head("GET", "/v1/models", "X"),
    "bare line feeds": head("GET", "/v1/models").replace(b"\r", b""),
    "no Host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "two Hosts": head("GET", "/v1/models", "Host: other"),
}
AMBIGUOUS = {
    "two lengths": create("Content-Length: 2", "Content-Length: 44") + b"{}",
    "one length twice": create("Content-Length: 2", "Content-Length: 2") + b"{}",
    "list of lengths": create("Content-Length: 2, 2") + b"{}",
    "negative length": create("Content-Length: -2") + b"{}",
    "signed length": create("Content-Length: +2") + b"{}",
    "hexadecimal length": create("Content-Length: 0x2") + b"{}",
    "no length": create("Content-Length: ") + b"{}",
    "length past 64 bits": create("Content-Length: 18446744073709551618") + b"{}",
    "length and chunks": create("Content-Length: 2", "Transfer-Encoding: chunked") + chunked(b"{}") + b"0\r\n\r\n",
    "chunks and length": create("Transfer-Encoding: chunked", "Content-Length: 2") + chunked(b"{}") + b"0\r\n\r\n",
    "chunked twice": create("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + chunked(b"{}") + b"0\r\n\r\n",
    "chunked in a list twice": create("Transfer-Encoding: chunked, chunked") + chunked(b"{}") + b"0\r\n\r\n",
    "chunked not last": create("Transfer-Encoding: chunked, gzip") + chunked(b"{}") + b"0\r\n\r\n",
    "unknown coding": create("Transfer-Encoding: xchunked") + chunked(b"{}") + b"0\r\n\r\n",
    "identity": create("Transfer-Encoding: identity") + b"{}",
    "hidden coding": create("Transfer-Encoding : chunked") + chunked(b"{}") + b"0\r\n\r\n",
    "vertical tab": create("Transfer-Encoding: \x0bchunked") + chunked(b"{}") + b"0\r\n\r\n",
    "no chunk size": create("Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n",
    "negative chunk": create("Transfer-Encoding: chunked") + b"-2\r\n{}\r\n0\r\n\r\n",
    "hexadecimal chunk": create("Transfer-Encoding: chunked") + b"0x2\r\n{}\r\n0\r\n\r\n",
    "chunk past 64 bits": create("Transfer-Encoding: chunked") + b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "chunk too short": create("Transfer-Encoding: chunked") + b"1\r\n{}\r\n0\r\n\r\n",
    "chunk too long": create("Transfer-Encoding: chunked") + b"3\r\n{}\r\n0\r\n\r\n",
    "bare line feed behind a size": create("Transfer-Encoding: chunked") + b"2\n{}\r\n0\r\n\r\n",
    "blank behind a size": create("Transfer-Encoding: chunked") + b"2 \r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_not_http_is_told_so(raw, replying, valkey):
    """400 in the shape every client parses, then the connection ends."""
    async with gateway(config(replying), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await client.send(raw)
            (answer,) = await answers(client)
            check_refusal(answer, 400, "malformed_request")
            assert answer.header("Connection") == "close"
        await all_gone(gw, replying)
        assert not replying.requests
        await check_next_is_served(gw)


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_framing_that_could_be_read_twice_is_refused(raw, upstream, valkey):
    """What follows it is nobody's request: the connection ends, and no provider hears of either."""
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(raw + SMUGGLED)
        (answer,) = await answers(client)
        check_refusal(answer, 400, "malformed_request")
        assert answer.header("Connection") == "close"
    assert not [request for request in upstream.requests if request.complete]
    assert "smuggled" not in "".join(request.target for request in upstream.requests)


async def test_body_longer_than_its_length_is_the_next_request(replying, valkey):
    """The length is what counts: what follows is read as HTTP, and refused if it is none."""
    async with gateway(config(replying), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(create("Content-Length: 2") + b"{}")
        first = await client.answer()
        await first.read()
        await client.send(b"garbage\r\n\r\n")
        (second,) = await answers(client)
    assert first.status == 200
    check_refusal(second, 400, "malformed_request")


@pytest.mark.parametrize("named", ["x-tfy-provider-name: main", "X-Title: none"])
@pytest.mark.parametrize("rest", [b"zz\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"-1\r\n", b"3\r\nabc0\r\n\r\n", b'2\r\n"}x'])
async def test_chunk_that_breaks_in_the_middle_ends_the_upload(rest, named, upstream, valkey):
    """One answer, at once: nobody waits for a body that can never come."""
    upstream.on("POST", "/v1/responses", scripts.json_answer({}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await client.send(create(named, "Transfer-Encoding: chunked"), chunked(b'{"input":"abc'))
            await eventually(lambda: gw.app._handlers.active)
            if named.endswith("main"):
                await upstream.received(1)
            await client.send(rest)
            (answer,) = await answers(client)
            check_refusal(answer, 400, "malformed_request")
            assert answer.header("Connection") == "close"
        await all_gone(gw, upstream)
        assert not any(request.complete for request in upstream.requests)
        await check_next_is_served(gw)


async def test_garbage_behind_a_request_waits_for_its_answer(upstream, valkey):
    """The request is served; only then comes the refusal, and the end."""
    gate = asyncio.Event()
    upstream.on("POST", "/v1/responses", scripts.after(gate, scripts.json_answer({"id": "resp_1"})))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json=BODY)
        await upstream.received(1)
        await client.send(b"garbage\r\n\r\n")
        gate.set()
        first, second = await answers(client)
    assert (first.status, first.json()["id"]) == (200, "resp_1")
    check_refusal(second, 400, "malformed_request")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (render_request("POST", "/v1/responses", json=BODY), 401),
        (render_request("POST", "/v1/unknown", headers=bearer(ALICE_KEY), json=BODY), 404),
        (render_request("PUT", "/v1/responses", headers=bearer(ALICE_KEY), json=BODY), 405),
        (render_request("POST", "/v1/responses", headers=bearer(ALICE_KEY), body=b"{"), 400),
        (render_request("POST", "/v1/responses", headers=bearer(ALICE_KEY), body=b""), 400),
        (render_request("GET", "/v1/responses/unknown", headers=bearer(ALICE_KEY)), 404),
        (create("Content-Length: 2", "Content-Encoding: br") + b"{}", 415),
    ],
)
async def test_connection_goes_on_after_an_error(raw, status, replying, valkey):
    """Where the whole request was read, the next one on the connection is served."""
    async with gateway(config(replying), redis_url=valkey.url) as gw, gw.connect() as client:
        for _ in range(3):
            await client.send(raw)
            answer = await client.answer()
            await answer.read()
            check_refusal(answer, status)
            assert answer.header("Connection") is None
        await client.request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json=BODY)
        assert (await client.answer()).status == 200


async def test_many_requests_at_once_on_one_connection_are_all_served(replying, valkey):
    """More than the gateway reads ahead: the rest waits in the socket."""
    async with gateway(config(replying), redis_url=valkey.url) as gw, gw.connect() as client:
        sending = asyncio.create_task(
            client.send(render_request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json=BODY) * 200)
        )
        for _ in range(200):
            answer = await client.answer()
            await answer.read()
            assert answer.status == 200
        await sending


async def test_nothing_adds_up_over_many_faults(upstream, valkey):
    """Two hundred clients that leave, at every stage, leave nothing behind."""
    upstream.on("POST", "/v1/responses", scripts.silence)
    whole = render_request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json={**BODY, "input": "x" * 500})
    async with gateway(config(upstream), redis_url=valkey.url) as gw:

        async def leave(at, way):
            async with gw.connect() as client:
                await client.send(whole[:at])
                getattr(client, way)()

        await asyncio.gather(
            *(leave(at * len(whole) // 100, way) for at in range(1, 101) for way in ("close", "abort"))
        )
        await all_gone(gw, upstream)
        upstream.on("POST", "/v1/responses", scripts.json_answer({"id": "resp_1"}))
        await check_next_is_served(gw)
        assert await gw.metric("responses_proxy_inflight_requests") == 0
