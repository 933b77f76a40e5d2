"""What a request becomes on its way to a provider that speaks another format, or keeps nothing."""

import re

import orjson
import pytest

from tests.flows.calls import PLAIN, create
from tests.rig import chat, scripts, wire
from tests.rig.certificates import Authority
from tests.rig.gateway import bearer, gateway
from tests.rig.origin import Origin
from tests.rig.settings import ALICE, ALICE_KEY, UPSTREAM_KEY, config, provider

CHAT = "/v1/chat/completions"


def translating(upstream, **fields):
    return config(providers={"it": provider(upstream, kind="openai-chat-compatible", **fields)})


def native(upstream, kind="openrouter", **sections):
    return config(providers={"it": provider(upstream, kind=kind, api="responses")}, **sections)


async def test_model_goes_up_by_the_name_its_alias_stands_for(upstream, valkey):
    upstream.on("POST", CHAT, scripts.json_answer(chat.completion()))
    kinds = {"it": provider(upstream, kind="openai-chat-compatible")}
    async with gateway(config(providers=kinds, models={"fast": "it/large-2"}), redis_url=valkey.url) as gw:
        for model in ("fast", "it/large-2"):
            assert (await create(gw, {**PLAIN, "model": model})).status == 200
    assert {request.json()["model"] for request in upstream.requests} == {"large-2"}


async def test_path_is_the_configured_one(upstream, valkey):
    upstream.on("POST", "/v1/elsewhere", scripts.json_answer(chat.completion()))
    async with gateway(translating(upstream, path="/elsewhere"), redis_url=valkey.url) as gw:
        assert (await create(gw, PLAIN)).status == 200


async def test_configured_headers_outdo_the_dialects(upstream, valkey):
    upstream.on("POST", CHAT, scripts.json_answer(chat.completion()))
    headers = {"User-Agent": "mine/1", "x-routing": "eu"}
    async with gateway(translating(upstream, headers=headers), redis_url=valkey.url) as gw:
        await create(gw, PLAIN)
    sent = [value for name, value in upstream.requests[0].headers if name.lower() == "user-agent"]
    assert sent == ["mine/1"]


async def test_ids_of_responses_are_never_given_twice(upstream, valkey):
    upstream.on("POST", CHAT, *[scripts.json_answer(chat.completion())] * 3)
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        ids = {(await create(gw, PLAIN)).json()["id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch(r"resp_[0-9a-f]{48}", rid) for rid in ids)


@pytest.mark.parametrize("body", [b'{"model":"m","input":"\\ud800"}', b'{"model":"m","input":1e400}'])
async def test_json_that_cannot_be_held_is_refused(body, upstream, valkey):
    """The scanner lets pass what some parser reads; this one has to."""
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", "/v1/responses", body=body)
    assert answer.status == 400
    assert not upstream.requests


@pytest.mark.parametrize("served", ["translating", "native"])
@pytest.mark.parametrize("field", ['"input":[{"role":"user","content":%s}]', '"input":"x","metadata":%s'])
async def test_body_too_deep_to_be_written_again_is_refused(field, served, upstream, valkey):
    deep = field % ("[" * 300 + "]" * 300)
    configured = {"translating": translating, "native": native}[served](upstream)
    async with gateway(configured, redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", "/v1/responses", body=f'{{"model":"m",{deep}}}'.encode())
    assert (answer.status, answer.json()["error"]["code"]) == (400, "too_deep")
    assert not upstream.requests


async def test_tokens_are_counted_where_the_provider_has_a_way(upstream, valkey):
    upstream.on("POST", "/v1/messages/count_tokens", scripts.json_answer({"input_tokens": 42}))
    claude = {"kind": "anthropic", "base_url": upstream.url, "api_key": UPSTREAM_KEY}
    async with gateway(config(providers={"claude": claude}), redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", "/v1/responses/input_tokens", json=PLAIN)
        assert valkey.keys() == []
    assert answer.json() == {"object": "response.input_tokens", "input_tokens": 42}
    (request,) = upstream.requests
    assert request.header("x-api-key") == UPSTREAM_KEY
    assert "max_tokens" not in request.json()


async def test_tokens_that_nobody_counts_are_refused(upstream, valkey):
    async with gateway(translating(upstream), redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", "/v1/responses/input_tokens", json=PLAIN)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "unsupported_operation")


async def test_count_that_tells_no_number_is_a_502(upstream, valkey):
    upstream.on("POST", "/v1/messages/count_tokens", scripts.json_answer({}))
    claude = {"kind": "anthropic", "base_url": upstream.url, "api_key": UPSTREAM_KEY}
    async with gateway(config(providers={"claude": claude}), redis_url=valkey.url) as gw:
        assert (await gw.fetch("POST", "/v1/responses/input_tokens", json=PLAIN)).status == 502


async def test_request_to_a_provider_without_a_store_is_otherwise_the_clients(upstream, valkey):
    """Unknown fields and items pass; what only a store could honour does not."""
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object("gen-1")))
    said = [{"role": "user", "content": "hello"}, {"type": "from_the_future", "x": [1]}]
    body = {"model": "m", "input": said, "plugins": [{"id": "web"}], "store": True, "temperature": 0.5}
    async with gateway(native(upstream), redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", "/v1/responses?x=1", headers=[("HTTP-Referer", "app")], json=body)
    assert answer.status == 200
    (request,) = upstream.requests
    assert request.target == "/v1/responses?x=1"
    assert request.header("http-referer") == "app"
    assert request.json() == {name: value for name, value in body.items() if name != "store"}


async def test_errors_of_a_provider_without_a_store_arrive_as_they_were(upstream, valkey):
    error = b'{"error":{"code":429,"message":"Slow down."},"user_id":"u"}'
    upstream.on("POST", "/v1/responses", scripts.json_answer(error, 429))
    async with gateway(native(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
    assert (answer.status, answer.body) == (429, error)
    assert valkey.keys() == []


async def test_answer_that_is_too_large_to_be_kept_is_not_taken_away(upstream, valkey, capfd):
    """The client has it; that it cannot be asked for again is said in the log, and by a 404."""
    events = wire.stream_events("gen-1", ["x" * 700] * 4)
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events))
    small = native(upstream, archive={"max_response_bytes": 1024})
    async with gateway(small, redis_url=valkey.url) as gw:
        answer = await create(gw, {**PLAIN, "stream": True})
        assert (answer.body, answer.end) == (b"".join(events), "complete")
        assert (await gw.fetch("GET", "/v1/responses/gen-1")).status == 404
    assert '"event":"response_not_kept"' in capfd.readouterr().out


async def test_image_by_url_is_fetched_only_where_that_is_needed_and_allowed(upstream, valkey):
    image = {"type": "input_image", "image_url": "https://127.0.0.1/x.png"}
    asked = {"model": "m", "input": [{"role": "user", "content": [image]}]}
    upstream.on("POST", CHAT, scripts.json_answer(chat.completion()))
    kinds = {
        "chat": provider(upstream, kind="openai-chat-compatible"),
        "aws": {"kind": "bedrock", "region": "r", "base_url": upstream.url, "api_key": UPSTREAM_KEY},
    }
    async with gateway(config(providers=kinds, default_provider="chat"), redis_url=valkey.url) as gw:
        assert (await create(gw, asked)).status == 200
        refused = await create(gw, asked, headers=[("x-tfy-provider-name", "aws")])
    assert (refused.status, refused.json()["error"]["param"]) == (400, "input[0].content[0].image_url")
    assert upstream.requests[0].json()["messages"][0]["content"][0]["image_url"]["url"] == image["image_url"]
    assert len(upstream.requests) == 1


@pytest.fixture
async def images(tmp_path):
    """Give a host of images, and the settings by which the gateway may ask it."""
    authority = Authority(tmp_path)
    async with Origin(authority.vouch_for("127.0.0.1")) as origin:
        allowed = {"allow_networks": ["127.0.0.1/32"], "ports": [origin.port], "ca_file": str(authority.ca_file)}
        yield origin, allowed


async def test_what_is_fetched_for_a_request_is_bounded_as_a_whole(images, upstream, valkey):
    origin, allowed = images
    origin.on("GET", "*", scripts.answer(b"\x89PNG\r\n\x1a\n" + b"x" * 992, content_type="image/png"))
    upstream.on("POST", "*", scripts.json_answer({}))
    kinds = {"aws": {"kind": "bedrock", "region": "r", "base_url": upstream.url, "api_key": UPSTREAM_KEY}}
    limited = config(providers=kinds, fetch=allowed, limits={"max_translated_body_bytes": 100_000})

    async def show(gw, count):
        parts = [{"type": "input_image", "image_url": f"https://127.0.0.1:{origin.port}/{n}"} for n in range(count)]
        return await create(gw, {"model": "m", "input": [{"role": "user", "content": parts}]})

    async with gateway(limited, redis_url=valkey.url) as gw:
        answers = [await show(gw, count) for count in (100, 101, 501)]
    # The provider's answer is none, but it was asked.
    assert [(answer.status, answer.json()["error"]["param"]) for answer in answers] == [
        (502, None),
        (413, "input"),
        (400, "input"),
    ]
    assert len(upstream.requests) == 1
    assert len(origin.requests) <= 201


async def test_model_at_the_end_of_a_long_body_is_read_in_time(upstream, valkey):
    """With the provider known from the header, nothing is looked ahead for."""
    upstream.on("POST", CHAT, scripts.json_answer(chat.completion()))
    named = [("x-tfy-provider-name", "it")]
    body = {"input": "x" * 300_000, "model": "large-2"}
    async with gateway(translating(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        whole = orjson.dumps(body)
        head = [*bearer(ALICE_KEY), *named, ("Content-Length", str(len(whole)))]
        await client.request("POST", "/v1/responses", headers=head, body=whole[:1000])
        await client.send(whole[1000:])
        answer = await client.answer()
        await answer.read()
    assert answer.status == 200
    assert upstream.requests[0].json()["model"] == "large-2"


async def test_model_a_key_may_not_use_is_refused_before_anything_is_looked_up(upstream, valkey):
    keys = [{**ALICE, "models": ["it/small"]}]
    kinds = {"it": provider(upstream, kind="openai-chat-compatible")}
    async with gateway(config(providers=kinds, keys=keys), redis_url=valkey.url) as gw:
        reads = await gw.metric("responses_proxy_redis_operations_total", operation="read")
        asked = {"input": "x" * 100_000, "previous_response_id": wire.new_id(), "model": "it/large"}
        answer = await create(gw, asked, headers=[("x-tfy-provider-name", "it")])
        assert await gw.metric("responses_proxy_redis_operations_total", operation="read") == reads
    assert (answer.status, answer.json()["error"]["code"]) == (403, "model_not_allowed")
    assert not upstream.requests


async def test_json_without_a_length_that_is_cut_is_no_answer(upstream, valkey):
    """Its end would be the connection's."""
    whole = wire.response_object("gen-1")
    upstream.on("POST", "/v1/responses", scripts.answer(orjson.dumps(whole)[:-9], framing="close"))
    async with gateway(native(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, PLAIN)
        assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_bad_answer")
    assert valkey.keys() == []
