"""The README's tables of providers: each tick, and each empty cell, is tried on a provider of that kind."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from tests.dialects.oracle import read_events
from tests.flows.calls import create
from tests.rig import scripts, wire
from tests.rig.faces import FACES
from tests.rig.faces.gemini_generate_content import MODELS
from tests.rig.gateway import gateway
from tests.rig.settings import UPSTREAM_KEY, config

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(60)
PDF = b"%PDF-1.4\n%%EOF\n"
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
YES = "✓"


def table(name):
    """Return a table of the README: kind → column → cell."""
    lines = README.partition(f"<!-- {name} -->\n")[2].partition("\n\n")[0].splitlines()
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].replace("`", ""): dict(zip(header[1:], row[1:], strict=True)) for row in rows}


class Elsewhere(NamedTuple):
    """A request as its face expects it, which came to another path, and may lack what the path says instead."""

    path: str
    target: str
    query: str
    received: bytes

    def header(self, name):
        return "2023-06-01" if name == "anthropic-version" else None


def read_gemini(exchange, body):
    """Read a request that came by Vertex's path."""
    path = MODELS + exchange.path.rpartition("/")[2]
    return FACES["gemini_generate_content"].read(
        Elsewhere(path, exchange.target, exchange.query, exchange.received), body
    )


def read_claude(exchange, body):
    """Read a request whose path names the model."""
    own = {name: value for name, value in body.items() if name != "anthropic_version"}
    assert body["anthropic_version"] == "vertex-2023-10-16"
    own = {"model": "claude-sonnet-5", **own}
    path = "/v1/messages/count_tokens" if "count-tokens" in exchange.path else "/v1/messages"
    return FACES["anthropic_messages"].read(Elsewhere(path, path, "", orjson.dumps(own)), own)


def read_mistral(exchange, body):
    """Read a request whose documents are written as Mistral has them."""
    for message in body["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "document_url":
                url = part.pop("document_url")
                part.update(type="file", file={"filename": part.pop("document_name", "a.pdf"), "file_data": url})
    return FACES["chat_completions"].read(exchange, body)


def chat_face(kind, base_path, model, **settings):
    """Give a kind the face of chat completions."""
    face = FACES["chat_completions"]
    targets = (f"{base_path}/chat/completions",)
    return replace(face, kind=kind, base_path=base_path, targets=targets, model=model, settings=settings)


PLACE = "/v1/projects/p/locations/eu/publishers"
GOOGLE = "/v1beta1/projects/p/locations/eu/publishers/google/models/"
VERTEX = {"kind": "vertex", "settings": {"project": "p", "location": "eu"}, "listing": None}
KEYED = ("x-goog-api-key", UPSTREAM_KEY)
PROVIDERS = {
    "anthropic": FACES["anthropic_messages"],
    "vertex (Claude)": replace(
        FACES["anthropic_messages"],
        **VERTEX,
        credential=KEYED,
        read=read_claude,
        targets=(f"{PLACE}/anthropic/models/*:rawPredict", f"{PLACE}/anthropic/models/*:streamRawPredict"),
        counting=f"{PLACE}/anthropic/models/count-tokens:rawPredict",
    ),
    "vertex (Gemini)": replace(
        FACES["gemini_generate_content"],
        **VERTEX,
        credential=KEYED,
        read=read_gemini,
        targets=(f"{GOOGLE}*:generateContent", f"{GOOGLE}*:streamGenerateContent"),
        counting=f"{GOOGLE}*:countTokens",
    ),
    "bedrock": FACES["bedrock_converse"],
    "gemini": FACES["gemini_generate_content"],
    "cohere": FACES["cohere_chat"],
    "groq": chat_face("groq", "/openai/v1", "openai/gpt-oss-120b", api="chat"),
    "cerebras": chat_face("cerebras", "/v1", "gpt-oss-120b"),
    "together-ai": chat_face("together-ai", "/v1", "deepseek-ai/DeepSeek-V4", api="chat"),
    "deepinfra": chat_face("deepinfra", "/v1/openai", "deepseek-ai/DeepSeek-V4"),
    "deepseek": chat_face("deepseek", "", "deepseek-v4"),
    "mistral": replace(chat_face("mistral", "/v1", "mistral-medium-latest", api="chat"), read=read_mistral),
    "openrouter": chat_face("openrouter", "/api/v1", "deepseek/deepseek-v4", api="chat"),
    "huggingface": chat_face("huggingface", "/v1", "deepseek-ai/DeepSeek-V4"),
    "openai-chat-compatible": FACES["chat_completions"],
}


class Client:
    """What a client does at one provider."""

    def __init__(self, gw, model):
        self.gw = gw
        self.model = model

    async def ask(self, asked, **fields):
        """Ask; return the response, None where it was refused."""
        answer = await create(self.gw, {"model": self.model, "input": asked, **fields})
        assert answer.status in (200, 400), answer.body
        return None if answer.status == 400 else {**answer.json(), "dropped": answer.header("x-gateway-dropped") or ""}

    async def show(self, part):
        """Ask what the model sees of a part."""
        content = [{"type": "input_text", "text": "HX-LOOK"}, part]
        response = await self.ask([{"role": "user", "content": content}])
        return response and text_of(response)


def text_of(response):
    return "".join(part["text"] for item in response["output"] for part in item.get("content") or () if "text" in part)


def data_url(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


async def try_create(client):
    return YES if text_of(await client.ask("HX-PING")) else ""


async def try_stream(client):
    answer = await create(client.gw, {"model": client.model, "input": "HX-PING", "stream": True})
    return YES if text_of(read_events(answer.body)[-1]["response"]) else ""


async def try_create_and_stream(client):
    return await try_create(client) and await try_stream(client)


async def try_images(client):
    seen = await client.show({"type": "input_image", "image_url": data_url("image/png", PIXEL)})
    return YES if seen and f"image/png of {len(PIXEL)} bytes" in seen else ""


async def try_files(client):
    noted = await client.show(
        {"type": "input_file", "filename": "a.txt", "file_data": data_url("text/plain", b"HX-ECHO:noted")}
    )
    pdf = await client.show({"type": "input_file", "filename": "a.pdf", "file_data": data_url("application/pdf", PDF)})
    read = ["text"] if noted is not None else []
    return ", ".join(read + (["PDF"] if pdf and "application/pdf" in pdf else []))


async def try_tools(client):
    called = await client.ask("HX-WEATHERS", tools=[TOOL])
    calls = [item for item in called["output"] if item["type"] == "function_call"]
    outputs = [{"type": "function_call_output", "call_id": call["call_id"], "output": "Rain"} for call in calls]
    told = await client.ask(outputs, previous_response_id=called["id"], tools=[TOOL])
    return YES if len(calls) == 2 and "Rain" in text_of(told) else ""


async def try_reasoning(client):
    response = await client.ask("HX-REASON", reasoning={"effort": "low", "summary": "auto"})
    thought = [item for item in response["output"] if item["type"] == "reasoning"]
    return YES if thought and "effort" not in response["dropped"] else ""


async def try_structure(client):
    form = {"format": {"type": "json_schema", "name": "person", "schema": PERSON, "strict": True}}
    response = await client.ask("HX-STRUCT", text=form)
    return YES if response and "format" not in response["dropped"] and orjson.loads(text_of(response)) else ""


async def try_lifecycle(client):
    answer = await create(client.gw, {"model": client.model, "input": "HX-PING", "stream": True})
    target = f"/v1/responses/{read_events(answer.body)[0]['response']['id']}"
    replayed = await client.gw.fetch("GET", f"{target}?stream=true")
    calls = [("GET", target), ("GET", f"{target}/input_items"), ("DELETE", target)]
    statuses = [(await client.gw.fetch(method, called)).status for method, called in calls]
    return YES if replayed.body == answer.body and statuses == [200, 200, 200] else ""


async def try_chain(client):
    first = await client.ask("The code word is teal-42.")
    recalled = await client.ask("HX-RECALL", previous_response_id=first["id"])
    return YES if text_of(recalled) == "teal-42" else ""


async def try_count(client):
    answer = await client.gw.fetch("POST", "/v1/responses/input_tokens", json={"model": client.model, "input": "a b"})
    return YES if answer.status == 200 and answer.json()["input_tokens"] > 0 else ""


COLUMNS: dict[str, Any] = {
    "create, stream": try_create_and_stream,
    "images": try_images,
    "files": try_files,
    "tools": try_tools,
    "reasoning": try_reasoning,
    "structured output": try_structure,
    "retrieve, replay, delete, input items": try_lifecycle,
    "continue": try_chain,
    "count tokens": try_count,
}
TRANSLATED = table("translated")


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", PROVIDERS)
async def test_translated_kind_can_do_what_the_table_says(kind, column, upstream, valkey):
    face = PROVIDERS[kind]
    async with gateway(config(providers={"it": face.configure(upstream)}), redis_url=valkey.url) as gw:
        found = await COLUMNS[column](Client(gw, f"it/{face.model}"))
    assert found == TRANSLATED[kind][column]


def test_table_has_every_translated_kind_and_column():
    assert TRANSLATED.keys() == PROVIDERS.keys()
    assert all(list(row)[1:] == list(COLUMNS) for row in TRANSLATED.values())


NATIVE = table("native")
PATHS = {"groq": "/openai/v1", "openrouter": "/api/v1"}


async def try_native(gw, upstream, base, column):
    """Return what becomes of the calls of a column: at the provider, `kept` by the gateway, refused."""
    rid = wire.new_id()
    upstream.on("POST", f"{base}/responses", scripts.json_answer(wire.response_object(rid)))
    assert (await create(gw, {"model": "m", "input": "x"})).status == 200
    for method in ("GET", "POST", "DELETE"):
        upstream.on(method, "*", scripts.json_answer(wire.response_object(rid)))
    calls = {
        "create, stream": [("POST", "/v1/responses", {"model": "m", "input": "x"})],
        "retrieve, delete, input items": [
            ("GET", f"/v1/responses/{rid}", None),
            ("GET", f"/v1/responses/{rid}/input_items", None),
            ("DELETE", f"/v1/responses/{rid}", None),
        ],
        "continue": [("POST", "/v1/responses", {"model": "m", "input": "x", "previous_response_id": rid})],
        "cancel": [("POST", f"/v1/responses/{rid}/cancel", None)],
        "count tokens": [("POST", "/v1/responses/input_tokens", {"model": "m", "input": "x"})],
        "compact, conversations": [
            ("POST", "/v1/responses/compact", {"model": "m", "input": "x"}),
            ("POST", "/v1/conversations", {}),
        ],
    }[column]
    before = len(upstream.requests)
    answers = [await gw.fetch(method, target, json=body) for method, target, body in calls]
    if {answer.status for answer in answers} == {400}:
        return ""
    assert {answer.status for answer in answers} == {200}
    asked = upstream.requests[before:]
    told = [request for request in asked if b"previous_response_id" in request.received]
    if column == "continue":
        return YES if told else "kept"
    return YES if len(asked) == len(calls) else "kept"


@pytest.mark.parametrize("column", list(next(iter(NATIVE.values())))[1:])
@pytest.mark.parametrize("kind", NATIVE)
async def test_native_kind_can_do_what_the_table_says(kind, column, upstream, valkey):
    base = PATHS.get(kind, "/v1")
    api = {"api": "responses"} if NATIVE[kind]["continue"] == "kept" else {}
    served = {"kind": kind, "base_url": upstream.url + base, "api_key": UPSTREAM_KEY, **api}
    async with gateway(config(providers={"it": served}), redis_url=valkey.url) as gw:
        assert await try_native(gw, upstream, base, column) == NATIVE[kind][column]
