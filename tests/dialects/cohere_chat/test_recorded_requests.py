"""The requests that were recorded come out again, made from what a client of the Responses API would have sent."""

import json

import orjson
import pytest

from proxy.dialects.cohere_chat.request import Profile, render_request
from proxy.dialects.create import read_create
from proxy.dialects.media import data_url
from proxy.dialects.reasoning import seal
from tests.dialects.cohere_chat.official import check
from tests.dialects.cohere_chat.recorded import ALL

REQUESTS = [recording for recording in ALL if recording.request]
ELSEWHERE = {"documents", "frequency_penalty", "k", "presence_penalty", "seed", "stop_sequences"}
"""What no client of the Responses API can ask for."""


def asked_by(request):
    """Return the request as a client of the Responses API would have sent it."""
    tools = [
        {"type": "function", **tool["function"], "strict": request.get("strict_tools", False)}
        for tool in request.get("tools") or ()
    ]
    format_ = request.get("response_format") or {"type": "text"}
    if "json_schema" in format_:
        format_ = {"type": "json_schema", "name": "answer", "schema": format_["json_schema"]}
    asked = {
        "input": [item for message in request["messages"] for item in items_of(message)],
        "tools": tools,
        "tool_choice": request.get("tool_choice", "auto").lower(),
        "text": {"format": format_},
        "stream": request.get("stream", False),
        "temperature": request.get("temperature"),
        "top_p": request.get("p"),
        "max_output_tokens": request.get("max_tokens"),
    }
    return {name: value for name, value in asked.items() if value is not None}


def items_of(message):
    """Return what stands for a message in the input."""
    role, parts = message["role"], parts_of(message.get("content"))
    if role == "tool":
        return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": list(map(said, parts))}]
    if role != "assistant":
        return [{"role": role, "content": list(map(said, parts))}]
    items = [thought("thinking", part["thinking"]) if "thinking" in part else reply(part["text"]) for part in parts]
    if message.get("tool_plan"):
        items.append(thought("tool_plan", message["tool_plan"]))
    calls = [(call["id"], call["function"]) for call in message.get("tool_calls") or ()]
    return items + [{"type": "function_call", "call_id": call_id, **function} for call_id, function in calls]


def reply(text):
    return {"role": "assistant", "content": [{"type": "output_text", "text": text}]}


def thought(kind, text):
    return {"type": "reasoning", "summary": [], "encrypted_content": seal("cohere", "m", {kind: text})}


def said(part):
    """Return what stands for a part of the content."""
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    if part["type"] == "image_url":
        return {"type": "input_image", "image_url": part["image_url"]["url"]}
    data = part["document"]["data"]
    return {"type": "input_file", "filename": data["title"], "file_data": data_url("text/plain", data["text"].encode())}


def parts_of(content):
    """Return content as its parts, without those that say nothing."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    return [part for part in parts if part.get("text") != ""]


def plain(request):
    """Return what a request means: content in parts, arguments as JSON, without what is the default."""
    messages = [plain_message(message) for message in request["messages"]]
    rest = {name: value for name, value in request.items() if value not in (None, False, []) and name not in ELSEWHERE}
    if "tools" not in rest:
        # There is nothing to choose from.
        rest.pop("tool_choice", None)
    return {**rest, "model": "m", "messages": messages}


def plain_message(message):
    content = [plain_part(part) for part in parts_of(message.get("content"))]
    calls = [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        for call in message.get("tool_calls") or ()
    ]
    whole = {**message, "content": content, "tool_calls": calls, "citations": None}
    return {name: value for name, value in whole.items() if value}


def plain_part(part):
    if part["type"] != "document":
        return part
    data = part["document"]["data"]
    return {"type": "document", "title": data["title"], "text": data["text"]}


@pytest.mark.parametrize("recording", REQUESTS, ids=lambda recording: recording.id)
def test_recorded_request_is_made_again(recording):
    request = recording.request
    rendered = render_request(read_create(asked_by(request), "cohere", "m"), Profile())
    body = orjson.loads(rendered.body)
    check(body)
    assert plain(body) == plain(request)
    assert rendered.dropped == ()


@pytest.mark.skipif(not REQUESTS, reason="no recorded traffic")
def test_recorded_requests_have_histories():
    roles = [[message["role"] for message in recording.request["messages"]] for recording in REQUESTS]
    assert sum("assistant" in one for one in roles) >= 10
    assert sum("tool" in one for one in roles) >= 8
