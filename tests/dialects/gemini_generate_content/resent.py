"""The Responses request that a recorded one for Gemini is equivalent to, and the recorded one in plain form.

What the model said goes through the dialect as an answer, and its output comes back as a client resends it.
"""

import base64
import dataclasses
import json
import re
from typing import Any

from proxy.dialects.gemini_generate_content.response import parse_response
from tests.dialects.oracle import context_of

PROTOCOL = re.compile(r"_([a-z])")
OPAQUE = {
    "args",
    "response",
    "properties",
    "parameters",
    "parametersJsonSchema",
    "responseJsonSchema",
    "responseSchema",
}
SETTINGS = {"temperature": "temperature", "topP": "top_p", "maxOutputTokens": "max_output_tokens"}


def model_of(recording) -> str:
    """Return the model that was asked, from the URL."""
    return recording.exchange["request"]["url"].split("/models/")[1].partition(":")[0]


def camel(value: Any) -> Any:
    """Return a request with the names of the wire: SDKs write some as Python does, which servers take, too."""
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    renamed = {PROTOCOL.sub(lambda found: found[1].upper(), name): member for name, member in value.items()}
    return {name: member if name in OPAQUE else camel(member) for name, member in renamed.items()}


def standard(data: str) -> str:
    """Return base64 in the alphabet everybody reads."""
    return data.replace("-", "+").replace("_", "/")


def body_of(recording) -> dict[str, Any]:
    """Write the equivalent request, its input as the items of the whole dialogue."""
    request, model = camel(recording.request), model_of(recording)
    items: list[dict[str, Any]] = []
    for content in request["contents"]:
        if content.get("role") == "model":
            items += output_of(content, recording.provider, model, len(items))
        else:
            items += said(content["parts"], items)
    body = {"model": model, "input": items, **settings_of(request.get("generationConfig") or {})}
    system = [part["text"] for part in system_of(request)]
    if system:
        body["instructions"] = "\n".join(system)
    declared = declarations_of(request)
    if declared:
        body["tools"] = [
            {
                "type": "function",
                "name": one["name"],
                "description": one.get("description"),
                "parameters": one.get("parametersJsonSchema"),
            }
            for one in declared
        ]
    return body


def output_of(content, provider, model, at) -> list[dict[str, Any]]:
    """Return what the dialect makes of what the model said, as it would have been told."""
    answer = json.dumps({"candidates": [{"content": content, "finishReason": "STOP"}]}).encode()
    context = dataclasses.replace(context_of(provider=provider, model=model), response_id=f"resp_{at:04x}")
    return parse_response(answer, context)["output"]


def said(parts, before) -> list[dict[str, Any]]:
    """Return items for what the user's side said; outputs are for the calls nobody has answered yet."""
    answered = {item["call_id"] for item in before if item["type"] == "function_call_output"}
    waiting = [item for item in before if item["type"] == "function_call" and item["call_id"] not in answered]
    items = []
    for part in parts:
        response = part.get("functionResponse")
        if response is None:
            items.append({"type": "message", "role": "user", "content": [input_part(part)]})
            continue
        call = next(item for item in waiting if response.get("id", item["call_id"]) == item["call_id"])
        waiting.remove(call)
        shown = [input_part(one) for one in response.get("parts", [])]
        told = response["response"]
        text = {"type": "input_text", "text": told["output"] if is_rendered(told) else json.dumps(told)}
        items.append({"type": "function_call_output", "call_id": call["call_id"], "output": [text, *shown]})
    return items


def input_part(part) -> dict[str, Any]:
    """Return one part of the user's."""
    if "text" in part:
        return {"type": "input_text", "text": part["text"]}
    if "fileData" in part:
        url = part["fileData"]["fileUri"]
        image = part["fileData"]["mimeType"].startswith("image/")
        return (
            {"type": "input_image", "image_url": url}
            if image
            else {"type": "input_file", "file_url": url, "filename": part["fileData"]["mimeType"].replace("/", ".")}
        )
    data = part["inlineData"]
    if data["mimeType"].startswith("audio/"):
        sound = {"data": standard(data["data"]), "format": data["mimeType"].removeprefix("audio/")}
        return {"type": "input_audio", "input_audio": sound}
    url = f"data:{data['mimeType']};base64,{standard(data['data'])}"
    if data["mimeType"].startswith("image/"):
        return {"type": "input_image", "image_url": url}
    return {"type": "input_file", "file_data": url}


def settings_of(config) -> dict[str, Any]:
    """Return the settings both sides have."""
    settings: dict[str, Any] = {own: config[name] for name, own in SETTINGS.items() if config.get(name) is not None}
    if "responseJsonSchema" in config:
        schema = config["responseJsonSchema"]
        settings["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": schema}}
    if "responseLogprobs" in config:
        settings["top_logprobs"] = config.get("logprobs", 0)
    return settings


def system_of(request) -> list[dict[str, Any]]:
    """Return the parts of the system instruction, which is also written as one part alone."""
    parts = (request.get("systemInstruction") or {}).get("parts") or []
    return [{"text": part["text"]} for part in ([parts] if isinstance(parts, dict) else parts) if part["text"]]


def declarations_of(request) -> list[dict[str, Any]]:
    """Return the functions of a request, whose tools are also written as one alone."""
    tools = request.get("tools") or []
    listed = [tools] if isinstance(tools, dict) else tools
    return [one for tool in listed if tool for one in tool.get("functionDeclarations") or ()]


def plain_contents(contents) -> list[dict[str, Any]]:
    """Return contents without what makes no difference: who they say they are is never in doubt."""
    plain: list[dict[str, Any]] = []
    for content in contents:
        role = content.get("role", "user")
        parts = [one for part in content["parts"] for one in plain_part(part)]
        # Each message of the user's is one of its own; of the model's text only a signature keeps two apart.
        if plain and plain[-1]["role"] == role:
            plain[-1]["parts"] += parts
        elif parts:
            plain.append({"role": role, "parts": parts})
    return [
        {**content, "parts": joined(content["parts"]) if content["role"] == "model" else content["parts"]}
        for content in plain
    ]


def plain_part(part) -> list[dict[str, Any]]:
    """Return a part in the one form it has here, or nothing where it says nothing."""
    part = {name: value for name, value in part.items() if value is not False}
    if (part.get("thought") or part.get("text") == "") and "thoughtSignature" not in part:
        return []
    for member, plain in PLAIN.items():
        if member in part:
            return [{name: value for name, value in {**part, **plain(part[member])}.items() if value is not None}]
    return [part]


def plain_response(response) -> dict[str, Any]:
    """Return what a function returned; its text is that of the form the dialect gives all of it."""
    shown = [one for inner in response.get("parts", []) for one in plain_part(inner)]
    told = response["response"]
    text = told["output"] if is_rendered(told) else json.dumps(told)
    return {"functionResponse": {"name": response["name"], "response": text, "parts": shown}}


def plain_data(data) -> dict[str, Any]:
    """Return content, as text where it is text."""
    if data["mimeType"].startswith("text/"):
        return {"inlineData": None, "text": base64.b64decode(standard(data["data"])).decode()}
    return {"inlineData": {**data, "data": standard(data["data"])}}


PLAIN = {
    "fileData": lambda data: {"fileData": data["fileUri"]},
    "functionCall": lambda call: {"functionCall": {"name": call["name"], "args": call.get("args") or {}}},
    "functionResponse": plain_response,
    "inlineData": plain_data,
}


def is_rendered(response) -> bool:
    """Tell whether a response is of the form that the dialect gives all of them."""
    return set(response) == {"output"} and isinstance(response["output"], str)


def joined(parts) -> list[dict[str, Any]]:
    """Return parts, unsigned texts next to each other in one."""
    out: list[dict[str, Any]] = []
    for part in parts:
        if out and set(part) == set(out[-1]) == {"text"}:
            out[-1] = {"text": out[-1]["text"] + part["text"]}
        else:
            out.append(part)
    return out
