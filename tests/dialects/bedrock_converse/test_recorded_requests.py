import json
from urllib.parse import quote, unquote

import pytest

from proxy.dialects.bedrock_converse import bedrock_converse, profile_of
from proxy.dialects.create import read_create
from tests.dialects.bedrock_converse.as_responses import responses_body
from tests.dialects.bedrock_converse.recorded import ANSWERS
from tests.dialects.bedrock_converse.service import check_request

NOT_SAID = ('"video"', '"guardContent"', '"searchResult"', '"citations"', '"server_tool_use"')
"""What the Responses API has no words for, or what only the translation itself says."""


def model_of(recording):
    return unquote(recording.exchange["request"]["url"].partition("/model/")[2].rpartition("/")[0])


def equivalent(recording):
    """Tell whether a recorded request is one the Responses API can ask for."""
    request = recording.request
    return bool(request) and not any(name in json.dumps(request) for name in NOT_SAID)


REQUESTS = [recording for recording in ANSWERS if equivalent(recording)]


@pytest.mark.parametrize("recording", REQUESTS, ids=lambda recording: recording.id)
def test_recorded_request_is_what_its_responses_form_renders_to(recording):
    model, streams = model_of(recording), recording.api == "converse-stream"
    dialect = bedrock_converse(profile_of(model))
    body = responses_body(recording.request, "primary", model, stream=streams)
    rendered = dialect.render_request(read_create(body, "primary", model, hosted=dialect.hosted))
    check_request("ConverseStream" if streams else "Converse", rendered.body)
    assert plain(json.loads(rendered.body), model) == plain(recording.request, model)
    assert rendered.path == f"/model/{quote(model, safe='')}/{recording.api}"


def plain(request, model):
    """Leave out what the service does not care about, and what the Responses API cannot ask for."""
    messages = []
    for message in request["messages"]:
        content = [block for block in map(plain_block, message["content"]) if block]
        if messages and messages[-1]["role"] == message["role"]:
            messages[-1]["content"] += content
        elif content:
            messages.append({"role": message["role"], "content": content})
    tools = [plain_tool(tool) for tool in request.get("toolConfig", {}).get("tools", []) if "cachePoint" not in tool]
    kept = {
        "messages": number_calls(messages, model),
        "system": [block for block in request.get("system", []) if "text" in block],
        "inferenceConfig": {k: v for k, v in request.get("inferenceConfig", {}).items() if k != "stopSequences"},
        "tools": tools,
        "toolChoice": {k: v for k, v in request.get("toolConfig", {}).get("toolChoice", {}).items() if k != "auto"},
        "outputConfig": plain_format(request.get("outputConfig", {})),
        "fields": plain_fields(request.get("additionalModelRequestFields", {})),
        "serviceTier": request.get("serviceTier"),
    }
    return {name: value for name, value in kept.items() if value}


def plain_block(block):
    if "cachePoint" in block or not block.get("text", "x").strip():
        return None
    if result := block.get("toolResult"):
        content = [plain_block(inner) for inner in result["content"]]
        return {"toolResult": {"toolUseId": result["toolUseId"], "content": content}}
    if use := block.get("toolUse"):
        return {"toolUse": {name: value for name, value in use.items() if name != "type"}}
    if document := block.get("document"):
        return {"document": {name: value for name, value in document.items() if name != "name"}}
    return {"text": json.dumps(block["json"])} if "json" in block else block


def plain_tool(tool):
    """Leave out how a schema is titled, and what strictness adds to it."""
    spec = tool.get("toolSpec")
    if spec is None:
        return tool
    return {**spec, "inputSchema": {"type": "object", **spec["inputSchema"]["json"]}}


def plain_format(config):
    if not config:
        return config
    inner = config["textFormat"]["structure"]["jsonSchema"]
    return {**inner, "schema": json.loads(inner["schema"])}


def plain_fields(fields):
    """Leave out how many tokens exactly there are to think with, and what is only sampling."""
    kept = {name: value for name, value in fields.items() if name != "inferenceConfig"}
    thinking = fields.get("thinking")
    if thinking == {"type": "adaptive"} and "output_config" not in fields:
        return {}
    return {**kept, "thinking": thinking["type"]} if thinking else kept


def number_calls(messages, model):
    """Write ids as numbers where the models have them their own way."""
    if not profile_of(model).short_ids:
        return messages
    ids: dict[str, int] = {}
    for message in messages:
        for block in message["content"]:
            for kind in ("toolUse", "toolResult"):
                if kind in block:
                    own = block[kind]
                    own["toolUseId"] = ids.setdefault(own["toolUseId"], len(ids))
    return messages


@pytest.mark.skipif(not ANSWERS, reason="no recorded traffic")
def test_most_recorded_requests_are_compared():
    assert len(REQUESTS) > 100
    kinds = {
        name for recording in REQUESTS for name in ("toolResult", "image", "document") if name in str(recording.request)
    }
    assert kinds == {"toolResult", "image", "document"}
