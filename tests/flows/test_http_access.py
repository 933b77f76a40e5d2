"""Who may ask, when a body is asked for, and what every answer carries."""

import pytest

from tests.flows.exact import BODY, ENDPOINTS, UPGRADE, check_refusal, create, exchange_bytes, head
from tests.rig import scripts, wire
from tests.rig.gateway import bearer, gateway
from tests.rig.settings import ALICE_KEY, config

SURFACE = [*ENDPOINTS, ("GET", "/models", None), ("GET", "/models/m", None), ("GET", "/unknown", None)]


@pytest.mark.parametrize(("method", "path", "body"), SURFACE)
async def test_every_surface_asks_for_a_key_first(method, path, body, upstream, sole):
    """Without a key that is known there is no telling what is there."""
    for headers in (
        [],
        bearer("a-stranger's-key"),
        [("api-key", "a-stranger's-key")],
        [("Authorization", f"Basic {ALICE_KEY}")],
        [("Authorization", "Bearer ")],
        [("Authorization", ALICE_KEY)],
        [("api-key", "")],
        [("api-key", f"Bearer {ALICE_KEY}")],
        [("x-api-key", ALICE_KEY)],
    ):
        answer = await sole.fetch(method, f"/v1{path}", key=None, headers=headers, json=body)
        check_refusal(answer, 401, "invalid_api_key")
        assert answer.header("WWW-Authenticate") == "Bearer"
    assert not upstream.requests


@pytest.mark.parametrize(("method", "path", "body"), SURFACE[:-1])
async def test_every_surface_takes_the_key_either_way(method, path, body, upstream, sole):
    """As OpenAI's clients send it and as Azure's do; the scheme's case does not matter."""
    upstream.on("GET", "/v1/models", scripts.json_answer({"data": [{"id": "m"}]}))
    for name, value in (
        ("Authorization", f"Bearer {ALICE_KEY}"),
        ("authorization", f"bearer  {ALICE_KEY} "),
        ("api-key", ALICE_KEY),
        ("Api-Key", ALICE_KEY),
    ):
        assert (await sole.fetch(method, f"/v1{path}", key=None, headers=[(name, value)], json=body)).status == 200


async def test_upgrade_without_a_key_is_unauthenticated(sole):
    """The key is asked for before anything else is said, as OpenAI does."""
    check_refusal(await exchange_bytes(sole, head("GET", "/v1/responses", *UPGRADE, key=None)), 401, "invalid_api_key")


@pytest.mark.parametrize(("method", "path"), [("POST", "/responses"), ("POST", "/conversations/conv_1/items")])
async def test_expectation_is_met_once_the_request_may_go_up(method, path, upstream, sole):
    """100 comes before the body does; then the exchange goes its way."""
    lines = ["Content-Length: 13", "Expect: 100-continue"]
    async with sole.connect() as client:
        await client.send(head(method, f"/v1{path}", *lines))
        assert (await client.answer()).status == 100
        await client.send(b'{"model":"m"}')
        assert (await client.answer()).status == 200
    assert upstream.requests[0].received == b'{"model":"m"}'
    assert upstream.requests[0].header("Expect") is None


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (create("Content-Length: 13", "Expect: 100-continue", key=None), 401),
        (create("Content-Length: 13", "Expect: 100-continue", key="a-stranger's-key"), 401),
        (create("Content-Length: 13", "Expect: 100-continue", "x-tfy-provider-name: other"), 400),
        (create("Content-Length: 999999999999", "Expect: 100-continue"), 413),
        (create("Content-Length: 13", "Expect: 100-continue", "Content-Encoding: br"), 415),
        (head("POST", "/v1/unknown", "Content-Length: 13", "Expect: 100-continue"), 404),
        (head("PUT", "/v1/responses", "Content-Length: 13", "Expect: 100-continue"), 405),
        (head("POST", "/v1/conversations/..", "Content-Length: 13", "Expect: 100-continue"), 404),
    ],
)
async def test_expectation_is_refused_before_the_body(raw, status, upstream, sole):
    """The first thing that comes is the error; the body need not be sent."""
    answer = await exchange_bytes(sole, raw)
    check_refusal(answer, status)
    assert answer.header("Connection") == "close"
    assert not upstream.requests


async def test_every_answer_can_be_traced(upstream, valkey):
    """Its own id on each, the provider's name once there is one, and the provider's id where it gave one."""
    upstream.on(
        "POST",
        "/v1/responses",
        scripts.json_answer({}),
        scripts.json_answer({}, headers=[("x-request-id", "req_of_the_provider")]),
        scripts.sse_answer(wire.stream_events("resp_1"), headers=[("x-request-id", "req_of_the_provider")]),
        scripts.json_answer({"error": {}}, 429),
        scripts.no_answer(),
    )
    seen = []
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        for expected in (None, "req_of_the_provider", "req_of_the_provider", None, None):
            answer = await gw.fetch("POST", "/v1/responses", json=BODY)
            assert answer.header("x-gateway-provider") == "main"
            seen.append(answer.header("x-gateway-request-id"))
            assert answer.header("x-request-id") == (expected or seen[-1])
            assert len(answer.head.all("x-request-id")) == 1
        for path in ("/v1/models", "/v1/unknown", "/v1/responses/resp_unknown"):
            answer = await gw.fetch("GET", path)
            assert answer.header("x-gateway-provider") is None
            seen.append(answer.header("x-gateway-request-id"))
            assert answer.header("x-request-id") == seen[-1]
        seen.append((await exchange_bytes(gw, b"BREW / HTTP/1.1\r\n\r\n")).header("x-gateway-request-id"))
    assert len(set(seen)) == 9
    assert all(request_id.startswith("gw_") for request_id in seen)
