"""Targets are read one way, and a defect is answered like any other error."""

import asyncio
import posixpath
from urllib.parse import quote, unquote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import BadRequest, GatewayError, MethodNotAllowed, NotFound
from proxy.handlers import parse_target
from proxy.services import Call
from tests.flows.exact import check_refusal
from tests.rig import scripts, wire
from tests.rig.gateway import bearer, gateway
from tests.rig.settings import ALICE_KEY, config

PREFIXES = ["/openai/v1", "/api/llm", "/openai", "/v1", ""]


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/responses", Call("create", "/responses")),
        ("POST", "/responses/", Call("create", "/responses")),
        ("POST", "/responses?a=b", Call("create", "/responses?a=b")),
        ("POST", "/responses/compact", Call("compact", "/responses/compact")),
        ("POST", "/responses/input_tokens?x", Call("input_tokens", "/responses/input_tokens?x")),
        ("GET", "/responses/a%2Fb", Call("retrieve", "/responses/a%2Fb", "a/b")),
        ("GET", "/responses/cancel", Call("retrieve", "/responses/cancel", "cancel")),
        ("GET", "/responses/compact", Call("retrieve", "/responses/compact", "compact")),
        ("DELETE", "/responses/a", Call("delete", "/responses/a", "a", forgets=True)),
        ("POST", "/responses/a/cancel/", Call("cancel", "/responses/a/cancel", "a")),
        ("GET", "/responses/a/input_items?limit=1", Call("input_items", "/responses/a/input_items?limit=1", "a")),
        ("POST", "/conversations", Call("conversations", "/conversations", conversation=True)),
        ("GET", "/conversations/c", Call("conversations", "/conversations/c", "c", conversation=True)),
        ("DELETE", "/conversations/c", Call("conversations", "/conversations/c", "c", conversation=True, forgets=True)),
        (
            "DELETE",
            "/conversations/c/items/i",
            Call("conversations", "/conversations/c/items/i", "c", conversation=True),
        ),
        ("GET", "/models", Call("models", "/models")),
        ("GET", "/models/main/a%2Fb", Call("models", "/models/main/a%2Fb", "main/a/b")),
    ],
)
def test_target_names_one_operation(method, path, call):
    for prefix in PREFIXES:
        assert parse_target(PREFIXES, method, prefix + path, "/v1") == call
        assert parse_target(PREFIXES, method, f"http://host:1{prefix}{path}", "/v1") == call


@pytest.mark.parametrize(
    ("method", "target", "error"),
    [
        ("GET", "/v1/responses", MethodNotAllowed),
        ("POST", "/v1/responses/a", MethodNotAllowed),
        ("GET", "/v1/responses/a/b", NotFound),
        ("GET", "/v1/responses/a#b", BadRequest),
        ("GET", "/v1/responses/..", NotFound),
        ("GET", "/v1/responses/%2F", NotFound),
        ("GET", "/v1/responses/;x", NotFound),
        ("GET", "v1/responses/a", NotFound),
        ("GET", "http://host", NotFound),
        ("OPTIONS", "*", NotFound),
        ("GET", "", NotFound),
    ],
)
def test_target_that_names_none_is_refused(method, target, error):
    with pytest.raises(error):
        parse_target(PREFIXES, method, target, "/v1")


@settings(max_examples=200)
@given(st.text(min_size=1), st.sampled_from(["retrieve", "input_items", "conversations"]))
def test_any_id_is_read_back_from_its_encoding(text, operation):
    path = {
        "retrieve": "/responses/{}",
        "input_items": "/responses/{}/input_items",
        "conversations": "/conversations/{}",
    }
    written = path[operation].format(quote(text, safe=""))
    try:
        call = parse_target(PREFIXES, "GET", f"/v1{written}?a=b", "/v1")
    except NotFound:
        parts = [part.partition(";")[0] for part in unquote(text).replace("\\", "/").split("/")]
        assert not {".", ".."}.isdisjoint(parts) or not any(parts)
    else:
        assert (call.operation, call.id, call.target) == (operation, text, f"{written}?a=b")


@settings(max_examples=500)
@given(
    st.sampled_from(["GET", "POST", "DELETE"]),
    st.lists(
        st.sampled_from(["/", "responses", "conversations", "items", "a", "..", ".", "%2e", "%2F", "%5c", "%25", ";"])
    ),
)
def test_path_a_provider_gets_stays_where_it_was_checked(method, parts):
    try:
        call = parse_target(PREFIXES, method, "/v1/" + "".join(parts), "/v1")
    except GatewayError:
        return
    path = call.target
    for _ in range(2):
        path = unquote(path).replace("\\", "/")
        assert posixpath.normpath(path).split("/")[:2] == call.target.split("/")[:2]
        assert len(posixpath.normpath(path).strip("/").split("/")) >= call.target.count("/")


async def test_defect_is_answered_and_reported(valkey, upstream, capfd):
    """500 in the shape of every error; the report says where, and quotes nothing."""
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        gw.app._handlers._catalogue = "secret"
        for _ in range(2):
            check_refusal(await gw.fetch("GET", "/v1/models"), 500, "internal_error")
        assert await gw.metric("responses_proxy_requests_total", operation="models", code="500") == 2
    lines = [orjson.loads(line) for line in capfd.readouterr().out.splitlines() if '"defect"' in line]
    assert [line["type"] for line in lines] == ["AttributeError"] * 2
    assert "handlers.py" in lines[0]["where"][-1]
    assert "secret" not in str(lines)


async def test_defect_in_the_middle_of_an_answer_cuts_it(valkey, upstream):
    """A status that has been sent cannot be taken back: the client must not take the rest for the whole."""
    gate = asyncio.Event()
    upstream.on("POST", "/v1/responses", scripts.sse_answer(wire.stream_events("resp_1"), gates={1: gate}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await client.request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json={"model": "m", "stream": True})
        answer = await client.answer()
        await answer.read_events(1)
        (exchange,) = gw.app._handlers.active
        exchange._delivery._relay._tap = None
        gate.set()
        await answer.read()
        assert answer.end in {"cut", "reset"}
        assert not gw.app._handlers.active
    assert b"HTTP/1.1 500" not in answer.raw


async def test_unknown_url_is_answered_with_the_first_of_the_configured_prefixes(valkey, upstream):
    """That is the one the documents and `serve` name."""
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await gw.fetch("GET", "/v1/nothing")
    check_refusal(answer, 404, None)
    assert b"GET /v1/nothing. The API is under /v1/responses." in answer.body


async def test_answers_say_goodbye_while_draining(valkey, upstream):
    """A kept connection is told to close, and does."""
    upstream.on("POST", "/v1/responses", scripts.json_answer({}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        for draining in (False, True):
            if draining:
                gw.app.announce_drain()
            await client.request("POST", "/v1/responses", headers=bearer(ALICE_KEY), json={"model": "m"})
            answer = await client.answer()
            await answer.read()
            assert answer.header("Connection") == ("close" if draining else None)
        assert await client.ended() == "closed"
