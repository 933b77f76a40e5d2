"""Reads how an answer in chat completions ended: why, at what cost, with which error."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from proxy.dialects.base import Failure
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
    "flex": "flex",
    "on_demand": "default",
    "priority": "priority",
    "scale": "scale",
    "standard": "default",
}
_TYPES: Final = {
    400: ("invalid_request_error", "invalid_prompt"),
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", "not_allowed"),
    404: ("invalid_request_error", "not_found"),
    413: ("invalid_request_error", "request_too_large"),
    422: ("invalid_request_error", "invalid_prompt"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}
"""Error type and code for a status, where the provider has none of its own."""
_SERVER_ERROR = ("server_error", "server_error")
_CLIENTS_FAULT: Final = range(400, 500)
_ERROR_STATUSES: Final = range(400, 600)
_MAX_COUNT: Final = 1 << 53
_MAX_MESSAGE: Final = 4096
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


def parse_error(status: int, body: bytes) -> Failure:
    """Read the body of an answer that is not a success, in any of the shapes providers have."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = body.decode("utf-8", "replace").strip()
    return read_failure(value, status)


def read_failure(value: Any, status: int = 502) -> Failure:
    """Read an error, nested in `error` or not; a status of its own counts for more than `status`."""
    whole = value if isinstance(value, dict) else {}
    nested = whole.get("error")
    error = nested if isinstance(nested, dict) else whole
    for own in map(error.get, ("status", "status_code", "code")):
        if type(own) is int and own in _ERROR_STATUSES:
            status = own
            break
    type_, code = _TYPES.get(status) or (_TYPES[400] if status in _CLIENTS_FAULT else _SERVER_ERROR)
    own_type, own_code, param = error.get("type"), error.get("code"), error.get("param")
    return Failure(
        status=status,
        type=own_type if isinstance(own_type, str) and own_type else type_,
        code=own_code if isinstance(own_code, str) and own_code else code,
        message=_message(value, nested, error)[:_MAX_MESSAGE] or f"The provider answered with status {status}.",
        param=param if isinstance(param, str) else None,
    )


def _message(value: Any, nested: Any, error: Mapping[str, Any]) -> str:
    for found in (error.get("message"), error.get("detail"), nested, value):
        if isinstance(found, str) and found:
            return found
        if found and isinstance(found, dict | list) and found is not error:
            return _encode(found)
    return ""


def _encode(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""
