"""Cerebras: chat completions only; nothing is kept."""

from dataclasses import replace

from proxy.dialects.chat_completions import Media, Profile, efforts, same
from proxy.providers.base import STATELESS, Kind, chat

PROFILE = Profile(
    settings=frozenset(
        {"parallel_tool_calls", "prompt_cache_key", "temperature", "top_logprobs", "top_p", "user"},
    ),
    effort=efforts("none", "low", "medium", "high"),
    tiers=same("auto", "default", "flex", "priority"),
    unread_keywords=frozenset({"minItems", "maxItems"}),
    media=Media(developer=True),
)
THINKS_ALOUD = replace(PROFILE, fixed=(("reasoning_format", "parsed"),))
"""Models whose reasoning would be within the text."""
FAMILIES = {
    "gpt-oss": replace(PROFILE, effort=efforts("low", "medium", "high")),
    "qwen-3-235b-a22b-thinking": THINKS_ALOUD,
    "qwen-3-32b": THINKS_ALOUD,
}

KIND = Kind(
    name="cerebras",
    otel_name="cerebras",
    title="Cerebras",
    base_url="https://api.cerebras.ai/v1",
    environment={"api_key": "CEREBRAS_API_KEY"},
    operations=STATELESS,
    dialect=chat(PROFILE, families=FAMILIES),
    settings=frozenset({"path"}),
)
