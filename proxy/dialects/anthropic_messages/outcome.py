"""Reads how an answer ended: why, at what cost, by which error."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from proxy.dialects.base import Failure
from proxy.dialects.events import Reason, TokenCounts
from proxy.dialects.failures import parse_error, read_failure

CUT_SHORT: Final[Mapping[str, Reason]] = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}
"""Stop reasons that leave a response incomplete; any other completes it, `pause_turn` too: sent back, it goes on."""
REFUSED: Final = "refusal"

_DECLINED: Final = "The model declined to answer."
_TIERS: Final = {"standard": "default", "priority": "priority"}
_MAX_COUNT: Final = 1 << 53
_OVERLOADED: Final = 529
_BAD_REQUEST: Final = 400
_QUOTA: Final = "insufficient_quota"
_SPENT: Final = "enforced_spend_limit_reached"

_FAILURES: Final[Mapping[str, tuple[int, str, str]]] = {
    "invalid_request_error": (400, "invalid_request_error", "invalid_prompt"),
    "authentication_error": (401, "authentication_error", "invalid_api_key"),
    "billing_error": (402, _QUOTA, _QUOTA),
    "permission_error": (403, "permission_error", "not_allowed"),
    "not_found_error": (404, "invalid_request_error", "not_found"),
    "conflict_error": (409, "invalid_request_error", "conflict"),
    "request_too_large": (413, "invalid_request_error", "request_too_large"),
    "rate_limit_error": (429, "rate_limit_error", "rate_limit_exceeded"),
    "api_error": (500, "server_error", "server_error"),
    # Clients take `server_is_overloaded` for final; this passes, and they are to try again.
    "overloaded_error": (503, "server_error", "slow_down"),
    "timeout_error": (504, "server_error", "server_error"),
}
"""Status, type and code of the API for the types of errors."""
_CODES: Final = (
    (
        "invalid_request_error",
        re.compile(r"prompt is too long|exceeds? (the )?context (limit|window)|input length and `max_tokens` exceed"),
        "context_length_exceeded",
    ),
    ("invalid_request_error", re.compile("Invalid `signature` in `thinking`"), "invalid_encrypted_content"),
    ("not_found_error", re.compile("^model:"), "model_not_found"),
)
"""Codes that clients act on, told by the message only."""


def parse_tier(usage: Any) -> str | None:
    """Return the service tier in the API's words, None where there is none such."""
    tier = usage.get("service_tier") if isinstance(usage, dict) else None
    return _TIERS.get(tier) if isinstance(tier, str) else None


def merge_usage(known: Mapping[str, Any], told: Any) -> Mapping[str, Any]:
    """Return the usage known so far with what is told now: counts are totals, some events leave out most of them."""
    if not isinstance(told, dict):
        return known
    return {**known, **{name: value for name, value in told.items() if value is not None}}


def parse_usage(value: Any) -> TokenCounts | None:
    """Read a usage object; what was read from the cache or written to it is beside its input tokens, not in them."""
    if not isinstance(value, dict) or "output_tokens" not in value:
        return None
    cached, written = _count(value, "cache_read_input_tokens"), _count(value, "cache_creation_input_tokens")
    created = value.get("cache_creation")
    if not written and isinstance(created, dict):
        written = min(sum(_count(created, name) for name in created), _MAX_COUNT)
    fed = _count(value, "input_tokens") + cached + written
    said = _count(value, "output_tokens")
    thought = _count(value.get("output_tokens_details"), "thinking_tokens")
    return TokenCounts(
        input=fed, cached=cached, cache_write=written, output=said, reasoning=min(thought, said), total=fed + said
    )


def _count(value: Any, name: str) -> int:
    found = value.get(name) if isinstance(value, dict) else None
    return min(found, _MAX_COUNT) if type(found) is int and found > 0 else 0


def parse_refusal(details: Any) -> str:
    """Return why the model declined, in the provider's words where it has any."""
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return explanation if isinstance(explanation, str) and explanation else _DECLINED


def parse_count(body: bytes) -> int | None:
    """Read the number of input tokens from the answer to a counting request."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    found = value.get("input_tokens") if isinstance(value, dict) else None
    return found if type(found) is int and found >= 0 else None


def parse_failure(status: int, body: bytes) -> Failure:
    """Read the body of an answer that is not a success, be it Anthropic's or that of a cloud before it."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _settled(parse_error(status, body))
    # Google's front end may put an error into a list.
    first = value[0] if isinstance(value, list) and value else value
    kind = _kind(first)
    if kind is None:
        return _settled(read_failure(first, status))
    own, type_, code = _FAILURES[kind]
    failure = read_failure(first, status)
    status = status if _BAD_REQUEST <= status < _OVERLOADED and status // 100 == own // 100 else own
    return failure._replace(status=status, type=type_, code=_code(kind, first, failure.message) or code)


def read_error(event: Mapping[str, Any]) -> Failure:
    """Read an error within a stream, or in the body of a 200."""
    kind = _kind(event)
    if kind is None:
        return _settled(read_failure(event))
    status, type_, code = _FAILURES[kind]
    failure = read_failure(event, status)
    return failure._replace(status=status, type=type_, code=_code(kind, event, failure.message) or code)


def _settled(failure: Failure) -> Failure:
    return failure._replace(status=_FAILURES["overloaded_error"][0]) if failure.status == _OVERLOADED else failure


def _kind(value: Any) -> str | None:
    error = value.get("error") if isinstance(value, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    return kind if isinstance(kind, str) and kind in _FAILURES else None


def _code(kind: str, value: Mapping[str, Any], message: str) -> str | None:
    details = value["error"].get("details")
    if kind == "rate_limit_error" and isinstance(details, dict) and details.get("error_code") == _SPENT:
        return _QUOTA
    return next((code for of, told, code in _CODES if of == kind and told.search(message)), None)
