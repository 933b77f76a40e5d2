import json

import orjson
import pytest

from proxy import record
from proxy.delivery import LOSSES, WHOLE_BODY
from proxy.relay import Outcome
from tests.flows.calls import PLAIN, STREAMED, create, log_lines
from tests.rig import scripts, wire
from tests.rig.gateway import gateway
from tests.rig.settings import ALICE, UPSTREAM_KEY, config

ALONE = {"keys": [ALICE], "bindings": {"unknown": "forward"}}


def test_every_loss_is_an_end_that_is_counted():
    assert LOSSES.keys() == set(Outcome) - {Outcome.STALLED}
    assert {end for end, _ in LOSSES.values()} <= set(record.ENDS)


@pytest.mark.parametrize(
    ("method", "target", "spliced"),
    [
        ("POST", "/v1/responses", True),
        ("GET", "/v1/responses/resp_1", True),
        ("DELETE", "/v1/responses/resp_1", False),
        ("POST", "/v1/responses/resp_1/cancel", False),
        ("GET", "/v1/responses/resp_1/input_items", False),
        ("POST", "/v1/responses/compact", False),
        ("POST", "/v1/responses/input_tokens", False),
        ("POST", "/v1/conversations", False),
    ],
)
async def test_provider_is_the_last_member_of_what_is_created_and_retrieved(method, target, spliced, upstream, valkey):
    body = b'{ "id": "resp_1",\t"object":"response", "usage" : null }\n'
    upstream.on(method, target, scripts.json_answer(body))
    async with gateway(config(upstream, **ALONE), redis_url=valkey.url) as gw:
        answer = await gw.fetch(method, target, json=PLAIN if method == "POST" else None)
    assert answer.body == (body.replace(b"null }", b'null ,"provider":"openai"}') if spliced else body)


@pytest.mark.parametrize("length", [WHOLE_BODY - 1, WHOLE_BODY, WHOLE_BODY + 1])
async def test_json_is_passed_in_one_piece_up_to_a_size(length, upstream, valkey):
    """Its length is told; of a larger one it is not, since its end waits for the binding."""
    empty = len(orjson.dumps(wire.response_object("resp_1", "")))
    body = orjson.dumps(wire.response_object("resp_1", "x" * (length - empty)))
    assert len(body) == length
    upstream.on("POST", "/v1/responses", scripts.json_answer(body))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
    assert answer.json() == {**json.loads(body), "provider": "openai"}
    assert answer.framing == (len(answer.body) if length <= WHOLE_BODY else "chunked")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_length_of_a_body_that_is_no_json_is_told_where_it_is_known(framing, upstream, valkey):
    body = b"x" * 100_000
    upstream.on("POST", "/v1/responses", scripts.answer(body, content_type="text/plain", framing=framing))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
    assert (answer.body, answer.framing) == (body, len(body) if framing == "length" else "chunked")


@pytest.mark.parametrize("given", [True, False])
async def test_answer_names_the_provider_and_the_request(given, upstream, valkey, capfd):
    """The provider's request id is the client's to quote; where it has none, the gateway's stands in."""
    headers = [("x-request-id", "req_provider")] if given else []
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object("resp_1"), headers=headers))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
    own = answer.header("x-gateway-request-id")
    assert own.startswith("gw_")
    assert answer.header("x-gateway-provider") == "main"
    assert answer.head.all("x-request-id") == ["req_provider" if given else own]
    (line,) = log_lines(capfd)
    assert line["request_id"] == own
    assert line.get("upstream_request_id") == ("req_provider" if given else None)


@pytest.mark.parametrize(
    ("fields", "background"), [({}, False), ({"background": True}, True), ({"background": True, "store": False}, True)]
)
async def test_binding_tells_what_later_calls_have_to_know(fields, background, upstream, valkey):
    """A background response can be asked for whatever `store` says."""
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object("resp_1")))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        await create(gw, {**PLAIN, **fields})
        binding = await gw.app._bindings.find("resp_1", "team-a")
    assert (binding.provider, binding.tenant, bool(binding.flags & 1)) == ("main", "team-a", background)


async def test_conversation_is_bound_by_its_creation_alone(upstream, valkey):
    upstream.on("POST", "/v1/conversations", scripts.json_answer({"id": "conv_1", "object": "conversation"}))
    upstream.on("POST", "/v1/conversations/conv_1/items", scripts.json_answer({"id": "item_1", "object": "list"}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        await gw.fetch("POST", "/v1/conversations", json={})
        assert len(valkey.keys()) == 1
        answer = await gw.fetch("POST", "/v1/conversations/conv_1/items", json={"items": []})
        assert (answer.status, len(valkey.keys())) == (200, 1)


async def test_retrieved_stream_passes_and_binds_nothing(upstream, valkey):
    events = wire.stream_events("resp_1")
    upstream.on("GET", "/v1/responses/resp_1", scripts.sse_answer(events))
    async with gateway(config(upstream, **ALONE), redis_url=valkey.url) as gw:
        answer = await gw.fetch("GET", "/v1/responses/resp_1?stream=true&starting_after=3")
        assert await gw.metric("responses_proxy_stream_ends_total", end="completed") == 1
    assert answer.body == b"".join(events)
    assert upstream.requests[0].target == "/v1/responses/resp_1?stream=true&starting_after=3"
    assert not valkey.keys()


async def test_bytes_of_a_success_are_untouched_even_where_they_spell_a_credential(upstream, valkey):
    """A model may say what it likes: only errors and headers are looked through."""
    events = wire.stream_events("resp_1", f"the key is {UPSTREAM_KEY}")
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        assert (await create(gw, STREAMED)).body == b"".join(events)


@pytest.mark.parametrize("kind", ["openai", "openrouter", "gemini", "anthropic", "cohere", "bedrock", "vertex"])
async def test_no_credential_that_a_provider_repeats_is_logged_or_counted(kind, upstream, valkey, capfd, monkeypatch):
    secrets = ["canary-of-a-session-token", "canary-of-a-secret-key"]
    for name, value in zip(("AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY"), secrets, strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    repeated = []

    async def script(exchange):
        await exchange.body()
        sent = {name.lower(): value for name, value in upstream.requests[-1].headers}
        names = ("authorization", "x-api-key", "x-goog-api-key", "x-amz-security-token")
        repeated.extend(sent[name] for name in names if name in sent)
        said = " ".join(repeated)
        body = orjson.dumps({"error": {"message": said, "code": said, "type": said}, "__type": said, "message": said})
        head = [("x-request-id", said), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        await exchange.start(401, head)
        await exchange.send(body)

    upstream.on("POST", "*", script)
    own = {"bedrock": {"region": "r"}, "vertex": {"project": "p"}}.get(kind, {})
    key = {} if kind == "bedrock" else {"api_key": UPSTREAM_KEY}
    provider = {"kind": kind, "base_url": upstream.url, **own, **key}
    async with gateway(config(providers={"it": provider}), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
        told = [answer.body.decode(), str(answer.headers), await gw.exposition()]
    told.append(capfd.readouterr().out)
    assert answer.status == 401
    assert repeated
    for secret in (*secrets, *(said.removeprefix("Bearer ") for said in repeated)):
        assert not any(secret in text for text in told)
