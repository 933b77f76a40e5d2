"""The kinds that speak chat completions, and what one of them sends."""

import orjson
import pytest

from proxy.config import ProviderConfig
from proxy.dialects.create import read_create
from proxy.providers import REGISTRY
from tests.dialects.chat_completions.official import check_request

CHAT_ONLY = ["cerebras", "deepinfra", "deepseek", "openai-chat-compatible"]
EITHER = ["groq", "huggingface", "mistral", "openrouter", "together-ai"]
CHAT = [*CHAT_ONLY, *EITHER]
TEXT_ONLY = {"deepseek"}
EACH = pytest.mark.parametrize("kind", CHAT)

CALLED = [
    {"type": "function_call", "call_id": "call_0123456789abcdef", "name": "f", "arguments": "{}"},
    {
        "type": "function_call_output",
        "call_id": "call_0123456789abcdef",
        "output": [{"type": "input_image", "image_url": "https://a.example/b.png"}],
    },
]
"""A call, and an image it returned."""
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": True}


def dialect_of(kind, model="large", **fields):
    """Return what a kind speaks with a model where chat is asked for."""
    asked = {"api": "chat"} if "api" in REGISTRY[kind].settings else {}
    return REGISTRY[kind].dialect(ProviderConfig(kind=kind, **{**asked, **fields}))(model)


def render(kind, model="large", **body):
    """Render a request, hold it to the official types, and return its body and what was dropped."""
    dialect = dialect_of(kind, model)
    create = read_create({"input": "Hi", **body}, "primary", model, hosted=dialect.hosted)
    rendered = dialect.render_request(create)
    sent = orjson.loads(rendered.body)
    check_request(sent)
    return sent, rendered.dropped
