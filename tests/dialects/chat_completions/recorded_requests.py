"""Writes recorded requests in chat completions as the Responses requests they would have come from."""

import itertools

from proxy.dialects.reasoning import seal
from tests.rig.replay import recordings

SAME_NAME = ("metadata", "parallel_tool_calls", "prompt_cache_key", "stream", "temperature", "top_p", "user")
REASONING = ("reasoning", "reasoning_content", "reasoning_details")
TIERS = {"on_demand": "default"}
EFFORTS = {"default": "medium"}
CHOICES = {"any": "required"}
WITHOUT_EQUIVALENT = {
    "clear_thinking",
    "echo",
    "frequency_penalty",
    "include_reasoning",
    "logit_bias",
    "min_p",
    "n",
    "presence_penalty",
    "prompt_cache_options",
    "provider",
    "random_seed",
    "reasoning_format",
    "repetition_penalty",
    "return_full_text",
    "safety_model",
    "seed",
    "stop",
    "stream_options",
    "thinking",
    "top_k",
    "usage",
    "web_search_options",
}
"""What the Responses API cannot say, or the gateway says on its own."""


def responses_request(body, provider, model):
    """Write a whole request."""
    asked = {name: body[name] for name in SAME_NAME if body.get(name) is not None}
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    effort = body.get("reasoning_effort") or (body.get("reasoning") or {}).get("effort")
    more = {
        "model": model,
        "input": responses_items(body["messages"], provider, model),
        "max_output_tokens": limit,
        "reasoning": effort and {"effort": EFFORTS.get(effort, effort)},
        "service_tier": TIERS.get(body.get("service_tier"), body.get("service_tier")),
        "tools": [responses_tool(tool) for tool in body.get("tools") or [] if tool] or None,
        "tool_choice": responses_choice(body.get("tool_choice")),
        "text": body.get("response_format") and {"format": responses_format(body["response_format"])},
        "top_logprobs": body.get("top_logprobs"),
        "include": ["message.output_text.logprobs"] if body.get("logprobs") else None,
    }
    return asked | {name: value for name, value in more.items() if value is not None}


def responses_tool(tool):
    if "function" in tool:
        return {"type": "function", **tool["function"]}
    given = tool["parameters"]
    filters = {"allowed_domains": given.get("allowed_domains"), "blocked_domains": given.get("excluded_domains")}
    same = {name: given.get(name) for name in ("search_context_size", "user_location")}
    return {"type": "web_search", "filters": filters, **same}


def responses_choice(choice):
    if isinstance(choice, dict):
        return {"type": "function", "name": choice["function"]["name"]}
    return CHOICES.get(choice, choice)


def responses_format(response_format):
    schema = response_format.get("json_schema") or {}
    return {"type": response_format["type"], **schema}


def responses_items(messages, provider="primary", model="large"):
    """Write a dialogue; reasoning as the gateway would have sealed it."""
    items = []
    for message in messages:
        content = message.get("content")
        if message["role"] == "tool":
            items.append(
                {
                    "type": "function_call_output",
                    "call_id": message["tool_call_id"],
                    "output": content if isinstance(content, str) else responses_parts(content),
                }
            )
            continue
        thought = reasoning_state(message)
        if thought:
            sealed = seal(provider, model, thought)
            items.append({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed})
        if said_in(content) or message["role"] != "assistant":
            items.append({"role": message["role"], "content": responses_parts(content)})
        calls = message.get("tool_calls") or []
        items.extend({"type": "function_call", "call_id": made["id"], **made["function"]} for made in calls)
    return items


def reasoning_state(message):
    """Return the reasoning of an assistant's message, by where it is."""
    parts = message["content"] if isinstance(message.get("content"), list) else []
    thinking = "".join(
        piece["text"] for part in parts if part["type"] == "thinking" for piece in part["thinking"] if piece.get("text")
    )
    return {name: message[name] for name in REASONING if message.get(name)} | (
        {"thinking": thinking} if thinking else {}
    )


def said_in(content):
    return [part for part in content if part["type"] != "thinking"] if isinstance(content, list) else content


def responses_parts(content):
    if not isinstance(content, list):
        return content or ""
    return [responses_part(part) for part in content if part["type"] != "thinking"]


def responses_part(part):
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    if part["type"] == "image_url":
        return {"type": "input_image", "image_url": part["image_url"]["url"]} | {
            name: part["image_url"][name] for name in ("detail",) if name in part["image_url"]
        }
    if part["type"] == "file":
        return {"type": "input_file", **part["file"]}
    return part


def simplified(messages, call_id=str):
    """Return a dialogue without what says the same in two ways, or belongs to none."""
    merged = []
    for message in map(dict, messages):
        message["content"] = plain(message)
        last = merged[-1] if merged else None
        if last and last["role"] == message["role"] == "system":
            last["content"] += "\n\n" + message["content"]
        else:
            merged.append(message)
    return [simple(message, call_id) for message in merged]


def simple(message, call_id):
    calls = [
        {
            "id": call_id(made["id"]),
            "name": made["function"]["name"],
            "arguments": made["function"]["arguments"] or "{}",
        }
        for made in message.get("tool_calls") or []
    ]
    answered = message.get("tool_call_id")
    return {
        "role": message["role"],
        "content": message["content"] or None,
        "calls": calls,
        "id": answered and call_id(answered),
        "reasoning": {name: message[name] for name in REASONING if message.get(name)},
    }


def plain(message):
    """Return the content: text as a string, anything else without what is not set."""
    content = message.get("content")
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        joint = {"assistant": "", "tool": "\n"}.get(message["role"], "\n\n")
        return joint.join(part["text"] for part in content)
    if not isinstance(content, list):
        return content
    return [
        {name: part[name] for name in part if name not in {"cache_control", "closed"} and part[name] is not None}
        | ({"thinking": "".join(piece["text"] for piece in part["thinking"])} if part["type"] == "thinking" else {})
        for part in content
    ]


def shows_images_in_tools(messages):
    """Tell whether a tool's message is more than text."""
    return any(message["role"] == "tool" and "image_url" in str(message["content"]) for message in messages)


def equivalent(recording):
    """Tell whether the recorded dialogue is one the Responses API can have."""
    messages = (recording.request or {}).get("messages")
    if recording.status != 200 or not isinstance(messages, list) or not messages:
        return False
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    pairs = itertools.pairwise(messages)
    return (
        {part["type"] for part in parts} <= {"text", "image_url", "file", "input_audio", "thinking"}
        and not any(part.get("file", {}).get("file_id") for part in parts)
        and not any(isinstance(part.get("input_audio"), str) or "prompt_cache_breakpoint" in part for part in parts)
        and not any({one["role"], other["role"]} == {"assistant"} for one, other in pairs)
        and all(message["role"] in {"system", "developer", "user", "assistant", "tool"} for message in messages)
        and "audio" not in recording.request
        and not any((tool or {}).get("type") == "custom" for tool in recording.request.get("tools") or [])
    )


DIALOGUES = [recording for recording in recordings(api="chat.completions") if equivalent(recording)]
