"""The official client against the gateway: a user changes `base_url` and key, and nothing else."""

import openai
import pydantic
import pytest
from openai import AsyncAzureOpenAI
from openai.types.responses import Response

from tests.rig.gateway import gateway
from tests.rig.replay import recordings
from tests.rig.sandbox import collect, serving
from tests.rig.settings import ALICE, ALICE_KEY, config, provider

MODEL = "sandbox"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
        "additionalProperties": False,
    },
}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


@pytest.fixture
async def gw(valkey):
    """Give a gateway whose only provider is a sandbox."""
    async with serving() as sandbox:
        url = f"http://127.0.0.1:{sandbox.port}/v1"
        built_in = config(providers={"sandbox": {"kind": "sandbox"}}, models={"fast": "sandbox/quick"})
        async with gateway(built_in, redis_url=valkey.url, sandbox_url=url) as running:
            yield running


@pytest.fixture
def client(gw, alice):
    """Give alice's client to it."""
    return alice(gw)


@pytest.fixture
def responses(client):
    return client.responses


async def test_create(responses):
    response = await responses.create(model=MODEL, input="one two three", instructions="Be brief.", metadata={"k": "v"})
    assert isinstance(response, Response)
    assert (response.status, response.metadata, response.instructions) == ("completed", {"k": "v"}, "Be brief.")
    assert "one two three" in response.output_text
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.provider == "sandbox"


async def test_create_with_raw_response(responses):
    raw = await responses.with_raw_response.create(model="fast", input="hi")
    assert raw.headers["x-gateway-provider"] == "sandbox"
    assert raw.headers["x-request-id"]
    assert raw.parse()._request_id == raw.headers["x-request-id"]
    assert raw.parse().model == "quick"


async def test_create_streams_every_event_in_order(responses):
    stream = await responses.create(model=MODEL, input="one two three", stream=True)
    events = await collect(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text


async def test_stream_helper_accumulates(responses):
    async with responses.stream(model=MODEL, input="one two three") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert "".join(deltas) == final.output_text


async def test_parse_returns_the_type_asked_for(responses):
    class City(pydantic.BaseModel):
        name: str
        size: int

    response = await responses.parse(model=MODEL, input="Which city?", text_format=City)
    assert isinstance(response.output_parsed, City)


async def test_tools_are_called_and_answered(responses):
    asked = await responses.create(model=MODEL, input="Call get_weather please.", tools=[WEATHER])
    (call,) = [item for item in asked.output if item.type == "function_call"]
    assert call.name == "get_weather"
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    answered = await responses.create(model=MODEL, input=[result], previous_response_id=asked.id, tools=[WEATHER])
    assert (answered.status, answered.previous_response_id) == ("completed", asked.id)


async def test_image_input_passes(responses):
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": PIXEL, "detail": "low"},
    ]
    response = await responses.create(model=MODEL, input=[{"role": "user", "content": content}])
    items = [item async for item in responses.input_items.list(response.id)]
    assert items[0].content[1].image_url == PIXEL


async def test_retrieve(responses):
    created = await responses.create(model=MODEL, input="one two")
    retrieved = await responses.retrieve(created.id, include=["reasoning.encrypted_content"])
    assert retrieved == created


async def test_retrieve_streams_from_where_it_is_told(responses):
    stream = await responses.create(model=MODEL, input="one two three", stream=True)
    events = await collect(stream)
    rid = events[0].response.id
    again = await collect(await responses.retrieve(rid, stream=True, starting_after=3))
    assert again == events[4:]
    assert await collect(await responses.retrieve(rid, stream=True)) == events


async def test_input_items_are_paged(responses):
    texts = [f"message {number}" for number in range(5)]
    created = await responses.create(model=MODEL, input=[{"role": "user", "content": text} for text in texts])
    page = await responses.input_items.list(created.id, limit=2, order="asc")
    assert (len(page.data), page.has_more) == (2, True)
    assert [item.content[0].text async for item in page] == texts


async def test_delete(responses):
    created = await responses.create(model=MODEL, input="one")
    await responses.delete(created.id)
    for call in (responses.retrieve, responses.delete):
        with pytest.raises(openai.NotFoundError, match="not found"):
            await call(created.id)


async def test_background_response_is_polled_and_cancelled(responses):
    slow = {"events_per_second": "0.01"}
    queued = await responses.create(model=MODEL, input="one", background=True, metadata=slow)
    assert queued.status == "queued"
    assert (await responses.retrieve(queued.id)).status in ("queued", "in_progress")
    assert (await responses.cancel(queued.id)).status == "cancelled"
    assert (await responses.cancel(queued.id)).status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        await responses.cancel((await responses.create(model=MODEL, input="one")).id)


async def test_background_stream_is_resumed(responses):
    stream = await responses.create(model=MODEL, input="one two", background=True, stream=True)
    async for event in stream:
        if event.type == "response.created":
            rid, seen = event.response.id, event.sequence_number
            break
    await stream.close()
    rest = await collect(await responses.retrieve(rid, stream=True, starting_after=seen))
    assert (rest[0].sequence_number, rest[-1].type) == (seen + 1, "response.completed")


async def test_chain_of_responses(responses):
    first = await responses.create(model=MODEL, input="one")
    second = await responses.create(model=MODEL, input="two", previous_response_id=first.id, stream=True)
    assert (await collect(second))[-1].response.previous_response_id == first.id
    compacted = await responses.compact(model=MODEL, previous_response_id=first.id)
    assert compacted.object == "response.compaction"
    counted = await responses.input_tokens.count(model=MODEL, input="one two", previous_response_id=first.id)
    assert counted.input_tokens > 0


async def test_conversations(client):
    conversation = await client.conversations.create(
        metadata={"topic": "demo"}, items=[{"role": "user", "content": "hi"}]
    )
    assert (await client.conversations.retrieve(conversation.id)).metadata == {"topic": "demo"}
    assert (await client.conversations.update(conversation.id, metadata={"topic": "x"})).metadata == {"topic": "x"}
    for carried in (conversation.id, {"id": conversation.id}):
        await client.responses.create(model=MODEL, input="more", conversation=carried)
    await client.conversations.items.create(conversation.id, items=[{"role": "user", "content": "bye"}])
    items = [item async for item in client.conversations.items.list(conversation.id, limit=2, order="asc")]
    assert len(items) == 6
    item = await client.conversations.items.retrieve(items[-1].id, conversation_id=conversation.id)
    assert item.content[0].text == "bye"
    await client.conversations.items.delete(items[-1].id, conversation_id=conversation.id)
    assert (await client.conversations.delete(conversation.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.conversations.retrieve(conversation.id)


async def test_errors_are_the_typed_exceptions(gw, alice, bob, sdk):
    """What the gateway says itself, and what the provider does, arrive alike."""
    mine = await alice(gw).responses.create(model=MODEL, input="one")
    with pytest.raises(openai.AuthenticationError) as unknown_key:
        await sdk(gw, "sk-nobody").responses.create(model=MODEL, input="one")
    assert unknown_key.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        await bob(gw).responses.retrieve(mine.id)
    with pytest.raises(openai.BadRequestError) as previous:
        await bob(gw).responses.create(model=MODEL, input="one", previous_response_id=mine.id)
    assert (previous.value.code, previous.value.param) == ("previous_response_not_found", "previous_response_id")
    with pytest.raises(openai.BadRequestError) as undecided:
        await alice(gw, default_headers={"x-tfy-provider-name": "none"}).responses.create(model=MODEL, input="one")
    assert undecided.value.code == "unknown_provider"
    with pytest.raises(openai.BadRequestError) as theirs:
        await alice(gw).responses.create(model=MODEL)
    assert theirs.value.param == "input"
    assert theirs.value.request_id


async def test_models(client):
    assert [model.id async for model in client.models.list()] == ["fast", "sandbox"]
    assert (await client.models.retrieve("fast")).owned_by == "sandbox"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-none")


@pytest.mark.parametrize("way", ["endpoint", "base_url"])
async def test_azure_client(gw, way):
    """Its key comes in `api-key`, its paths stand below /openai, with a version in the query."""
    place = {"azure_endpoint": gw.url} if way == "endpoint" else {"base_url": f"{gw.url}/openai/v1"}
    client = AsyncAzureOpenAI(**place, api_key=ALICE_KEY, api_version="preview", max_retries=0)
    async with client:
        created = await client.responses.create(model=MODEL, input="one two")
        events = await collect(await client.responses.create(model=MODEL, input="one", stream=True))
        assert (await client.responses.retrieve(created.id)).id == created.id
        await client.responses.delete(created.id)
    assert events[-1].type == "response.completed"


STREAMS = [
    recording
    for recording in recordings(api="responses", provider="openai", fidelity="raw")
    if recording.streamed and recording.status == 200
]


async def read_through(client, recording):
    """Read a recorded stream through the SDK's strict machine: what it made of it, or what it could not take."""
    seen = []
    try:
        async with client.responses.stream(model=recording.model, input="x") as stream:
            seen += [event async for event in stream]
            seen.append(await stream.get_final_response())
    except (openai.APIError, RuntimeError, AssertionError) as error:
        seen.append((type(error), str(error)))
    return seen


@pytest.mark.parametrize("chunk", ["7", "event"])
async def test_stream_helper_reads_recorded_streams_as_from_the_provider(chunk, replay, valkey, sdk):
    """Whatever the chunks, event for event the same as straight from OpenAI; most of them to a final response."""
    replay.reset()
    replay.configure(chunk=chunk)
    url = replay.base_url("openai")
    finals = 0
    async with (
        gateway(config(providers={"main": provider(f"{url}/v1")}, keys=[ALICE]), redis_url=valkey.url) as gw,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as direct,
    ):
        for recording in STREAMS[:: 9 if chunk == "7" else 5]:
            through = await read_through(sdk(gw, ALICE_KEY), recording)
            assert through == await read_through(direct, recording), recording.id
            finals += not isinstance(through[-1], tuple)
    assert finals > len(STREAMS) // 18
