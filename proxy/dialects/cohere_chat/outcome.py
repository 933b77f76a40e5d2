"""Reads how an answer of Cohere's chat ended: why, at what cost, or by which error."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from proxy.dialects import failures
from proxy.dialects.base import Failure
from proxy.dialects.events import Reason, TokenCounts

_CUT_SHORT: Final[Mapping[str, Reason]] = {"MAX_TOKENS": "max_output_tokens"}
"""Finish reasons that leave a response incomplete; any other but those that fail it completes it."""
_FAILED: Final = {"ERROR": 502, "TIMEOUT": 504}
"""Finish reasons that fail a response, each with the status it is worth."""
_INVALID_TOKEN: Final = 498
_UNAUTHORIZED: Final = 401
_TOO_LONG: Final = "too many tokens"
_CODES: Final = {"TOO_MANY_TOKENS": "context_length_exceeded"}
"""The API's codes for error types; other types are codes themselves."""
_MAX_COUNT: Final = 1 << 53


def read_reason(end: Mapping[str, Any]) -> Reason | None:
    """Return why an answer is incomplete, None where it is not."""
    reason = end.get("finish_reason")
    return _CUT_SHORT.get(reason) if isinstance(reason, str) else None


def read_end(end: Mapping[str, Any]) -> Failure | None:
    """Return the failure an answer ended in, from what has its `finish_reason` and maybe an `error`."""
    reason, error = end.get("finish_reason"), end.get("error")
    status = _FAILED.get(reason) if isinstance(reason, str) else None
    if status is None and not error:
        return None
    told = error or f"The provider ended its answer with {reason}."
    return _coded(failures.read_failure({"error": told}, status or 502), None)


def read_failure(value: Any) -> Failure | None:
    """Read an error that stands where an answer should; None where it is none."""
    if not isinstance(value, dict) or not (value.get("error") or isinstance(value.get("message"), str)):
        return None
    return _coded(failures.read_failure(value), value.get("error_type"))


def parse_error(status: int, body: bytes) -> Failure:
    """Read the body of an answer that is not a success: `message`, and now and then an `error_type`."""
    failure = failures.parse_error(_UNAUTHORIZED if status == _INVALID_TOKEN else status, body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    return _coded(failure, value.get("error_type") if isinstance(value, dict) else None)


def _coded(failure: Failure, error_type: Any) -> Failure:
    if isinstance(error_type, str) and error_type:
        return failure._replace(code=_CODES.get(error_type, error_type))
    if failure.message.startswith(_TOO_LONG):
        return failure._replace(code="context_length_exceeded")
    return failure


def parse_usage(value: Any) -> TokenCounts | None:
    """Read a `usage` object; None where it is none.

    `tokens` are what the model read and wrote, which is what the API counts; `billed_units` leave out what Cohere
    adds to a prompt. Images are counted beside the input, reasoning within the output.
    """
    usage = value if isinstance(value, dict) else {}
    tokens = next((part for part in map(usage.get, ("tokens", "billed_units")) if isinstance(part, dict)), None)
    if tokens is None:
        return None
    read, written = _count(tokens, "input_tokens") + _count(tokens, "image_tokens"), _count(tokens, "output_tokens")
    return TokenCounts(
        input=read,
        cached=min(_count(usage, "cached_tokens"), read),
        cache_write=0,
        output=written,
        reasoning=min(_count(tokens, "reasoning_tokens"), written),
        total=read + written,
    )


def _count(value: Mapping[str, Any], name: str) -> int:
    """Return a count, which may be written as a float."""
    found = value.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return 0
    return int(min(max(found, 0), _MAX_COUNT))
