"""The sandbox answers the official client the way OpenAI does, and keeps no more than it may."""

import asyncio
import socket
import subprocess
import sys

import openai
import orjson
import pytest
from pydantic import BaseModel

from proxy.sandbox import server as sandbox
from tests.rig.client import connect, fetch
from tests.rig.eventually import eventually
from tests.rig.sandbox import ask, collect, serving, status_of

REQUIRED = {
    *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id"),
    *("instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p"),
    *("presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage", "store"),
    *("max_output_tokens", "max_tool_calls", "background", "service_tier", "metadata", "safety_identifier"),
    "prompt_cache_key",
}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["location", "days"],
    },
}


@pytest.fixture
async def running():
    async with serving() as served:
        yield served


def refusal(raised):
    error = raised.value
    return error.status_code, error.code, error.param


async def test_create_answers_with_the_prompt_and_counts_words(running):
    response = await ask(running, "one two three", instructions="be brief", metadata={"team": "a"})
    assert response.output_text == "You said: one two three"
    assert response.status == "completed"
    assert response.metadata == {"team": "a"}
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (5, 5, 10)


async def test_create_returns_every_required_member_of_a_response():
    """The schema that Open Responses publishes requires them all."""
    async with serving() as running:
        answer = await fetch(running.port, "POST", "/v1/responses", json={"model": "m", "input": "hello"})
    assert set(answer.json()) >= REQUIRED
    assert answer.header("x-request-id").startswith("req_")


async def test_create_makes_ids_unique(running):
    first, second = await asyncio.gather(ask(running), ask(running))
    assert first.id != second.id
    assert len(first.id) == len("resp_") + 48


async def test_stream_carries_the_text_and_numbers_its_events_from_zero(running):
    events = await collect(await ask(running, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "You said: one two three"
    assert events[-1].response == await running.responses.retrieve(events[0].response.id)


async def test_pace_is_taken_from_the_request_first():
    """Metadata wins over the header, the header over the sandbox's own pace."""
    header = {"x-sandbox-events-per-second": "0"}
    async with serving(events_per_second=0.001) as running:
        assert (await ask(running, background=True, extra_headers=header)).status == "queued"
        assert (await ask(running, extra_headers=header)).status == "completed"
        assert (await ask(running, metadata={"events_per_second": "0"})).status == "completed"
        slow = await ask(running, background=True, extra_headers=header, metadata={"events_per_second": "0.001"})
        assert await status_of(running, slow.id) == "queued"
        own = await ask(running, background=True)
        assert await status_of(running, own.id) == "queued"


async def test_stream_writes_one_frame_at_a_time_and_ends_without_done(running):
    body = {"model": "m", "input": "hello", "stream": True}
    answer = await fetch(running.port, "POST", "/v1/responses", json=body)
    frames = answer.body.split(b"\n\n")
    assert frames.pop() == b""
    assert answer.raw.count(b"event: response.") == len(frames)
    for frame in frames:
        name, data = frame.split(b"\n")
        assert name == b"event: " + orjson.loads(data.removeprefix(b"data: "))["type"].encode()
        chunk = frame + b"\n\n"
        assert b"%X\r\n%b\r\n" % (len(chunk), chunk) in answer.raw.upper().replace(chunk.upper(), chunk)


async def test_stream_ends_incomplete_when_the_text_is_cut(running):
    events = await collect(await ask(running, stream=True, max_output_tokens=2))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output_text == "You said:"


async def test_stream_satisfies_the_strict_client_with_text(running):
    async with running.responses.stream(model="sandbox", input="one two") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert "".join(deltas) == final.output_text == "You said: one two"


async def test_stream_satisfies_the_strict_client_with_parallel_function_calls(running):
    tools = [WEATHER, {**WEATHER, "name": "get_time"}]
    prompt = "get_weather and get_time, please"
    async with running.responses.stream(model="sandbox", input=prompt, tools=tools) as stream:
        final = await stream.get_final_response()
    assert [(item.name, item.arguments) for item in final.output] == [
        ("get_weather", '{"location":"sandbox","days":2}'),
        ("get_time", '{"location":"sandbox","days":2}'),
    ]


async def test_stream_satisfies_the_strict_client_with_a_parsed_answer(running):
    class Person(BaseModel):
        name: str
        age: int

    async with running.responses.stream(model="sandbox", input="who?", text_format=Person) as stream:
        final = await stream.get_final_response()
    assert final.output_parsed == Person(name="sandbox", age=0)


async def test_tool_result_is_answered_when_the_call_is_in_the_chain(running):
    call = await ask(running, "get_weather in Paris", tools=[WEATHER])
    result = {"type": "function_call_output", "call_id": call.output[0].call_id, "output": "sunny"}
    response = await ask(running, [result], tools=[WEATHER], previous_response_id=call.id)
    assert response.output_text == "The tool answered: sunny"


async def test_previous_response_is_context_and_its_words_are_cached_input(running):
    first = await ask(running, "alpha")
    second = await ask(running, "beta", previous_response_id=first.id)
    third = await ask(running, "gamma", previous_response_id=second.id)
    assert second.output_text == "You said: beta (and before that: alpha)"
    assert third.output_text == "You said: gamma (and before that: beta)"
    assert third.usage.input_tokens_details.cached_tokens == 1 + 3 + 1 + 7
    assert third.previous_response_id == second.id


async def test_previous_response_is_refused_when_unknown(running):
    with pytest.raises(openai.BadRequestError) as raised:
        await ask(running, previous_response_id="resp_unknown")
    assert refusal(raised) == (400, "previous_response_not_found", "previous_response_id")


async def test_retrieve_returns_what_create_returned(running):
    created = await ask(running)
    assert await running.responses.retrieve(created.id) == created


async def test_retrieve_is_refused_when_not_stored(running):
    created = await ask(running, store=False)
    with pytest.raises(openai.NotFoundError, match=f"Response with id '{created.id}' not found."):
        await running.responses.retrieve(created.id)


async def test_retrieve_streams_the_rest_of_the_same_events(running):
    body = {"model": "m", "input": "one two three", "stream": True}
    whole = await fetch(running.port, "POST", "/v1/responses", json=body)
    name = whole.events()[0].json()["response"]["id"]
    for after in (-1, 0, 4, 100):
        query = f"stream=true&starting_after={after}"
        tail = await fetch(running.port, "GET", f"/v1/responses/{name}?{query}")
        assert tail.events() == whole.events()[after + 1 :]
    events = await collect(await running.responses.retrieve(name, stream=True, starting_after=4))
    assert [event.sequence_number for event in events] == list(range(5, len(whole.events())))


async def test_delete_forgets_and_a_second_delete_is_not_found(running):
    created = await ask(running)
    answer = await fetch(running.port, "DELETE", f"/v1/responses/{created.id}")
    assert answer.json() == {"id": created.id, "object": "response", "deleted": True}
    for call in (running.responses.delete, running.responses.retrieve, running.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            await call(created.id)


async def test_input_items_are_paged_in_either_order(running):
    prompts = [{"role": "user", "content": f"prompt {number}"} for number in range(5)]
    created = await ask(running, prompts)
    async with asyncio.timeout(5):
        latest = [item.content[0].text async for item in running.responses.input_items.list(created.id, limit=2)]
        oldest = [i async for i in running.responses.input_items.list(created.id, limit=2, order="asc")]
    assert latest == [f"prompt {number}" for number in (4, 3, 2, 1, 0)]
    assert [item.content[0].text for item in oldest] == latest[::-1]
    page = await running.responses.input_items.list(created.id, after=oldest[3].id, order="asc")
    assert [item.id for item in page.data] == [oldest[4].id]
    assert not page.has_more


async def test_input_tokens_counts_what_create_counts(running):
    first = await ask(running, "alpha")
    fields = {"input": "beta gamma", "instructions": "be brief", "previous_response_id": first.id}
    counted = await running.responses.input_tokens.count(model="sandbox", **fields)
    created = await running.responses.create(model="sandbox", **fields)
    assert counted.input_tokens == created.usage.input_tokens == 1 + 3 + 2 + 2


async def test_compact_keeps_the_user_and_adds_one_opaque_item(running):
    first = await ask(running, "alpha")
    compacted = await running.responses.compact(model="sandbox", input="beta", previous_response_id=first.id)
    assert [item.type for item in compacted.output] == ["message", "message", "compaction"]
    again = await ask(running, [item.to_dict(warnings=False) for item in compacted.output])
    assert again.output_text == "You said: beta (and before that: alpha)"


async def test_conversation_collects_turns(running):
    conversations = running.client.conversations
    made = await conversations.create(items=[{"role": "user", "content": "alpha"}], metadata={"a": "b"})
    assert (await conversations.retrieve(made.id)).metadata == {"a": "b"}
    assert (await conversations.update(made.id, metadata={"c": "d"})).metadata == {"c": "d"}
    first = await ask(running, "beta", conversation=made.id)
    assert (first.output_text, first.conversation.id) == ("You said: beta (and before that: alpha)", made.id)
    await collect(await ask(running, "gamma", conversation={"id": made.id}, stream=True))
    texts = [item.content[0].text async for item in conversations.items.list(made.id, order="asc", limit=2)]
    assert [text for text in texts if not text.startswith("You said")] == ["alpha", "beta", "gamma"]
    assert len(texts) == 5
    assert (await conversations.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError, match="Conversation with id"):
        await ask(running, conversation=made.id)


async def test_conversation_items_are_added_read_and_deleted(running):
    conversations = running.client.conversations
    made = await conversations.create()
    added = await conversations.items.create(made.id, items=[{"role": "user", "content": "alpha"}])
    item = added.data[0]
    assert await conversations.items.retrieve(item.id, conversation_id=made.id) == item
    assert (await conversations.items.delete(item.id, conversation_id=made.id)).id == made.id
    with pytest.raises(openai.NotFoundError, match="Item with id"):
        await conversations.items.retrieve(item.id, conversation_id=made.id)


async def test_models_lists_the_one(running):
    models = [model.id async for model in running.client.models.list()]
    assert models == ["sandbox"]
    assert (await running.client.models.retrieve("sandbox")).id == "sandbox"
    with pytest.raises(openai.NotFoundError) as raised:
        await running.client.models.retrieve("other")
    assert refusal(raised) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", None),
        (b"[]", None),
        (b"", "missing_required_parameter"),
        (b'{"model":"m"}', "missing_required_parameter"),
        (b'{"model":"m","input":7}', "invalid_type"),
        (b'{"model":"m","previous_response_id":"r","conversation":"c"}', "mutually_exclusive_parameters"),
        (b'{"model":"m","input":[{"a":' + b"[" * 500 + b"]" * 500 + b"}]}", None),
    ],
)
async def test_create_refuses_in_openais_shape(running, body, code):
    answer = await fetch(running.port, "POST", "/v1/responses", body=body)
    error = answer.json()["error"]
    assert (answer.status, error["type"], error["code"]) == (400, "invalid_request_error", code)


async def test_create_refuses_a_body_that_does_not_decompress(running):
    headers = [("Content-Encoding", "gzip")]
    answer = await fetch(running.port, "POST", "/v1/responses", headers=headers, body=b"not gzip")
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/nothing", 404), ("PUT", "/v1/responses", 405), ("GET", "/", 404)]
)
async def test_unknown_paths_and_methods_are_refused_in_openais_shape(running, method, path, status):
    answer = await fetch(running.port, method, path)
    assert (answer.status, set(answer.json()["error"])) == (status, {"message", "type", "param", "code"})


@pytest.mark.parametrize("stream", [True, False])
async def test_create_is_refused_when_it_asks_for_that(running, stream):
    """Nothing is kept of it."""
    body = {"model": "m", "input": "x", "stream": stream, "metadata": {"status": "503", "silence": "0.01"}}
    answer = await fetch(running.port, "POST", "/v1/responses", json=body)
    assert (answer.status, answer.json()["error"]["code"]) == (503, "asked_for")


async def test_stream_is_silent_when_it_asks_for_that(running):
    """Half of the events come before the silence; a client that leaves in it cancels the response."""
    body = {"model": "m", "input": "x", "stream": True, "metadata": {"silence": "3600"}}
    async with connect(running.port) as client:
        await client.request("POST", "/v1/responses", json=body)
        answer = await client.answer()
        events = await answer.read_events(5)
        name = events[0].json()["response"]["id"]
        assert await status_of(running, name) == "in_progress"
    await eventually(lambda: _is_cancelled(running, name))


async def _is_cancelled(running, name):
    return await status_of(running, name) == "cancelled"


async def test_a_body_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(sandbox, "MAX_BODY_BYTES", 1000)
    async with serving() as limited:
        answer = await fetch(limited.port, "POST", "/v1/responses", json={"model": "m", "input": "x" * 2000})
    assert (answer.status, answer.json()["error"]["code"]) == (413, "request_too_large")


async def test_the_oldest_responses_go_when_there_are_too_many():
    async with serving(kept_entries=2) as running:
        names = [(await ask(running)).id for _ in range(3)]
        with pytest.raises(openai.NotFoundError):
            await running.responses.retrieve(names[0])
        assert [await status_of(running, name) for name in names[1:]] == ["completed"] * 2


async def test_the_oldest_responses_go_when_they_weigh_too_much():
    async with serving(kept_bytes=100_000) as running:
        names = [(await ask(running, "x" * 30_000)).id for _ in range(4)]
        with pytest.raises(openai.NotFoundError):
            await running.responses.retrieve(names[0])
        assert await status_of(running, names[-1]) == "completed"


def test_process_serves_until_the_other_end_closes():
    """The process writes where it serves, answers there, and ends by itself with the socket."""
    ours, theirs = socket.socketpair()
    line = [sys.executable, "-m", "proxy.sandbox", "--control-fd", str(theirs.fileno())]
    process = subprocess.Popen(line, pass_fds=[theirs.fileno()])  # noqa: S603
    theirs.close()
    try:
        with ours, ours.makefile() as lines:
            url = lines.readline().strip()
            with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
                assert client.responses.create(model="sandbox", input="hi").output_text == "You said: hi"
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
