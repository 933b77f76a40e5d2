"""Marks up to where a prompt is cached: where the client says so, and at its end where it asks for caching at all."""

from collections.abc import Iterator
from typing import Any, Final

from proxy.dialects.anthropic_messages.content import CACHED, cache_control
from proxy.dialects.anthropic_messages.messages import Dialogue
from proxy.dialects.remaining import Remaining

_MOST_MARKS: Final = 4
_ASKING: Final = ("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options")


def mark_cache(dialogue: Dialogue, left: Remaining) -> None:
    """Mark the dialogue, with no more marks than the format allows: the last ones count."""
    key, retention, options = (left.take(name) for name in _ASKING)
    options = options if isinstance(options, dict) else {}
    asked = any(value is not None for value in (key, retention)) or bool(options)
    if asked and options.get("mode") != "explicit":
        _mark_end(dialogue, str(options.get("ttl") or "") or ("24h" if retention == "24h" else ""))
    if retention == "24h":
        left.drop("prompt_cache_retention")
    if options.get("comparison_response_id") is not None:
        left.drop("prompt_cache_options.comparison_response_id")
    marked = [block for block in _blocks(dialogue) if CACHED in block]
    for block in marked[:-_MOST_MARKS]:
        del block[CACHED]
        left.drop("input.prompt_cache_breakpoint")


def _mark_end(dialogue: Dialogue, lifetime: str) -> None:
    last = dialogue.messages[-1] if dialogue.messages else None
    blocks = dialogue.system if last is None else last["content"]
    if blocks and (last is None or last["role"] != "assistant"):
        blocks[-1].setdefault(CACHED, cache_control(lifetime))


def _blocks(dialogue: Dialogue) -> Iterator[dict[str, Any]]:
    yield from dialogue.system
    for message in dialogue.messages:
        for block in message["content"]:
            yield block
            content = block.get("content")
            if block["type"] == "tool_result" and isinstance(content, list):
                yield from content
