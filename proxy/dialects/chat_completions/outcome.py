"""Reads how an answer in chat completions ended: why, and at what cost."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects.events import Reason, TokenCounts

CUT_SHORT: Final[Mapping[str, Reason]] = {
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "model_length": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
}
"""Finish reasons that leave a response incomplete; any other but those that fail it completes it."""
FAILED: Final = frozenset({"error", "insufficient_system_resource"})

_TIERS: Final = {
    "auto": "auto",
    "default": "default",
    "fast": "fast",
    "flex": "flex",
    "on_demand": "default",
    "performance": "priority",
    "priority": "priority",
    "scale": "scale",
    "standard": "default",
}
_MAX_COUNT: Final = 1 << 53
_APART: Final = 1.25
"""How far reasoning tokens may exceed the completion's and still be another estimate of the same tokens."""


def parse_tier(value: Any) -> str | None:
    """Return the service tier in the API's words, None where there is none such."""
    return _TIERS.get(value) if isinstance(value, str) else None


def parse_usage(value: Any) -> TokenCounts | None:
    """Read a `usage` object as any of the providers writes it; None where it is none."""
    if not isinstance(value, dict) or "prompt_tokens" not in value:
        return None
    prompt, completion = _count(value, "prompt_tokens"), _count(value, "completion_tokens")
    inside, outside = value.get("prompt_tokens_details"), value.get("completion_tokens_details")
    cached = (
        _count(inside, "cached_tokens")
        or _count(value, "prompt_cache_hit_tokens")
        or _count(value, "num_cached_tokens")
        or _count(value, "cached_tokens")
        or _count(value, "cache_read_input_tokens")
    )
    written = _count(inside, "cache_write_tokens") or _count(value, "cache_creation_input_tokens")
    reasoning = _count(outside, "reasoning_tokens") or _count(value, "reasoning_tokens")
    total = _count(value, "total_tokens")
    # Some count reasoning beside the completion; the API has it within the output.
    if reasoning > completion * _APART or (reasoning and total == prompt + completion + reasoning):
        completion += reasoning
    return TokenCounts(
        input=prompt,
        cached=min(cached, prompt),
        cache_write=min(written, prompt),
        output=completion,
        reasoning=min(reasoning, completion),
        total=max(total, prompt + completion),
    )


def _count(value: Any, name: str) -> int:
    found = value.get(name) if isinstance(value, dict) else None
    return min(found, _MAX_COUNT) if type(found) is int and found > 0 else 0
