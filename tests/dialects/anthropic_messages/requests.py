"""Recorded requests of the Messages API, turned into what a client of the Responses API would have sent instead."""

import base64
import json
from typing import Any

from proxy.dialects.anthropic_messages.carried import pack_blocks
from proxy.dialects.reasoning import seal
from tests.dialects.anthropic_messages.recorded import ALL

PROVIDER = "primary"
SEARCH, EXECUTION = "web_search_20250305", "code_execution_20250825"
TOOLS = {None, SEARCH, EXECUTION, "custom"}
CARRIED = {
    "thinking",
    "redacted_thinking",
    "server_tool_use",
    "web_search_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
}
BLOCKS = {"text", "image", "document", "tool_use", "tool_result", *CARRIED}


def model_of(recording) -> str:
    """Return the model asked for."""
    return recording.request.get("model") or recording.exchange.get("model") or "claude-sonnet-4-5"


def blocks_in(content) -> list[dict[str, Any]]:
    """Return content as blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def is_expressible(recording) -> bool:
    """Tell whether the Responses API has everything a request asks for."""
    request = recording.request
    if not isinstance(request, dict) or "messages" not in request or "anthropic" not in json.dumps(recording.exchange):
        return False
    if "inferenceConfig" in request or recording.status != 200 or "mcp_servers" in request:
        return False
    blocks = [block for message in request["messages"] for block in blocks_in(message["content"])]
    inner = [part for block in blocks for part in block.get("content") or () if isinstance(part, dict)]
    kinds = {block.get("type") for block in blocks}
    return (
        kinds <= BLOCKS
        and "tool_reference" not in {part.get("type") for part in inner}
        and {tool.get("type") for tool in request.get("tools", ())} <= TOOLS
        and not any(tool.get("defer_loading") for tool in request.get("tools", ()))
    )


REQUESTS = [recording for recording in ALL if is_expressible(recording)]


def to_responses(recording) -> dict[str, Any]:
    """Return the body of the create request."""
    request, model = recording.request, model_of(recording)
    system = blocks_in(request.get("system") or [])
    items = [{"role": "developer", "content": [to_part(block) for block in system]}] if system else []
    for message in request["messages"]:
        items += to_items(message["role"], blocks_in(message["content"]), model)
    body = {"model": model, "input": items, "max_output_tokens": request["max_tokens"]}
    body |= {name: request[name] for name in ("temperature", "top_p", "stream") if name in request}
    if request.get("tools"):
        body["tools"] = [to_tool(tool) for tool in request["tools"]]
    choice = request.get("tool_choice")
    if choice:
        body["tool_choice"] = to_choice(choice)
        if "disable_parallel_tool_use" in choice:
            body["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
    return body


def to_items(role, blocks, model) -> list[dict[str, Any]]:
    """Return the input items of one message: its blocks in their order, those of one kind together."""
    items: list[dict[str, Any]] = []
    for block in blocks:
        if block["type"] == "tool_use":
            arguments = json.dumps(block["input"])
            items.append(
                {"type": "function_call", "call_id": block["id"], "name": block["name"], "arguments": arguments}
            )
        elif block["type"] == "tool_result":
            output = block.get("content", "")
            output = output if isinstance(output, str) else [to_part(part) for part in output]
            items.append({"type": "function_call_output", "call_id": block["tool_use_id"], "output": output})
        elif block["type"] in CARRIED:
            sealed = seal(PROVIDER, model, pack_blocks([block]))
            items.append({"type": "reasoning", "summary": [], "encrypted_content": sealed})
        else:
            items.append({"role": role, "content": [to_part(block)]})
    return items


def to_part(block) -> dict[str, Any]:
    """Return a block as a part of a message."""
    marked = {}
    if block.get("cache_control"):
        long = block["cache_control"].get("ttl") == "1h"
        marked = {"prompt_cache_breakpoint": {"mode": "explicit", **({"ttl": "12h"} if long else {})}}
    if block["type"] == "text":
        return {"type": "input_text", "text": block["text"], **marked}
    source = block["source"]
    if block["type"] == "image":
        place = {"image_url": to_url(source)} if source["type"] != "file" else {"file_id": source["file_id"]}
        return {"type": "input_image", "detail": "auto", **place, **marked}
    named = {"filename": block["title"]} if block.get("title") else {}
    place = {
        "base64": lambda: {"file_data": to_url(source)},
        "text": lambda: {"file_data": to_url({**source, "data": base64.b64encode(source["data"].encode()).decode()})},
        "url": lambda: {"file_url": source["url"]},
        "file": lambda: {"file_id": source["file_id"]},
    }[source["type"]]()
    return {"type": "input_file", **place, **named, **marked}


def to_url(source) -> str:
    """Return a source as a URL."""
    return source["url"] if source["type"] == "url" else f"data:{source['media_type']};base64,{source['data']}"


def to_tool(tool) -> dict[str, Any]:
    """Return a tool."""
    if tool.get("type") == EXECUTION:
        return {"type": "code_interpreter", "container": {"type": "auto"}}
    if tool.get("type") == SEARCH:
        filters = {name: tool[name] for name in ("allowed_domains", "blocked_domains") if tool.get(name)}
        return {"type": "web_search", "filters": filters or None, "user_location": tool.get("user_location")}
    return {
        "type": "function",
        "name": tool["name"],
        "description": tool.get("description"),
        "parameters": tool["input_schema"],
        "strict": tool.get("strict", False),
    }


def to_choice(choice) -> Any:
    """Return a tool choice."""
    if choice["type"] == "tool":
        return {"type": "function", "name": choice["name"]}
    return {"any": "required"}.get(choice["type"], choice["type"])


def messages_of(request) -> list[dict[str, Any]]:
    """Return a request's messages in one of the forms that mean the same: turns merged, strings for single texts."""
    merged: list[dict[str, Any]] = []
    for message in request["messages"]:
        blocks = [plain(block) for block in blocks_in(message["content"])]
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1]["content"] += blocks
        else:
            merged.append({"role": message["role"], "content": blocks})
    last = merged[-1]["content"][-1]
    if merged[-1]["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()
    return merged


def plain(block) -> dict[str, Any]:
    """Return a block without what is the default, or what a client does not say back."""
    kept = {name: value for name, value in block.items() if value is not None and name != "citations"}
    if kept["type"] in ("tool_use", "tool_result"):
        kept.pop("cache_control", None)
    elif kept.get("cache_control", {}).get("ttl") == "5m":
        kept["cache_control"] = {"type": "ephemeral"}
    # The Responses API does not tell whether a tool failed.
    kept.pop("is_error", None)
    content = kept.get("content")
    if isinstance(content, list) and kept["type"] == "tool_result":
        texts = [part["text"] for part in content if part.keys() == {"type", "text"}]
        kept["content"] = texts[0] if len(content) == len(texts) == 1 else [plain(part) for part in content]
    return kept
