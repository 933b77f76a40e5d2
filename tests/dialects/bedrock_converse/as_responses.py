"""Writes a recorded request of Converse as the Responses request it would have come from."""

import base64
import itertools
import json

from proxy.dialects.reasoning import seal

MEDIA = {"txt": "text/plain", "pdf": "application/pdf", "jpeg": "image/jpeg", "png": "image/png"}
ITEMS = {"toolUse", "toolResult", "reasoningContent"}
FILLER = [{"text": "."}]


def responses_body(request, provider, model, *, stream=False):
    """Return the body of the create request that a recorded request says the same as."""
    inference = request.get("inferenceConfig", {})
    names = {"maxTokens": "max_output_tokens", "temperature": "temperature", "topP": "top_p"}
    return {
        "input": [*instructions(request), *items(request["messages"], provider, model)],
        "stream": stream,
        **{own: inference[name] for name, own in names.items() if name in inference},
        **tools(request.get("toolConfig", {})),
        **text_format(request.get("outputConfig")),
        **reasoning(request.get("additionalModelRequestFields", {})),
        **({"service_tier": request["serviceTier"]["type"]} if "serviceTier" in request else {}),
    }


def instructions(request):
    """Return the system as messages of the developer."""
    texts = [block["text"] for block in request.get("system", []) if "text" in block]
    return [{"role": "developer", "content": text} for text in texts]


def items(messages, provider, model):
    """Return the messages as items; fillers come from the translation and are nobody's."""
    for message in messages:
        if message["role"] == "assistant" and message["content"] == FILLER:
            continue
        for standing, blocks in itertools.groupby(message["content"], key=is_item):
            if standing:
                yield from (item(block, provider, model) for block in blocks)
            else:
                parts = [part(block) for block in blocks if "cachePoint" not in block]
                yield {"role": message["role"], "content": parts}


def is_item(block):
    """Tell whether a block is an item of its own rather than a part of a message."""
    return not ITEMS.isdisjoint(block)


def item(block, provider, model):
    """Return a block as an item of its own."""
    if use := block.get("toolUse"):
        call_id, arguments = use["toolUseId"], json.dumps(use["input"])
        return {"type": "function_call", "call_id": call_id, "name": use["name"], "arguments": arguments}
    if result := block.get("toolResult"):
        content = [part(inner) for inner in result["content"]]
        return {"type": "function_call_output", "call_id": result["toolUseId"], "output": content}
    thought = block["reasoningContent"]
    state = thought.get("reasoningText") or {"redacted": thought["redactedContent"]}
    return {"type": "reasoning", "summary": [], "encrypted_content": seal(provider, model, state)}


def part(block):
    """Return a content block as a content part."""
    if "text" in block:
        return {"type": "input_text", "text": block["text"]}
    if "json" in block:
        return {"type": "input_text", "text": json.dumps(block["json"])}
    if image := block.get("image"):
        return {"type": "input_image", "image_url": place(image)}
    document = block["document"]
    if "s3Location" in document["source"]:
        return {"type": "input_file", "file_url": place(document)}
    return {"type": "input_file", "filename": document["name"], "file_data": place(document)}


def place(media):
    """Return the URL a source stands for."""
    source = media["source"]
    if "s3Location" in source:
        return source["s3Location"]["uri"]
    encoded = source.get("bytes") or base64.b64encode(source["text"].encode()).decode()
    return f"data:{MEDIA[media['format']]};base64,{encoded}"


def tools(config):
    """Return the tools and the choice among them."""
    specs = [tool["toolSpec"] for tool in config.get("tools", []) if "toolSpec" in tool]
    functions = [
        {
            "type": "function",
            "name": spec["name"],
            "parameters": spec["inputSchema"]["json"],
            "description": spec.get("description"),
            "strict": spec.get("strict"),
        }
        for spec in specs
    ]
    hosted = [{"type": "code_interpreter"} for tool in config.get("tools", []) if "systemTool" in tool]
    choice = config.get("toolChoice", {"auto": {}})
    named = {"type": "function", "name": choice["tool"]["name"]} if "tool" in choice else None
    return {"tools": functions + hosted, "tool_choice": named or ("required" if "any" in choice else "auto")}


def text_format(config):
    """Return the text's format."""
    if config is None:
        return {}
    inner = config["textFormat"]["structure"]["jsonSchema"]
    return {"text": {"format": {"type": "json_schema", **inner, "schema": json.loads(inner["schema"])}}}


def reasoning(fields):
    """Return the effort that the fields of some family stand for."""
    effort = (
        fields.get("reasoning_effort")
        or fields.get("reasoning_config")
        or fields.get("output_config", {}).get("effort")
    )
    if "budget_tokens" in fields.get("thinking", {}):
        effort = "minimal" if fields["thinking"]["budget_tokens"] == 1024 else "medium"
    return {"reasoning": {"effort": effort}} if effort else {}
