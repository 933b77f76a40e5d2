"""How a request goes up, and what becomes of it when its client leaves or its provider does."""

import asyncio

import orjson
import pytest

from tests.flows.calls import PATH, PLAIN, nothing_left
from tests.rig import scripts, wire
from tests.rig.eventually import eventually
from tests.rig.gateway import gateway
from tests.rig.settings import ALICE, ALICE_KEY, config

HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE_KEY}\r\n"
BACKGROUND = {**PLAIN, "background": True}
PARTS = pytest.mark.parametrize("parts", [1, 2], ids=["at once", "in pieces"])


def framing(request):
    """Return how a request said where its body ends."""
    names = ("content-length", "transfer-encoding")
    return [(name.lower(), value) for name, value in request.headers if name.lower() in names]


async def test_framing_follows_from_the_body(upstream, valkey):
    """A length where it is known, none where there is no body, chunks where an alias may make it longer yet."""
    for method in ("GET", "POST"):
        upstream.on(method, "*", scripts.json_answer({}))
    body = orjson.dumps(PLAIN)
    late = b'{"input":"' + b"x" * 2_000_000 + b'","model":"fast"}'
    aliased = config(upstream, keys=[ALICE], models={"fast": "main/a-longer-name"})
    named = [("x-tfy-provider-name", "main")]
    async with gateway(aliased, redis_url=valkey.url) as gw:
        await gw.fetch("GET", "/v1/responses/resp_1")
        await gw.fetch("POST", "/v1/responses/resp_1/cancel")
        await gw.fetch("POST", PATH, body=body)
        await gw.fetch("POST", PATH, body=late, headers=named)
    expected = [[], [("content-length", "0")], [("content-length", str(len(body)))], [("transfer-encoding", "chunked")]]
    assert [framing(request) for request in upstream.requests] == expected
    assert upstream.requests[3].json()["model"] == "a-longer-name"


async def send_parts(client, value, parts):
    """Send a create, its body in that many pieces, each taken up before the next."""
    body = orjson.dumps({**value, "input": "x" * 200_000})
    cut = len(body) // parts
    await client.send(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode())
    for at in range(0, len(body), cut):
        await client.send(body[at : at + cut])


@PARTS
async def test_background_response_is_created_though_its_client_leaves(parts, upstream, valkey):
    """The whole request was there: the provider works on it, and its id is bound for whoever comes back."""
    rid, gate = wire.new_id(), asyncio.Event()
    queued = scripts.json_answer(wire.response_object(rid, status="queued", background=True))
    upstream.on("POST", PATH, scripts.after(gate, queued))
    upstream.on("GET", f"{PATH}/{rid}", queued)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await send_parts(client, BACKGROUND, parts)
            request = await upstream.received()
            await eventually(lambda: request.complete)
            client.abort()
        (exchange,) = gw.app._handlers.active
        await eventually(lambda: exchange._downstream.gone)
        gate.set()
        await nothing_left(gw)
        assert not request.closed.is_set()
        assert (await gw.fetch("GET", f"{PATH}/{rid}")).status == 200


@PARTS
async def test_request_is_given_up_when_its_client_leaves(parts, upstream, valkey):
    """Nobody waits for the answer, so nobody pays for it."""
    upstream.on("POST", PATH, scripts.silence)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await send_parts(client, PLAIN, parts)
            request = await upstream.received()
            await eventually(lambda: request.complete)
            client.abort()
        await request.closed.wait()
        await nothing_left(gw, upstream)


async def test_background_request_whose_body_never_ends_is_given_up_with_its_client(upstream, valkey):
    """Half a request is none, whatever it says."""
    upstream.on("POST", PATH, scripts.silence)
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            body = orjson.dumps(BACKGROUND)
            await client.send(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
            request = await upstream.received()
            client.abort()
        await request.closed.wait()
        assert not request.complete
        await nothing_left(gw, upstream)


async def test_background_response_has_as_long_as_any_when_its_client_is_gone(upstream, valkey, capfd):
    """A provider that stays silent is given up all the same."""
    upstream.on("POST", PATH, scripts.silence)
    served = config(upstream).model_dump()
    served["providers"]["main"]["timeouts"]["first_byte"] = 0.3
    async with gateway(served, redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await send_parts(client, BACKGROUND, 2)
            request = await upstream.received()
            await eventually(lambda: request.complete)
            client.abort()
        await request.closed.wait()
        await nothing_left(gw, upstream)
    (line,) = [orjson.loads(line) for line in capfd.readouterr().out.splitlines() if '"exchange"' in line]
    assert line["error_type"] == "upstream_first_byte_timeout"


@pytest.mark.parametrize(("ended", "safe"), [(True, "false"), (False, "true")], ids=["whole", "unfinished"])
async def test_client_may_try_again_only_if_the_provider_cannot_have_acted(ended, safe, upstream, valkey):
    """It cannot on half a JSON document."""

    async def leave(exchange):
        while len(exchange.received) < 10:
            await exchange.body_piece()
        if ended:
            await exchange.body()
        exchange.close()

    upstream.on("POST", PATH, leave)
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        body = orjson.dumps(PLAIN)
        await client.send(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body[: -1 if not ended else None])
        answer = await client.answer()
        await answer.read()
    assert (answer.status, answer.header("x-should-retry")) == (502, safe)
