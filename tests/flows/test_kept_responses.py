"""What a provider does not keep the gateway does: retrieve, replay, list, continue and delete, from any replica."""

import asyncio
import re

import pytest
from openai.types.responses import Response

from tests.dialects.oracle import calls_of, read_events, text_of
from tests.flows.calls import PLAIN, STREAMED, ask, create, nothing_left
from tests.rig import chat, scripts, wire
from tests.rig.eventually import eventually
from tests.rig.gateway import gateway
from tests.rig.settings import BOB_KEY, UPSTREAM_KEY, config, provider

PATH = "/v1/chat/completions"
ID = re.compile(r"resp_[0-9a-f]{48}")
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


def keeping(upstream, **sections):
    """Configure the scripted upstream as a provider that has chat completions only."""
    return config(providers={"it": provider(upstream, kind="openai-chat-compatible")}, **sections)


@pytest.fixture
async def replicas(upstream, valkey):
    """Give two gateways on one Redis."""
    served = keeping(upstream)
    async with gateway(served, redis_url=valkey.url) as one, gateway(served, redis_url=valkey.url) as other:
        yield one, other


def says(upstream, *texts):
    """Let the provider answer with these texts in turn, as JSON."""
    upstream.on("POST", PATH, *(scripts.json_answer(chat.completion(text)) for text in texts))


async def test_created_response_is_retrieved_through_any_replica(replicas, upstream):
    one, other = replicas
    says(upstream, "Hello")
    created = await create(one, {**PLAIN, "metadata": {"a": "b"}})
    assert ID.fullmatch(created.json()["id"])
    retrieved = await other.fetch("GET", f"/v1/responses/{created.json()['id']}")
    assert (retrieved.status, retrieved.json()) == (200, created.json())
    assert retrieved.header("x-gateway-provider") == "it"
    assert len(upstream.requests) == 1


async def test_streamed_response_is_retrieved_and_replayed_to_the_byte(replicas, upstream):
    one, other = replicas
    upstream.on("POST", PATH, scripts.sse_answer(chat.stream(["word "] * 500)))
    streamed = await create(one, STREAMED)
    events = read_events(streamed.body)
    target = f"/v1/responses/{events[0]['response']['id']}"
    assert (await other.fetch("GET", target)).json() == {
        **events[-1]["response"],
        "provider": "openai-chat-compatible",
    }
    assert (await other.fetch("GET", f"{target}?stream=true")).body == streamed.body
    resumed = await other.fetch("GET", f"{target}?stream=true&starting_after=250")
    assert [event.json()["sequence_number"] for event in resumed.events()] == list(range(251, len(events)))
    assert streamed.body.endswith(resumed.body)


async def test_response_that_was_not_streamed_is_replayed_as_the_stream_it_would_have_been(replicas, upstream):
    one, other = replicas
    says(upstream, "Hello")
    created = (await create(one, PLAIN)).json()
    replayed = await other.fetch("GET", f"/v1/responses/{created['id']}?stream=true")
    assert {**read_events(replayed.body)[-1]["response"], "provider": created["provider"]} == created


async def test_response_is_there_when_its_last_event_is(replicas, upstream):
    """A client that asks another replica as soon as it knows of the end must not be too early."""
    one, other = replicas
    upstream.on("POST", PATH, scripts.sse_answer(chat.stream()))
    async with one.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_until(b"response.completed")
        rid = answer.events()[0].json()["response"]["id"]
        assert (await other.fetch("GET", f"/v1/responses/{rid}")).status == 200


async def test_deleted_response_is_gone_everywhere(replicas, upstream, valkey):
    one, other = replicas
    says(upstream, "Hello")
    target = f"/v1/responses/{(await create(one, PLAIN)).json()['id']}"
    deleted = await other.fetch("DELETE", target)
    assert deleted.json() == {"id": target[14:], "object": "response", "deleted": True}
    unknown = await other.fetch("GET", f"/v1/responses/resp_{'0' * 48}")
    for gw in replicas:
        for method in ("GET", "DELETE"):
            again = await gw.fetch(method, target)
            assert (again.status, again.body.replace(target[14:].encode(), b"")) == (
                404,
                unknown.body.replace(b"resp_" + b"0" * 48, b""),
            )
    assert valkey.keys() == []


@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
async def test_request_not_to_be_stored_leaves_nothing_behind(body, replicas, upstream, valkey):
    """The whole keyspace is read."""
    one, _ = replicas
    upstream.on(
        "POST", PATH, scripts.sse_answer(chat.stream()) if "stream" in body else scripts.json_answer(chat.completion())
    )
    answer = await create(one, {**body, "store": False})
    rid = ID.search(answer.body.decode())[0]
    assert answer.status == 200
    assert valkey.keys() == []
    assert (await one.fetch("GET", f"/v1/responses/{rid}")).status == 404
    continued = await create(one, {**PLAIN, "previous_response_id": rid})
    assert continued.json()["error"]["code"] == "previous_response_not_found"


async def test_chain_is_told_to_the_provider_from_its_beginning(replicas, upstream):
    """Without what is not inherited: instructions and tools are each request's own."""
    one, other = replicas
    calling = chat.completion(None, "tool_calls", tool_calls=[chat.call("weather", {"city": "Paris"})])
    upstream.on("POST", PATH, scripts.json_answer(calling))
    first = (await create(one, {**PLAIN, "instructions": "Be kind.", "tools": [TOOL]})).json()
    ((name, arguments),) = calls_of(first)
    assert (name, arguments) == ("weather", '{"city":"Paris"}')
    output = {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "Rain"}
    upstream.on("POST", PATH, scripts.json_answer(chat.completion("It rains.")))
    asked = {"model": "m", "input": [output], "previous_response_id": first["id"]}
    second = (await create(other, asked)).json()
    assert (text_of(second), second["previous_response_id"]) == ("It rains.", first["id"])
    upstream.on("POST", PATH, scripts.json_answer(chat.completion("Yes.")))
    await create(one, {"model": "m", "input": "Sure?", "previous_response_id": second["id"]})
    messages = upstream.requests[-1].json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"]
    assert [messages[at]["content"] for at in (0, 2, 3, 4)] == ["hello", "Rain", "It rains.", "Sure?"]


async def test_response_is_found_for_as_long_as_it_is_kept(upstream, valkey):
    """However long ids of others are remembered; what is continued, and all before it, lives on."""
    says(upstream, "One", "Two", "Three")
    lives = {"archive": {"ttl_days": 2}, "bindings": {"ttl_days": 1}}
    async with gateway(keeping(upstream, **lives), redis_url=valkey.url) as gw:
        first = (await create(gw, PLAIN)).json()["id"]
        second = (await create(gw, {**PLAIN, "previous_response_id": first})).json()["id"]
        keys = valkey.keys()
        assert {key[:1] for key in keys} == {b"a", b"b"}
        assert all(valkey.run("TTL", key) > 90_000 for key in keys)
        for key in keys:
            valkey.run("EXPIRE", key, "100")
        await create(gw, {**PLAIN, "previous_response_id": second})
    assert all(valkey.run("TTL", key) > 90_000 for key in keys)


async def test_chain_ends_where_one_of_it_was_deleted(replicas, upstream):
    one, _ = replicas
    says(upstream, "One", "Two")
    first = (await create(one, PLAIN)).json()["id"]
    second = (await create(one, {**PLAIN, "previous_response_id": first})).json()["id"]
    await one.fetch("DELETE", f"/v1/responses/{first}")
    answer = await create(one, {**PLAIN, "previous_response_id": second})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "previous_response_not_found")
    assert first in answer.json()["error"]["message"]
    assert len(upstream.requests) == 2


async def test_chain_goes_on_at_another_provider_without_the_first_ones_secrets(upstream, second_upstream, valkey):
    """Reasoning is sealed for the provider that made it; the rest of the dialogue is anybody's."""
    reasoned = chat.completion("Hm.", reasoning="Let me see.")
    upstream.on("POST", PATH, scripts.json_answer(reasoned))
    second_upstream.on("POST", PATH, scripts.json_answer(chat.completion("Yes.")))
    kinds = {
        name: provider(one, kind="openai-chat-compatible") for name, one in (("a", upstream), ("b", second_upstream))
    }
    async with gateway(config(providers=kinds, default_provider="a"), redis_url=valkey.url) as gw:
        first = (await create(gw, PLAIN)).json()
        assert first["output"][0]["encrypted_content"]
        asked = {**PLAIN, "previous_response_id": first["id"]}
        followed = await create(gw, asked)
        other = await gw.fetch("POST", "/v1/responses", headers=[("x-tfy-provider-name", "b")], json=asked)
    assert (followed.header("x-gateway-provider"), other.header("x-gateway-provider")) == ("a", "b")
    assert upstream.requests[-1].json()["messages"][1]["reasoning"] == "Let me see."
    assert "reasoning" not in second_upstream.requests[-1].json()["messages"][1]


async def test_input_items_are_listed_in_pages(replicas, upstream):
    one, other = replicas
    says(upstream, "One", "Two")
    said = [{"role": "user", "content": f"line {number}"} for number in range(5)]
    first = (await create(one, {**PLAIN, "input": said})).json()
    target = f"/v1/responses/{first['id']}/input_items"
    page = (await other.fetch("GET", f"{target}?limit=2&order=asc")).json()
    assert [item["content"][0]["text"] for item in page["data"]] == ["line 0", "line 1"]
    assert page["has_more"]
    rest = (await other.fetch("GET", f"{target}?limit=100&order=asc&after={page['last_id']}")).json()
    assert (len(rest["data"]), rest["has_more"]) == (3, False)
    assert (await other.fetch("GET", f"{target}?limit=2&order=asc")).json() == page
    assert (await one.fetch("GET", f"{target}?limit=1000")).status == 400


async def test_items_can_be_referred_to_by_their_ids(replicas, upstream):
    """As the Vercel AI SDK does instead of repeating what was said."""
    one, other = replicas
    says(upstream, "One", "Two", "Three")
    first = (await create(one, PLAIN)).json()
    (asked,) = (await one.fetch("GET", f"/v1/responses/{first['id']}/input_items")).json()["data"]
    references = [{"type": "item_reference", "id": asked["id"]}, {"id": first["output"][0]["id"]}]
    again = {"role": "user", "content": "Again."}
    answer = await create(other, {**PLAIN, "input": [*references, again]})
    assert answer.status == 200
    messages = upstream.requests[-1].json()["messages"]
    assert [message["content"] for message in messages] == ["hello", "One", "Again."]
    chained = await create(one, {**PLAIN, "previous_response_id": answer.json()["id"]})
    assert chained.status == 200
    messages = upstream.requests[-1].json()["messages"]
    assert [message["content"] for message in messages] == ["hello", "One", "Again.", "Two", "hello"]


async def test_item_of_another_tenant_is_like_one_that_is_not_there(replicas, upstream):
    one, _ = replicas
    says(upstream, "Secret")
    item = (await create(one, PLAIN)).json()["output"][0]["id"]
    answers = [
        await create(one, {**PLAIN, "input": [{"type": "item_reference", "id": asked}]}, key=BOB_KEY)
        for asked in (item, f"msg_{'0' * 48}00", "msg_elsewhere")
    ]
    shown = {
        (answer.status, re.sub(r"'msg_\w+'", "", answer.json()["error"]["message"]), answer.json()["error"]["code"])
        for answer in answers
    }
    assert len(shown) == 1
    assert {answer.status for answer in answers} == {404}
    assert len(upstream.requests) == 1


async def test_nothing_of_a_response_is_another_tenants(replicas, upstream):
    """Whatever the surface, the answer is that for an id that is not there."""
    one, other = replicas
    says(upstream, "Secret")
    mine = (await create(one, PLAIN)).json()["id"]
    nobodys = f"resp_{'0' * 48}"
    surfaces = [
        ("GET", "/v1/responses/{id}", None),
        ("GET", "/v1/responses/{id}?stream=true&starting_after=0", None),
        ("GET", "/v1/responses/{id}/input_items", None),
        ("POST", "/v1/responses/{id}/cancel", None),
        ("DELETE", "/v1/responses/{id}", None),
        ("POST", "/v1/responses", "previous_response_id"),
        ("POST", "/v1/responses/input_tokens", "previous_response_id"),
    ]
    for gw in (one, other):
        for method, target, field in surfaces:
            foreign, unknown = [
                await gw.fetch(method, target.replace("{id}", rid), key=BOB_KEY, json=field and {**PLAIN, field: rid})
                for rid in (mine, nobodys)
            ]
            assert foreign.status == unknown.status
            assert foreign.body.replace(mine.encode(), b"") == unknown.body.replace(nobodys.encode(), b"")
            assert {name for name, _ in foreign.headers} == {name for name, _ in unknown.headers}
    assert (await one.fetch("GET", f"/v1/responses/{mine}")).status == 200
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/items")])
async def test_response_is_no_conversation(method, rest, replicas, upstream):
    one, _ = replicas
    says(upstream, "Hello")
    rid = (await create(one, PLAIN)).json()["id"]
    answer = await one.fetch(method, f"/v1/conversations/{rid}{rest}", json={} if method == "POST" else None)
    assert (answer.status, answer.json()["error"]["message"]) == (404, f"Conversation with id '{rid}' not found.")
    assert (await one.fetch("GET", f"/v1/responses/{rid}")).status == 200


async def test_stream_that_was_cut_is_kept_as_it_ended(replicas, upstream):
    one, other = replicas
    events = chat.stream(("one ", "two"))
    upstream.on("POST", PATH, scripts.cut_stream(events, len(b"".join(events[:2]))))
    answer = await create(one, STREAMED)
    failed = read_events(answer.body)[-1]["response"]
    retrieved = await other.fetch("GET", f"/v1/responses/{failed['id']}")
    assert retrieved.json() == {**failed, "provider": "openai-chat-compatible"}


async def test_stream_that_its_client_left_is_not_kept(upstream, valkey):
    events = chat.stream(["x"] * 50)
    async with gateway(keeping(upstream), redis_url=valkey.url) as gw:
        gate = asyncio.Event()
        upstream.on("POST", PATH, scripts.sse_answer(events, gates={3: gate}))
        async with gw.connect() as client:
            await ask(client, STREAMED)
            answer = await client.answer()
            (created, *_) = await answer.read_events(4)
        await nothing_left(gw, upstream)
        assert (await gw.fetch("GET", f"/v1/responses/{created.json()['response']['id']}")).status == 404


async def test_kept_response_outlives_its_provider(upstream, valkey):
    says(upstream, "Hello")
    async with gateway(keeping(upstream), redis_url=valkey.url) as gw:
        created = (await create(gw, PLAIN)).json()
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        assert (await gw.fetch("GET", f"/v1/responses/{created['id']}")).json() == created


async def test_without_redis_creates_go_on_and_what_they_made_is_kept_later(upstream, private_valkey):
    says(upstream, "One", "Two")
    async with gateway(keeping(upstream), redis_url=private_valkey.url) as gw:
        first = (await create(gw, PLAIN)).json()
        private_valkey.stop()
        created = await create(gw, PLAIN)
        assert created.status == 200
        later = f"/v1/responses/{created.json()['id']}"
        assert (await gw.fetch("GET", later)).json() == created.json()
        away = await gw.fetch("GET", f"/v1/responses/{first['id']}")
        assert (away.status, away.header("retry-after")) == (503, "1")
        private_valkey.start()

        async def back():
            return (await gw.fetch("GET", f"/v1/responses/{first['id']}")).status in (200, 404)

        await eventually(back)
    async with gateway(keeping(upstream), redis_url=private_valkey.url) as gw:
        assert (await gw.fetch("GET", later)).json() == created.json()


async def test_input_that_leaves_no_room_is_refused_unless_it_is_not_stored(upstream, valkey):
    says(upstream, "Hello")
    small = {"archive": {"max_response_bytes": 2000}}
    async with gateway(keeping(upstream, **small), redis_url=valkey.url) as gw:
        long = {**PLAIN, "input": "x" * 3000}
        refused = await create(gw, long)
        assert (refused.status, refused.json()["error"]["param"]) == (413, "store")
        assert not upstream.requests
        assert (await create(gw, {**long, "store": False})).status == 200


@pytest.mark.parametrize("field", ["background", "conversation"])
async def test_what_would_need_a_providers_own_store_is_refused(field, replicas, upstream):
    one, _ = replicas
    answer = await create(one, {**PLAIN, field: True if field == "background" else "conv_1"})
    assert answer.status in (400, 404)
    assert not upstream.requests


async def test_ids_of_items_stay_what_they_were(replicas, upstream):
    one, other = replicas
    upstream.on("POST", PATH, scripts.sse_answer(chat.stream()))
    events = read_events((await create(one, STREAMED)).body)
    final = events[-1]["response"]
    retrieved = Response.model_validate((await other.fetch("GET", f"/v1/responses/{final['id']}")).json())
    assert retrieved.output[0].id == events[2]["item"]["id"]
    assert retrieved.output[0].id.startswith(f"msg_{final['id'][5:]}")


async def test_tokens_are_counted_once_however_often_a_response_is_read(upstream, valkey):
    says(upstream, "Hello")
    async with gateway(keeping(upstream), redis_url=valkey.url) as gw:
        rid = (await create(gw, PLAIN)).json()["id"]
        for query in ("", "?stream=true"):
            await gw.fetch("GET", f"/v1/responses/{rid}{query}")
        assert await gw.metric("responses_proxy_tokens_total", type="output") == chat.USAGE["completion_tokens"]
        assert await gw.metric("responses_proxy_requests_total", operation="retrieve") == 2


# Kinds that have a Responses endpoint but no store


async def test_provider_without_a_store_is_told_what_it_does_not_know(upstream, valkey):
    """Groq refuses what it has no place for, and knows no earlier response."""
    events = wire.stream_events("resp_groq")
    upstream.on("POST", "/openai/v1/responses", scripts.sse_answer(events))
    groq = {"kind": "groq", "base_url": f"{upstream.url}/openai/v1", "api_key": UPSTREAM_KEY}
    async with gateway(config(providers={"groq": groq}), redis_url=valkey.url) as gw:
        first = await create(gw, {**STREAMED, "include": ["reasoning.encrypted_content"], "store": True})
        assert first.body == b"".join(events)
        assert first.header("x-gateway-dropped") == "include"
        assert (await gw.fetch("GET", "/v1/responses/resp_groq?stream=true")).body == first.body
        upstream.on("POST", "/openai/v1/responses", scripts.json_answer(wire.response_object("resp_next")))
        second = await create(gw, {**PLAIN, "input": "And?", "previous_response_id": "resp_groq"})
        assert second.json()["id"] == "resp_next"
        deleted = await gw.fetch("DELETE", "/v1/responses/resp_groq")
        assert deleted.status == 200
    sent, continued = [request.json() for request in upstream.requests]
    assert sent == {"model": "gpt-4o-mini", "input": "hello", "stream": True}
    assert continued.keys() == {"model", "input"}
    assert [item["role"] for item in continued["input"]] == ["user", "assistant", "user"]
