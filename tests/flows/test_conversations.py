"""Whole conversations through the official client, in front of each dialect: chained, resent, streamed and not."""

import base64
import contextlib
import itertools

import openai
import orjson
import pydantic
import pytest

from proxy.dialects.identity import response_of
from tests.dialects.oracle import plain
from tests.rig import model
from tests.rig.faces import FACES
from tests.rig.faces.base import sign
from tests.rig.faces.gemini_generate_content import UNSIGNED
from tests.rig.gateway import gateway
from tests.rig.settings import config
from tests.rig.upstream import Upstream

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = b"%PDF-1.4\n%%EOF\n"
TEXT_ONLY = {"cohere_chat"}
"""Dialects whose providers read no documents but text."""
THOUGHT = "I have to look."
STATE = {
    "anthropic_messages": sign(THOUGHT),
    "bedrock_converse": sign(THOUGHT),
    "chat_completions": THOUGHT,
    "cohere_chat": THOUGHT,
    "gemini_generate_content": sign("get_weather"),
}
"""What of a thought before a call each provider wants to see again with the call's output."""
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather of a place.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
        "additionalProperties": False,
    },
}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Patches a file.", "format": {"type": "text"}}
EXECUTE = {**WEATHER, "name": "exec_command"}
EACH_DIALECT = pytest.mark.parametrize("dialect", FACES)
EITHER_FORM = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


class Person(pydantic.BaseModel):
    name: str
    age: int


class Talk:
    """One conversation of a client: each turn continues the last, by its id or by all that was said before."""

    def __init__(self, client, name, *, chained=True, streamed=False):
        self.client = client
        self.model = name
        self.chained = chained
        self.streamed = streamed
        self.said = []
        self.responses = []

    async def turn(self, *items, **fields):
        """Say something, and return the response."""
        own = [{"role": "user", "content": item} if isinstance(item, str) else item for item in items]
        request = {"model": self.model, "instructions": "Be brief.", **self._continued(own), **fields}
        response = await (self._stream if self.streamed else self._ask)(request)
        assert (response.status, response.error) == ("completed", None)
        self.said += response.output
        self.responses.append(response)
        return response

    def _continued(self, own):
        before = self.responses[-1].id if self.responses else None
        self.said += own
        if self.chained:
            return {"input": own, "previous_response_id": before}
        return {"input": list(self.said), "store": False, "include": ["reasoning.encrypted_content"]}

    async def _ask(self, request):
        make = self.client.responses.parse if "text_format" in request else self.client.responses.create
        return await make(**request)

    async def _stream(self, request):
        async with self.client.responses.stream(**request) as stream:
            async for _ in stream:
                pass
            return await stream.get_final_response()


def serve(dialect, upstream):
    """Configure the gateway in front of a dialect's face."""
    return config(providers={"main": FACES[dialect].configure(upstream)})


def data_url(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def shown(*, pdf):
    """Return a message that shows a picture and, where that can be read, a document."""
    document = {"type": "input_file", "filename": "a.pdf", "file_data": data_url("application/pdf", PDF)}
    content = [
        {"type": "input_text", "text": "HX-LOOK"},
        {"type": "input_image", "detail": "auto", "image_url": data_url("image/png", PNG)},
        *([document] if pdf else []),
    ]
    return {"role": "user", "content": content}


def calls_of(response):
    return [item for item in response.output if item.type == "function_call"]


def types_of(response):
    return [item.type for item in response.output]


async def converse(talk, dialect):
    """Say everything a conversation can hold: text, parallel calls, pictures, a document, a structure."""
    first = await talk.turn("The code word is teal-42. HX-ECHO:hello")
    assert first.output_text == "hello"
    thinking = {"tools": [WEATHER], "reasoning": {"effort": "low", "summary": "auto"}}
    called = await talk.turn("HX-WEATHERS", **thinking)
    assert types_of(called) == ["reasoning", "function_call", "function_call"]
    assert "".join(part.text for part in called.output[0].summary or called.output[0].content) == THOUGHT
    paris, rome = calls_of(called)
    assert [orjson.loads(call.arguments) for call in (paris, rome)] == [{"location": "Paris"}, {"location": "Rome"}]
    assert paris.call_id != rome.call_id
    outputs = [
        {"type": "function_call_output", "call_id": rome.call_id, "output": [{"type": "input_text", "text": "HOT-33"}]},
        {"type": "function_call_output", "call_id": paris.call_id, "output": "MILD-21"},
    ]
    told = await talk.turn(*outputs, **thinking)
    assert told.output_text.index("MILD-21") < told.output_text.index("HOT-33")
    seen = await talk.turn(shown(pdf=dialect not in TEXT_ONLY))
    assert seen.output_text.startswith(f"I see image/png of {len(PNG)} bytes")
    assert (f"application/pdf of {len(PDF)} bytes" in seen.output_text) is (dialect not in TEXT_ONLY)
    structured = await talk.turn("HX-STRUCT", text_format=Person)
    assert structured.output_parsed == Person(name="Ada", age=36)
    recalled = await talk.turn("HX-RECALL")
    assert recalled.output_text == "teal-42"


@EACH_DIALECT
@EITHER_FORM
async def test_conversation_goes_on_by_the_id_of_its_last_response(dialect, streamed, upstream, valkey, alice):
    """What came before is told to the provider again; calls on what is kept do not reach it."""
    async with gateway(serve(dialect, upstream), redis_url=valkey.url) as gw:
        talk = Talk(alice(gw), FACES[dialect].model, streamed=streamed)
        await converse(talk, dialect)
        await check_lifecycle(talk)
    assert len(upstream.requests) == len(talk.responses)
    check_thoughts(dialect, upstream)


@EACH_DIALECT
@EITHER_FORM
async def test_conversation_goes_on_by_all_that_was_said(dialect, streamed, upstream, valkey, alice):
    """Clients that keep everything themselves send it all again, as they received it; nothing is left behind."""
    async with gateway(serve(dialect, upstream), redis_url=valkey.url) as gw:
        talk = Talk(alice(gw), FACES[dialect].model, chained=False, streamed=streamed)
        await converse(talk, dialect)
    check_thoughts(dialect, upstream)
    assert valkey.keys() == []


def check_thoughts(dialect, upstream):
    """Hold every request behind a call to carrying the thought before it, as the provider gave it."""
    told = [request.received.decode() for request in upstream.requests]
    assert [STATE[dialect] in body for body in told] == [False, False, True, True, True, True]
    assert UNSIGNED not in "".join(told)


async def check_lifecycle(talk):
    """Ask for everything that is kept of a chained conversation, then have its end deleted."""
    responses, last = talk.client.responses, talk.responses[-1]
    for made in talk.responses:
        found = await responses.retrieve(made.id)
        assert without_provider(found) == without_provider(made)
    listed = [item async for item in responses.input_items.list(last.id, order="asc", limit=3)]
    assert [item.type for item in listed] == expected_types(talk)
    assert len({item.id for item in listed}) == len(listed)
    assert [item.id for item in listed if response_of(item.id) is None] == []
    said = [item.id for made in talk.responses[:-1] for item in made.output]
    assert [item.id for item in listed if item.id in said] == said
    await responses.delete(last.id)
    with pytest.raises(openai.NotFoundError):
        await responses.retrieve(last.id)
    assert (await responses.retrieve(talk.responses[-2].id)).id == talk.responses[-2].id


def without_provider(response):
    """Return a response without what the client's helper reads out of it, and the gateway adds to JSON only."""
    return {name: value for name, value in plain(response).items() if name != "provider"}


def expected_types(talk):
    """Return the types of all that led to the last response."""
    kept = talk.said[: len(talk.said) - len(talk.responses[-1].output)]
    return [item.get("type", "message") if isinstance(item, dict) else item.type for item in kept]


@EACH_DIALECT
async def test_stream_is_taken_up_again_behind_any_event(dialect, upstream, valkey, alice):
    """By another connection, from what is kept: the same events with the same numbers."""
    async with gateway(serve(dialect, upstream), redis_url=valkey.url) as gw:
        responses = alice(gw).responses
        asked = {"model": FACES[dialect].model, "input": "HX-WEATHER", "tools": [WEATHER]}
        events = [event async for event in await responses.create(**asked, stream=True)]
        rid = events[0].response.id
        for after in (-1, 0, len(events) // 2, len(events) - 2):
            again = [event async for event in await responses.retrieve(rid, stream=True, starting_after=after)]
            assert [event.to_dict() for event in again] == [event.to_dict() for event in events[after + 1 :]]
        assert len(upstream.requests) == 1


@EACH_DIALECT
async def test_response_is_streamed_from_what_is_kept_by_the_clients_own_helper(dialect, upstream, valkey, alice):
    """Whether it was a stream or not: the events lead to the response as it is."""
    async with gateway(serve(dialect, upstream), redis_url=valkey.url) as gw:
        responses = alice(gw).responses
        talks = [Talk(alice(gw), FACES[dialect].model, streamed=streamed) for streamed in (True, False)]
        for talk in talks:
            made = await talk.turn("HX-WEATHER", tools=[WEATHER], reasoning={"effort": "low", "summary": "auto"})
            async with responses.stream(response_id=made.id) as stream:
                types = [event.type async for event in stream]
                found = await stream.get_final_response()
            assert without_provider(found) == without_provider(made)
            assert {"response.reasoning_summary_text.delta", "response.reasoning_text.delta"} & set(types)
            assert "response.function_call_arguments.delta" in types


@EACH_DIALECT
@EITHER_FORM
async def test_custom_tool_is_called_with_text_and_answered(dialect, streamed, upstream, valkey, alice):
    """The provider knows it as a function; what the client sees of that is the text alone."""
    ran = {"type": "function_call", "call_id": "call_1", "name": "exec_command", "arguments": '{"cmd":"ls"}'}
    done = {"type": "function_call_output", "call_id": "call_1", "output": "gateway-ok-42"}
    tools = {"tools": [EXECUTE, PATCH]}
    async with gateway(serve(dialect, upstream), redis_url=valkey.url) as gw:
        talk = Talk(alice(gw), FACES[dialect].model, streamed=streamed)
        called = (await talk.turn("HX-CODEX", ran, done, **tools)).output[-1]
        assert (called.type, called.name, called.input) == ("custom_tool_call", "apply_patch", model.PATCH)
        output = {"type": "custom_tool_call_output", "call_id": called.call_id, "output": "Done."}
        (again,) = calls_of(await talk.turn(output, **tools))
        assert again.name == "exec_command"


@EACH_DIALECT
async def test_conversation_that_forks_has_two_ends(dialect, upstream, valkey, alice):
    async with gateway(serve(dialect, upstream), redis_url=valkey.url) as gw:
        talk = Talk(alice(gw), FACES[dialect].model)
        first = await talk.turn("The code word is one-1.")
        await talk.turn("Now the code word is two-2.")
        assert (await talk.turn("HX-RECALL", previous_response_id=first.id)).output_text == "one-1"
        assert (await talk.turn("HX-RECALL", previous_response_id=talk.responses[1].id)).output_text == "two-2"


@pytest.mark.parametrize("chained", [True, False], ids=["chained", "resent"])
async def test_conversation_moves_from_provider_to_provider(chained, valkey, alice):
    """A call of one is answered by the next; what only the first could read of its own thoughts is not shown it."""
    names = {dialect: dialect.replace("_", "-") for dialect in FACES}
    async with contextlib.AsyncExitStack() as stack:
        upstreams = {dialect: await stack.enter_async_context(Upstream()) for dialect in FACES}
        providers = {names[dialect]: FACES[dialect].configure(upstreams[dialect]) for dialect in FACES}
        gw = await stack.enter_async_context(gateway(config(providers=providers), redis_url=valkey.url))
        talk = Talk(alice(gw), "", chained=chained)
        await talk.turn("The code word is amber-7.", model=f"{names['chat_completions']}/any")
        asked = {"tools": [WEATHER], "reasoning": {"effort": "low", "summary": "auto"}}
        for one, other in itertools.pairwise([*FACES, *FACES, next(iter(FACES))]):
            called = await talk.turn("HX-WEATHER", model=f"{names[one]}/{FACES[one].model}", **asked)
            output = {"type": "function_call_output", "call_id": calls_of(called)[0].call_id, "output": f"by {one}"}
            told = await talk.turn(output, model=f"{names[other]}/{FACES[other].model}", **asked)
            assert f"by {one}" in told.output_text
            recalled = await talk.turn("HX-RECALL", model=f"{names[other]}/{FACES[other].model}")
            assert recalled.output_text == "amber-7"
