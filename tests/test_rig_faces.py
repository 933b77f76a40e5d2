"""The faces of the rig, held to the vendors' own clients: what these read is what the model does."""

import asyncio
import itertools
import json

import anthropic
import botocore
import botocore.config
import botocore.session
import cohere
import openai
import pytest
from google import genai
from google.genai import types

from tests.rig.faces import FACES
from tests.rig.settings import UPSTREAM_KEY

SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
FUNCTION = {"name": "get_weather", "description": "Tells the weather.", "parameters": SCHEMA}
PLACES = [{"location": "Paris"}, {"location": "Rome"}]


async def ask_chat(url, name, prompt, key):
    """Return the text and the calls of two answers: a whole one and a streamed one."""
    tools = [{"type": "function", "function": FUNCTION}]
    asked = {"model": name, "messages": [{"role": "user", "content": prompt}], "tools": tools}
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        made = await client.chat.completions.create(**asked)
        async with client.chat.completions.stream(**asked) as stream:
            streamed = await stream.get_final_completion()
    messages = [completion.choices[0].message for completion in (made, streamed)]
    return [(one.content, [json.loads(call.function.arguments) for call in one.tool_calls or ()]) for one in messages]


async def ask_anthropic(url, name, prompt, key):
    tool = {"name": "get_weather", "input_schema": SCHEMA}
    asked = {"model": name, "max_tokens": 99, "messages": [{"role": "user", "content": prompt}], "tools": [tool]}
    async with anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as client:
        client.api_key, headers = None, {"x-api-key": key, "Authorization": anthropic.Omit()}
        made = await client.messages.create(**asked, extra_headers=headers)
        async with client.messages.stream(**asked, extra_headers=headers) as stream:
            streamed = await stream.get_final_message()
    return [
        (
            "".join(block.text for block in message.content if block.type == "text"),
            [block.input for block in message.content if block.type == "tool_use"],
        )
        for message in (made, streamed)
    ]


async def ask_gemini(url, name, prompt, key):
    return await asyncio.to_thread(_ask_gemini, url, name, prompt, key)


def _ask_gemini(url, name, prompt, key):
    function = types.FunctionDeclaration(name="get_weather", parameters_json_schema=SCHEMA)
    own = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[function])])
    asked = {"model": name, "contents": prompt, "config": own}
    with genai.Client(
        api_key=key, vertexai=False, http_options=types.HttpOptions(base_url=url, api_version="v1beta")
    ) as client:
        made = client.models.generate_content(**asked)
        chunks = list(client.models.generate_content_stream(**asked))
    return [(_texts(parts), _calls(parts)) for parts in (_parts([made]), _parts(chunks))]


def _parts(chunks):
    return [part for chunk in chunks for part in chunk.candidates[0].content.parts]


def _texts(parts):
    return "".join(part.text for part in parts if part.text and not part.thought)


def _calls(parts):
    return [part.function_call.args for part in parts if part.function_call]


async def ask_cohere(url, name, prompt, key):
    tools = [{"type": "function", "function": FUNCTION}]
    asked = {"model": name, "messages": [{"role": "user", "content": prompt}], "tools": tools}
    asked["request_options"] = {"max_retries": 0}
    async with cohere.AsyncClientV2(api_key=key, base_url=url) as client:
        made = await client.chat(**asked)
        events = [event async for event in client.chat_stream(**asked)]
    content = [one for one in made.message.content or () if one.type == "text"]
    calls = [call.function.arguments for call in made.message.tool_calls or ()]
    said = "".join(event.delta.message.content.text or "" for event in events if event.type == "content-delta")
    pieces = [
        (event.index, event.delta.message.tool_calls.function.arguments)
        for event in events
        if event.type == "tool-call-delta"
    ]
    streamed = ["".join(piece for _, piece in run) for _, run in itertools.groupby(pieces, lambda piece: piece[0])]
    whole = ("".join(one.text for one in content), [json.loads(call) for call in calls])
    return [whole, (said, [json.loads(call) for call in streamed])]


async def ask_bedrock(url, name, prompt, key):
    return await asyncio.to_thread(_ask_bedrock, url, name, prompt, key)


def _ask_bedrock(url, name, prompt, key):
    session = botocore.session.get_session()
    own = botocore.config.Config(signature_version=botocore.UNSIGNED, retries={"total_max_attempts": 1})
    client = session.create_client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=own)

    def authorize(request, **_):
        request.headers["Authorization"] = f"Bearer {key}"

    # It sends bearer tokens by HTTPS only.
    client.meta.events.register("before-send.bedrock-runtime", authorize)
    spec = {"name": "get_weather", "inputSchema": {"json": SCHEMA}}
    messages = [{"role": "user", "content": [{"text": prompt}]}]
    asked = {"modelId": name, "messages": messages, "toolConfig": {"tools": [{"toolSpec": spec}]}}
    made = client.converse(**asked)["output"]["message"]["content"]
    events = list(client.converse_stream(**asked)["stream"])
    client.close()
    deltas = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
    said = "".join(delta["delta"].get("text", "") for delta in deltas)
    pieces = [(d["contentBlockIndex"], d["delta"]["toolUse"]["input"]) for d in deltas if "toolUse" in d["delta"]]
    streamed = ["".join(piece for _, piece in run) for _, run in itertools.groupby(pieces, lambda piece: piece[0])]
    whole = "".join(block.get("text", "") for block in made), [b["toolUse"]["input"] for b in made if "toolUse" in b]
    return [whole, (said, [json.loads(call) for call in streamed])]


ASK = {
    "anthropic_messages": ask_anthropic,
    "bedrock_converse": ask_bedrock,
    "chat_completions": ask_chat,
    "cohere_chat": ask_cohere,
    "gemini_generate_content": ask_gemini,
}


@pytest.mark.parametrize("dialect", FACES)
async def test_vendors_own_client_reads_what_the_model_does(dialect, upstream):
    face = FACES[dialect]
    face.configure(upstream)
    said = await ASK[dialect](upstream.url, face.model, "HX-PING", UPSTREAM_KEY)
    assert said == [("pong-7421", [])] * 2
    called = await ASK[dialect](upstream.url, face.model, "HX-WEATHERS", UPSTREAM_KEY)
    assert [calls for _, calls in called] == [PLACES] * 2


@pytest.mark.parametrize("dialect", FACES)
@pytest.mark.parametrize(("prompt", "key"), [("HX-PING", "wrong-key"), ("HX-ERR429", UPSTREAM_KEY)])
async def test_vendors_own_client_raises_its_own_error(dialect, prompt, key, upstream):
    face = FACES[dialect]
    face.configure(upstream)
    with pytest.raises(Exception, match=r"invalid credentials|Rate limit reached") as raised:
        await ASK[dialect](upstream.url, face.model, prompt, key)
    assert type(raised.value).__module__.partition(".")[0] in {"anthropic", "botocore", "cohere", "google", "openai"}
