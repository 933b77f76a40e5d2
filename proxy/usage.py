"""Token usage as one value, read from any shape the Responses API carries it in."""

from typing import Any, NamedTuple


class Usage(NamedTuple):
    """Tokens of one response; `cached_input` is part of `input`, `reasoning` part of `output`."""

    input: int
    cached_input: int
    output: int
    reasoning: int


def parse_usage(value: Any) -> Usage | None:
    """Read a `usage` object; None where it is absent, null or not one."""
    if not isinstance(value, dict) or "input_tokens" not in value:
        return None
    counts = [
        value["input_tokens"],
        _detail(value.get("input_tokens_details"), "cached_tokens"),
        value.get("output_tokens"),
        _detail(value.get("output_tokens_details"), "reasoning_tokens"),
    ]
    # Counters only grow: anything that is not a natural number counts as nothing.
    return Usage._make([count if type(count) is int and count > 0 else 0 for count in counts])


def _detail(details: Any, name: str) -> Any:
    return details.get(name) if isinstance(details, dict) else None
