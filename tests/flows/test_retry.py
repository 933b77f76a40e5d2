"""One transparent retry where a pooled connection turned out stale, and no other."""

import asyncio

import orjson
import pytest

from tests.flows.calls import PLAIN, STREAMED, create, log_lines, nothing_left, timed
from tests.rig import scripts, wire
from tests.rig.eventually import eventually
from tests.rig.gateway import bearer, gateway
from tests.rig.http1 import chunk
from tests.rig.settings import ALICE, ALICE_KEY, BOB_KEY, config

ENDINGS = pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
ALONE = {"keys": [ALICE], "bindings": {"unknown": "forward"}}
OPENAI = scripts.json_answer(wire.response_object("resp_1"))
NAMED = [*bearer(ALICE_KEY), ("x-tfy-provider-name", "main"), ("Content-Type", "application/json")]


def goes_stale(script, *, reset=False):
    """Answer the first request of each connection by the script; end it on the second, whose body is left unread."""

    async def racing(exchange):
        if not exchange.served:
            await script(exchange)
        elif reset:
            exchange.abort()
        else:
            exchange.close()

    return racing


def framed(pieces, framing):
    """Frame a request's body: return its header lines, its first piece, and the rest."""
    if framing == "length":
        return [("Content-Length", str(sum(map(len, pieces))))], pieces[0], pieces[1:]
    chunks = [chunk(piece) for piece in (*pieces, b"")]
    return [("Transfer-Encoding", "chunked")], chunks[0], chunks[1:]


@ENDINGS
@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/v1/responses", PLAIN),
        ("POST", "/v1/responses", STREAMED),
        ("GET", "/v1/responses/resp_1", None),
        ("DELETE", "/v1/responses/resp_1", None),
        ("POST", "/v1/responses/resp_1/cancel", None),
    ],
    ids=["json", "stream", "get", "delete", "cancel"],
)
async def test_request_is_sent_again_when_its_pooled_connection_was_stale(
    method, target, body, reset, upstream, valkey, capfd
):
    """The client notices nothing; the provider has the same request once more, on a new connection."""
    events = wire.stream_events("resp_1")
    good = scripts.sse_answer(events) if body is STREAMED else OPENAI
    upstream.on(method, target, scripts.stale_when_reused(good, reset=reset))
    async with gateway(config(upstream, **ALONE), redis_url=valkey.url) as gw:
        answers = [await gw.fetch(method, target, json=body) for _ in range(2)]
        assert await gw.metric("responses_proxy_requests_total", code="200") == 2
    assert [(answer.status, answer.end) for answer in answers] == [(200, "complete")] * 2
    assert answers[0].body == answers[1].body
    assert [request.connection for request in upstream.requests] == [1, 1, 2]
    assert upstream.requests[1].head.raw == upstream.requests[2].head.raw
    assert upstream.requests[1].received == upstream.requests[2].received
    assert [line.get("retried") for line in log_lines(capfd)] == [None, True]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@ENDINGS
async def test_upload_is_sent_again_while_everything_sent_is_at_hand(framing, reset, upstream, valkey):
    """The provider hung up while the client still sends: what was sent goes out anew, the rest follows."""
    upstream.on("POST", "/v1/responses", goes_stale(OPENAI, reset=reset))
    body = orjson.dumps({"model": "m", "input": "x" * 30_000})
    pieces = [body[:100], body[100:20_000], body[20_000:]]
    lines, first, rest = framed(pieces, framing)
    async with gateway(config(upstream, **ALONE), redis_url=valkey.url) as gw, gw.connect() as client:
        await create(gw, PLAIN)
        await client.request("POST", "/v1/responses", headers=[*NAMED, *lines], body=first)
        again = await upstream.received(3)
        await eventually(lambda: again.size)
        await client.send(*rest)
        answer = await client.answer()
        await answer.read()
    assert answer.status == 200
    assert (again.received, again.complete, len(upstream.requests)) == (body, True, 3)


@ENDINGS
async def test_upload_is_not_sent_again_when_it_is_no_longer_at_hand(reset, upstream, valkey):
    """Past the look-ahead limit nothing is kept; the client may try again, since the provider had half a document."""
    gate = asyncio.Event()

    async def script(exchange):
        if not exchange.served:
            return await OPENAI(exchange)
        while exchange.size < 50_000:
            await exchange.body_piece()
        gate.set()
        return exchange.abort() if reset else exchange.close()

    upstream.on("POST", "/v1/responses", script)
    sections = {**ALONE, "limits": {"look_ahead_bytes": 1024}}
    async with gateway(config(upstream, **sections), redis_url=valkey.url) as gw, gw.connect() as client:
        await create(gw, PLAIN)
        body = b'{"model":"m","input":"' + b"x" * 60_000
        await client.request("POST", "/v1/responses", headers=[*NAMED, ("Content-Length", "100000")], body=body)
        await gate.wait()
        answer = await client.answer()
        await answer.read()
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_disconnected")
    assert answer.header("x-should-retry") == "true"
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
async def test_request_is_not_sent_again_when_its_connection_was_new(reset, body, upstream, valkey):
    """What it died of will not be its age."""
    upstream.on("POST", "/v1/responses", scripts.no_answer(reset=reset), OPENAI)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, body)
    assert answer.status == 502
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "said", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_request_is_not_sent_again_when_a_byte_had_come(said, upstream, valkey):
    """A provider that began to answer has the request."""
    dying = scripts.raw_answer(said, close=True)
    upstream.on("POST", "/v1/responses", OPENAI, dying, OPENAI)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answers = [await create(gw, PLAIN) for _ in range(2)]
    assert answers[1].status == 502 or answers[1].end in {"cut", "reset"}
    assert len(upstream.requests) == 2


@ENDINGS
async def test_request_is_not_sent_a_third_time(reset, upstream, valkey):
    """A retry that dies is the provider's fault, whatever its connection was."""
    dying = scripts.no_answer(reset=reset)
    upstream.on("POST", "/v1/responses", OPENAI, dying, dying, OPENAI)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answers = [await create(gw, PLAIN) for _ in range(2)]
        await nothing_left(gw, upstream)
    assert [answer.status for answer in answers] == [200, 502]
    assert answers[1].header("x-should-retry") == "false"
    assert len(upstream.requests) == 3


async def test_retry_takes_a_new_connection_when_the_whole_pool_is_stale(upstream, valkey):
    """A provider that restarted leaves many dead connections: one try is enough for all of them."""
    together = asyncio.Barrier(4)

    async def script(exchange):
        if exchange.served:
            return exchange.close()
        if len(upstream.requests) <= 4:
            await together.wait()
        return await OPENAI(exchange)

    upstream.on("POST", "/v1/responses", script)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        first = await asyncio.gather(*(create(gw, PLAIN) for _ in range(4)))
        assert gw.app._upstreams["main"].connections() == {"active": 0, "idle": 4}
        second = await create(gw, PLAIN)
    assert {answer.status for answer in (*first, second)} == {200}
    assert len(upstream.requests) == 6


@ENDINGS
async def test_connection_that_ended_while_idle_is_not_used(reset, upstream, valkey, capfd):
    """What is seen beforehand needs no retry."""
    upstream.on("POST", "/v1/responses", OPENAI)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        await create(gw, PLAIN)
        await eventually(lambda: upstream.idle_connections)
        upstream.abort_connections() if reset else upstream.close_idle_connections()
        await eventually(lambda: not any(idle.is_connected() for idle in gw.app._upstreams["main"]._pool._idle))
        assert (await create(gw, PLAIN)).status == 200
    assert [request.connection for request in upstream.requests] == [1, 2]
    assert [line.get("retried") for line in log_lines(capfd)] == [None, None]


async def test_retry_is_refused_a_connection_when_the_provider_is_gone(upstream, valkey):
    """The stale connection was the last one: the client learns that nothing is there."""
    upstream.on("POST", "/v1/responses", scripts.stale_when_reused(OPENAI))
    async with gateway(config(**timed(upstream, connect=1)), redis_url=valkey.url) as gw:
        await create(gw, PLAIN)
        await upstream.refuse()
        answer = await create(gw, PLAIN)
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_connect_failed")


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("owner", [ALICE_KEY, BOB_KEY], ids=["own", "foreign"])
async def test_upload_is_checked_before_it_is_sent_again(owner, framing, upstream, private_valkey):
    """The retry interrupts the check of what the body continues: it is made anew, and only then the end follows."""
    upstream.on("POST", "/v1/responses", goes_stale(scripts.json_answer(wire.response_object("resp_0"))))
    redis = {"bindings": {"ack_timeout": 20, "cache": 0}}
    body = orjson.dumps({"model": "m", "input": "x" * 5000, "previous_response_id": "resp_0"})
    lines, first, rest = framed([body[:100], body[100:]], framing)
    async with gateway(config(upstream, **redis), redis_url=private_valkey.url) as gw, gw.connect() as client:
        await create(gw, PLAIN, key=owner)
        hold = asyncio.Event()
        stale = goes_stale(OPENAI)

        async def script(exchange):
            if exchange.served:
                await hold.wait()
            await stale(exchange)

        upstream.on("POST", "/v1/responses", script)
        await client.request("POST", "/v1/responses", headers=[*NAMED, *lines], body=first)
        await upstream.received(2)
        private_valkey.hang()
        await client.send(*rest)
        (exchange,) = gw.app._handlers.active
        await eventually(lambda: exchange._admission.upload.ended)
        hold.set()
        await eventually(lambda: exchange._record.retried)
        private_valkey.resume()
        answer = await client.answer()
        await answer.read()
    whole = [request.received for request in upstream.requests[1:] if request.complete]
    assert answer.status == (200 if owner == ALICE_KEY else 400), answer.body
    assert whole == ([body] if owner == ALICE_KEY else [])
