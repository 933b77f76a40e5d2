"""A request goes up once it is known where to, and ends there once all of it was checked."""

import orjson
import pytest

from tests.flows.calls import PATH, PLAIN
from tests.rig import scripts, wire
from tests.rig.gateway import gateway
from tests.rig.http1 import chunk
from tests.rig.settings import ALICE, ALICE_KEY, config

HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE_KEY}\r\n"
TO_SECOND = "x-tfy-provider-name: second\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
EXPECTING = "Expect: 100-continue\r\n"


@pytest.fixture
def providers(upstream, second_upstream):
    """Give two providers that answer every create once they have read all of it."""
    for each in (upstream, second_upstream):
        each.on("POST", "/v1/responses*", scripts.json_answer(wire.response_object("resp_1")))
        each.on("POST", "/v1/conversations", scripts.json_answer({"id": "conv_1", "object": "conversation"}))
    return upstream, second_upstream


@pytest.mark.parametrize("operation", ["responses", "responses/compact", "responses/input_tokens"])
async def test_request_that_needs_a_body_is_refused_without_one(operation, providers, valkey):
    async with gateway(config(*providers, default_provider="main"), redis_url=valkey.url) as gw:
        for body in (None, b""):
            answer = await gw.fetch("POST", f"/v1/{operation}", body=body)
            assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_json")
    assert not providers[0].requests


async def test_client_is_told_to_continue_once_its_route_is_allowed(providers, valkey):
    async with gateway(config(*providers), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(f"{HEAD}{EXPECTING}{TO_SECOND}{CHUNKED}".encode())
        assert (await client.answer()).status == 100
        await client.send(chunk(orjson.dumps(PLAIN)), chunk(b""))
        answer = await client.answer()
        await answer.read()
    assert (answer.status, answer.header("x-gateway-provider")) == (200, "second")


async def test_client_is_spared_the_body_of_a_request_that_goes_nowhere(providers, valkey):
    async with gateway(config(*providers), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(f"{HEAD}{EXPECTING}x-tfy-provider-name: none\r\n{CHUNKED}".encode())
        answer = await client.answer()
        await answer.read()
    assert (answer.status, answer.json()["error"]["code"]) == (400, "unknown_provider")


PIECES = [b'{"input":"x","mo', b'del":"fa', b'st","user":"u', b'"}']


async def test_model_cut_anywhere_is_settled_when_it_is_whole(providers, valkey):
    """An alias that comes late, in pieces, is still the provider's own name when it leaves."""
    aliased = config(*providers, models={"fast": "second/a-much-longer-name"})
    async with gateway(aliased, redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(f"{HEAD}{TO_SECOND}{CHUNKED}".encode())
        for piece in (*PIECES, b""):
            await client.send(chunk(piece))
        answer = await client.answer()
        await answer.read()
    assert answer.status == 200
    assert providers[1].requests[0].json() == {"input": "x", "model": "a-much-longer-name", "user": "u"}


async def test_model_that_is_not_allowed_stops_a_request_under_way(providers, valkey):
    """It comes last, after the provider has most of the body; the end never leaves."""
    picky = {**ALICE, "models": ["gpt-allowed"]}
    async with gateway(config(*providers, keys=[picky]), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.send(f"{HEAD}{TO_SECOND}{CHUNKED}".encode(), chunk(b'{"input":"' + b"x" * 50_000))
        request = await providers[1].received()
        await client.send(chunk(b'","model":"gpt-other"}'), chunk(b""))
        answer = await client.answer()
        await answer.read()
        await request.closed.wait()
    assert (answer.status, answer.json()["error"]["code"]) == (403, "model_not_allowed")
    assert not request.complete


async def test_references_to_two_providers_are_a_mismatch(providers, valkey):
    """One request cannot continue a response here and a conversation there."""
    async with gateway(config(*providers, default_provider="main"), redis_url=valkey.url) as gw:
        response = await gw.fetch("POST", PATH, json=PLAIN)
        conversation = await gw.fetch("POST", "/v1/conversations", headers=[("x-tfy-provider-name", "second")], json={})
        both = {"previous_response_id": response.json()["id"], "conversation": conversation.json()["id"]}
        answer = await gw.fetch("POST", PATH, json={**PLAIN, **both})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "provider_mismatch")
    assert answer.json()["error"]["param"] == "conversation"


async def test_body_of_a_conversation_routes_nothing(providers, valkey):
    """Its members only look like those of a create: nothing is followed, nothing replaced."""
    body = {"metadata": {}, "model": "second/gpt-5", "previous_response_id": "resp_unknown"}
    async with gateway(config(*providers, default_provider="main"), redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", "/v1/conversations", json=body)
    assert (answer.status, answer.header("x-gateway-provider")) == (200, "main")
    assert providers[0].requests[0].json() == body
