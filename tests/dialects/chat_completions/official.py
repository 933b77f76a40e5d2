"""The official SDK's types as the judge of requests in chat completions, with nothing in them it does not know."""

from collections.abc import Iterator

from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from pydantic import ConfigDict, TypeAdapter

REQUEST = TypeAdapter(
    CompletionCreateParamsNonStreaming | CompletionCreateParamsStreaming, config=ConfigDict(extra="forbid")
)
OF_VENDORS = {
    "assistant": {"reasoning", "reasoning_content", "reasoning_details"},
    "body": {"reasoning", "reasoning_format", "thinking"},
    "parts": {"document_url", "thinking"},
    "reasoning_effort": {"default"},
    "service_tier": {"on_demand", "performance"},
    "tools": {"openrouter:web_search"},
}
"""What providers have beyond the official types, by where."""


def check_request(body) -> None:
    """Hold a request to the official types, but for what vendors add."""
    official = _without(body, OF_VENDORS["body"])
    official["messages"] = [_official_message(message) for message in body["messages"]]
    if "tools" in body:
        official["tools"] = [tool for tool in body["tools"] if tool["type"] not in OF_VENDORS["tools"]]
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] in OF_VENDORS["tools"]:
        del official["tool_choice"]
    for name in ("reasoning_effort", "service_tier"):
        if body.get(name) in OF_VENDORS[name]:
            del official[name]
    exhaust(REQUEST.validate_python(official))


def _official_message(message):
    own = _without(message, OF_VENDORS["assistant"])
    if isinstance(own["content"], list):
        own["content"] = [part for part in own["content"] if part["type"] not in OF_VENDORS["parts"]]
    if own["role"] == "tool" and isinstance(own["content"], list):
        # Some show images in the messages of tools; the official ones are text.
        own["content"] = [part for part in own["content"] if part["type"] == "text"]
    return own


def _without(value, names):
    return {name: member for name, member in value.items() if name not in names}


def exhaust(value) -> None:
    """Look at everything: pydantic checks what is iterated only as it is."""
    if isinstance(value, dict):
        for member in value.values():
            exhaust(member)
    elif isinstance(value, list | Iterator):
        for member in value:
            exhaust(member)
