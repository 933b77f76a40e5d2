"""What can be asked for, under which paths, by whom, and what every answer carries."""

import asyncio

import pytest

from tests.flows.exact import BODY, ENDPOINTS, UPGRADE, check_refusal, create, exchange_bytes, head
from tests.rig import scripts, wire
from tests.rig.client import render_request
from tests.rig.gateway import bearer, gateway
from tests.rig.settings import ALICE, ALICE_KEY, BOB_KEY, config

PREFIXES = ["/v1", "", "/openai/v1", "/openai", "/api/llm"]
DOTS = [
    "..",
    ".",
    "%2e%2e",
    "%2E.",
    "%252e%252e",
    "..%2ffiles",
    "%2e%2e%5cfiles",
    "a%2f..%2f..",
    "..;x",
    "a%2f..%3bx%2fb",
]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_endpoint_reaches_the_provider_under_every_prefix(prefix, upstream, sole):
    """The prefix is the gateway's, what follows it is the provider's."""
    for method, path, body in ENDPOINTS:
        answer = await sole.fetch(method, prefix + path, json=body)
        assert answer.status == 200, (method, path, answer.body)
        assert (upstream.requests[-1].method, upstream.requests[-1].target) == (method, f"/v1{path}")
        assert answer.header("x-gateway-provider") == "main"


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_models_are_listed_under_every_prefix(prefix, upstream, sole):
    """The list is the gateway's own, made from the provider's."""
    upstream.on("GET", "/v1/models", scripts.json_answer({"object": "list", "data": [{"id": "m", "object": "model"}]}))
    listed = (await sole.fetch("GET", f"{prefix}/models")).json()
    assert (listed["object"], [model["id"] for model in listed["data"]]) == ("list", ["m"])
    assert (await sole.fetch("GET", f"{prefix}/models/m")).json()["object"] == "model"
    check_refusal(await sole.fetch("GET", f"{prefix}/models/n"), 404, "model_not_found")


async def test_prefixes_are_those_configured(upstream, valkey):
    """Only the prefixes of the list lead anywhere."""
    upstream.on("POST", "*", scripts.json_answer({}))
    only = config(upstream, server={"prefixes": ["/llm/", "/a/b"]})
    async with gateway(only, redis_url=valkey.url) as gw:
        assert (await gw.fetch("POST", "/llm/responses", json=BODY)).status == 200
        assert (await gw.fetch("POST", "/a/b/responses", json=BODY)).status == 200
        for path in ("/responses", "/v1/responses", "/llm/v1/responses", "/llmresponses"):
            check_refusal(await gw.fetch("POST", path, json=BODY), 404)
    assert [request.target for request in upstream.requests] == ["/v1/responses"] * 2


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/responses/resp_1?include%5B%5D=a&include%5B%5D=b"),
        ("GET", "/responses/resp_1?include[]=a"),
        ("GET", "/responses/resp_1?stream=true&starting_after=4"),
        ("GET", "/responses/resp_1/input_items?limit=2&after=msg_1&order=asc"),
        ("POST", "/responses?api-version=2025-04-01-preview"),
        ("POST", "/responses?"),
        ("POST", "/responses?a=b?c=%2F+%20&&=;d"),
        ("GET", "/conversations/conv_1/items?include%5B%5D=x"),
        ("DELETE", "/responses/resp_1?beta=true"),
    ],
)
async def test_query_passes_verbatim(method, target, upstream, sole):
    """Not a byte of the query is decoded, sorted or encoded anew."""
    assert (await sole.fetch(method, f"/openai/v1{target}", json=BODY if method == "POST" else None)).status == 200
    assert upstream.requests[0].target == f"/v1{target}"


async def test_id_stays_percent_encoded_and_is_found_by_what_it_means(upstream, valkey):
    """The provider sees the id as the client wrote it; whose it is, is asked of the id itself."""
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object("resp_a/b c")))
    upstream.on("GET", "*", scripts.json_answer({"id": "resp_a/b c"}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        await gw.fetch("POST", "/v1/responses", json=BODY)
        for written in ("resp_a%2Fb%20c", "resp_a%2fb%20c", "%72esp_a%2Fb%20c"):
            assert (await gw.fetch("GET", f"/v1/responses/{written}")).status == 200
            assert upstream.requests[-1].target == f"/v1/responses/{written}"
            check_refusal(await gw.fetch("GET", f"/v1/responses/{written}", key=BOB_KEY), 404)
        check_refusal(await gw.fetch("GET", "/v1/responses/resp_a/b%20c"), 404)
    assert len(upstream.requests) == 4


@pytest.mark.parametrize(("method", "path", "body"), ENDPOINTS)
async def test_slash_at_the_end_changes_nothing(method, path, body, upstream, sole):
    """The provider is asked for the path without it."""
    assert (await sole.fetch(method, f"/v1{path}/?a=b", json=body)).status == 200
    assert upstream.requests[0].target == f"/v1{path}?a=b"


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1", "/v1/", "/v1/unknown", "/v2/responses", "/v1/v1/responses", "//v1/responses", "/v1//responses"),
        *("/v1/responses//", "/v1/responses//input_items", "/v1/responses/resp_1/unknown", "/v1/responses/a/b/c"),
        *("/v1/conversations/conv_1/unknown", "/v1/conversations/conv_1/items/msg_1/x", "/V1/responses"),
        *("/v1/chat/completions", "/v1/files", "/v1/responsesx", "/metrics", "/healthz", "/favicon.ico"),
    ],
)
async def test_unknown_path_is_not_found(path, upstream, sole):
    """It is the gateway that says so; no provider is asked."""
    error = check_refusal(await sole.fetch("GET", path), 404)
    assert path in error["message"]
    assert not upstream.requests


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/responses", "POST"),
        ("PUT", "/responses", "POST"),
        ("OPTIONS", "/responses", "POST"),
        ("TRACE", "/responses", "POST"),
        ("POST", "/responses/resp_1", "DELETE, GET"),
        ("PATCH", "/responses/resp_1", "DELETE, GET"),
        ("HEAD", "/responses/resp_1", "DELETE, GET"),
        ("GET", "/responses/resp_1/cancel", "POST"),
        ("POST", "/responses/resp_1/input_items", "GET"),
        ("PUT", "/conversations/conv_1", "DELETE, GET, POST"),
        ("GET", "/conversations", "POST"),
        ("DELETE", "/conversations/conv_1/items", "GET, POST"),
        ("POST", "/conversations/conv_1/items/msg_1", "DELETE, GET"),
        ("POST", "/models", "GET"),
        ("HEAD", "/models", "GET"),
    ],
)
async def test_wrong_method_is_told_the_right_ones(method, path, allowed, upstream, sole):
    """405 says what may be asked instead; a HEAD has no body, and the connection goes on."""
    async with sole.connect() as client:
        await client.request(method, f"/v1{path}", headers=bearer(ALICE_KEY))
        answer = await client.answer()
        await answer.read()
        assert (answer.status, answer.header("Allow"), answer.end) == (405, allowed, "complete")
        if method == "HEAD":
            assert int(answer.header("Content-Length")) > 0
        else:
            check_refusal(answer, 405, "method_not_allowed")
        await client.request("GET", "/v1/responses/resp_1", headers=bearer(ALICE_KEY))
        assert (await client.answer()).status == 200
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("target", ["*", "gateway.test:443"])
async def test_target_that_is_no_path_is_not_found(target, upstream, sole):
    """`OPTIONS *` and a tunnel are nothing the gateway has."""
    method = "OPTIONS" if target == "*" else "CONNECT"
    check_refusal(await exchange_bytes(sole, head(method, target)), 404)
    assert not upstream.requests


@pytest.mark.parametrize("dots", DOTS)
async def test_path_never_climbs_at_the_provider(dots, upstream, sole):
    """Whatever a provider would make of dots in a path, it does not get to see them."""
    for method, path in (
        ("GET", f"/v1/responses/{dots}"),
        ("GET", f"/v1/responses/{dots}/input_items"),
        ("POST", f"/v1/responses/{dots}/cancel"),
        ("DELETE", f"/v1/conversations/{dots}"),
        ("DELETE", f"/v1/conversations/conv_1/items/{dots}"),
        ("GET", f"/v1/conversations/{dots}/items"),
        ("GET", f"/v1/{dots}/responses"),
        ("GET", f"http://gateway.test/v1/responses/{dots}"),
    ):
        check_refusal(await sole.fetch(method, path), 404)
    assert not upstream.requests


async def test_dots_within_a_name_are_not_a_way_up(upstream, sole):
    """Ids may have dots."""
    for written in ("resp_1..2", "...", "resp.1", "..resp", "%2e%2e%2e"):
        assert (await sole.fetch("GET", f"/v1/responses/{written}")).status == 200
        assert upstream.requests[-1].target == f"/v1/responses/{written}"


async def test_fragment_is_refused(upstream, sole):
    """A provider would drop it, and answer for an id that nobody checked."""
    check_refusal(await sole.fetch("GET", "/v1/responses/resp_1#2"), 400, "invalid_url")
    check_refusal(await sole.fetch("GET", "/v1/responses/resp_1?a=b#2"), 400, "invalid_url")
    assert not upstream.requests


@pytest.mark.parametrize("origin", ["http://gateway.test", "https://other.test:8443"])
async def test_absolute_target_is_taken_for_its_path(origin, upstream, sole):
    """A client behind a forward proxy may write the whole URL; the host in it leads nowhere else."""
    assert (await sole.fetch("GET", f"{origin}/v1/responses/resp_1?a=b")).status == 200
    assert (await sole.fetch("POST", f"{origin}/v1/responses", json=BODY)).status == 200
    check_refusal(await sole.fetch("GET", origin), 404)
    assert [request.target for request in upstream.requests] == ["/v1/responses/resp_1?a=b", "/v1/responses"]
    assert upstream.requests[0].header("Host") == f"127.0.0.1:{upstream.port}"


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_websocket_upgrade_is_told_to_fall_back(prefix, upstream, sole):
    """426 at once, and the connection serves HTTP from then on."""
    async with sole.connect() as client:
        await client.send(head("GET", f"{prefix}/responses?api-version=1", *UPGRADE))
        answer = await client.answer()
        await answer.read()
        check_refusal(answer, 426, "websocket_not_supported")
        assert answer.header("Upgrade") == "HTTP/1.1"
        await client.request("POST", f"{prefix}/responses", headers=bearer(ALICE_KEY), json=BODY)
        assert (await client.answer()).status == 200
    assert len(upstream.requests) == 1


async def test_websocket_upgrade_of_anything_else_is_ignored(upstream, sole):
    """Only `/responses` has clients that would fall back."""
    assert (await exchange_bytes(sole, head("GET", "/v1/responses/resp_1", *UPGRADE))).status == 200
    check_refusal(await exchange_bytes(sole, head("GET", "/v1/unknown", *UPGRADE)), 404)
    assert len(upstream.requests) == 1


async def test_upgrade_to_http2_is_ignored(upstream, sole):
    """Java's client offers it with every first request."""
    offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAA"]
    raw = create(*offer, "Content-Length: 13") + b'{"model":"m"}'
    assert (await exchange_bytes(sole, raw)).status == 200
    assert upstream.requests[0].received == b'{"model":"m"}'
    assert upstream.requests[0].header("Upgrade") is None


async def test_accept_decides_nothing(upstream, valkey):
    """A stream is what the body, or the query, asked for."""
    events = wire.stream_events("resp_1")

    async def obedient(exchange):
        body = await exchange.body()
        streamed = b'"stream":true' in body or "stream=true" in exchange.query
        await (scripts.sse_answer(events) if streamed else scripts.json_answer({"id": "resp_1"}))(exchange)

    upstream.on("POST", "/v1/responses", obedient)
    upstream.on("GET", "/v1/responses/*", obedient)
    async with gateway(config(upstream, keys=[ALICE]), redis_url=valkey.url) as gw:
        for accept in ("text/event-stream", "application/json", "*/*"):
            headers = [("Accept", accept)]
            plain = await gw.fetch("POST", "/v1/responses", headers=headers, json=BODY)
            assert plain.json() == {"id": "resp_1", "provider": "openai"}
            streamed = await gw.fetch("POST", "/v1/responses", headers=headers, json={**BODY, "stream": True})
            assert streamed.body == b"".join(events)
            plain = await gw.fetch("GET", "/v1/responses/resp_1", headers=headers)
            assert plain.json() == {"id": "resp_1", "provider": "openai"}
            streamed = await gw.fetch("GET", "/v1/responses/resp_1?stream=true", headers=headers)
            assert streamed.body == b"".join(events)


async def test_http_1_0_client_is_served(upstream, valkey):
    """A stream ends with its connection, and nothing is chunked."""
    events = wire.stream_events("resp_1")
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events), scripts.json_answer({"id": "resp_2"}))
    body = b'{"model":"m","stream":true}'
    raw = create(f"Content-Length: {len(body)}", "Connection: keep-alive", version="HTTP/1.0") + body
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        streamed = await exchange_bytes(gw, raw)
        assert (streamed.framing, streamed.body) == ("close", b"".join(events))
        plain = await exchange_bytes(gw, raw)
        assert (plain.json()["id"], plain.header("Connection")) == ("resp_2", "close")


async def test_requests_in_a_row_are_answered_in_their_order(upstream, sole):
    """A client may send on before an answer has come; each gets its own, on the one connection."""
    gate = asyncio.Event()
    upstream.on("GET", "/v1/responses/resp_0", scripts.after(gate, scripts.json_answer({"id": "resp_0"})))
    upstream.on("GET", "/v1/responses/resp_1", scripts.json_answer({"id": "resp_1"}))
    requests = [render_request("GET", f"/v1/responses/resp_{n}", headers=bearer(ALICE_KEY)) for n in (0, 1)]
    async with sole.connect() as client:
        await client.send(b"".join(requests))
        await upstream.received(1)
        gate.set()
        for expected in ("resp_0", "resp_1"):
            answer = await client.answer()
            await answer.read()
            assert answer.json()["id"] == expected
