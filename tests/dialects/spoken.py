"""Each dialect as one provider speaks it to one model, with the provider's own types as the judge of what is sent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from proxy.config import ProviderConfig
from proxy.dialects.base import Dialect, Rendered
from proxy.dialects.create import read_create
from proxy.errors import BadRequest
from proxy.providers import REGISTRY
from tests.dialects.anthropic_messages import official as anthropic_official
from tests.dialects.bedrock_converse import service as bedrock_official
from tests.dialects.chat_completions import official as chat_official
from tests.dialects.cohere_chat import official as cohere_official
from tests.dialects.gemini_generate_content import official as gemini_official

CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"


class Spoken(NamedTuple):
    """A dialect, the model it is spoken to, and what judges a body."""

    dialect: Dialect
    model: str
    check: Callable[[Rendered], Any]


def _speak(kind, model, check, **settings):
    dialect = REGISTRY[kind].dialect(ProviderConfig(kind=kind, api_key="k", **settings))(model)
    assert dialect is not None
    return Spoken(dialect, model, check)


SPOKEN = {
    "chat_completions": _speak(
        "openai-chat-compatible",
        "deepseek-v4",
        lambda rendered: chat_official.check_request(orjson.loads(rendered.body)),
        base_url="http://127.0.0.1/v1",
    ),
    "anthropic_messages": _speak("anthropic", "claude-opus-5", anthropic_official.check_request),
    "bedrock_converse": _speak(
        "bedrock",
        CLAUDE,
        lambda rendered: bedrock_official.check_request("Converse", rendered.body, CLAUDE),
        region="us-east-1",
    ),
    "cohere_chat": _speak(
        "cohere", "command-a-03-2025", lambda rendered: cohere_official.check(orjson.loads(rendered.body))
    ),
    "gemini_generate_content": _speak(
        "gemini", "gemini-3-pro-preview", lambda rendered: gemini_official.check_body(orjson.loads(rendered.body))
    ),
}


def send(name, **body) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Render a request, hold it to the provider's types, and return its body and what was dropped."""
    dialect, model, check = SPOKEN[name]
    rendered = dialect.render_request(read_create({"input": "Hi", **body}, "primary", model, hosted=dialect.hosted))
    check(rendered)
    return orjson.loads(rendered.body), rendered.dropped


def refusal(name, **body) -> BadRequest | None:
    """Return why a request is refused, None where it is not."""
    try:
        send(name, **body)
    except BadRequest as error:
        return error
    return None
