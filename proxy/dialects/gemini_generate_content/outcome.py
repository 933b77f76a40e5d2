"""Reads how an answer of Gemini ended: why, at what cost, or with which error."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from proxy.dialects import failures
from proxy.dialects.base import Failure
from proxy.dialects.events import Reason, TokenCounts

CUT_SHORT: Final[Mapping[str, Reason]] = {
    "MAX_TOKENS": "max_output_tokens",
    "CONTINUATION": "max_output_tokens",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "OTHER": "content_filter",
}
"""Finish reasons that leave a response incomplete."""
COMPLETE: Final = frozenset({"STOP", "FINISH_REASON_UNSPECIFIED"})
"""Finish reasons that complete it; any that is not known fails it, as all of those do that were added lately."""

_BY_NUMBER: Final = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION", 5: "OTHER"}
"""Finish reasons as servers write them that were asked for numbers, as far as both APIs agree."""
_STATUSES: Final = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""HTTP statuses of Google's own."""
_BAD_KEY: Final = "API_KEY_INVALID"
_TIERS: Final = {
    "standard": "default",
    "flex": "flex",
    "priority": "priority",
    "on_demand": "default",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
}
_MAX_COUNT: Final = 1 << 53


def parse_finish(value: Any) -> str:
    """Return a finish reason by its name, empty where there is none."""
    if isinstance(value, str):
        return value
    return _BY_NUMBER.get(value, str(value)) if type(value) is int and value else ""


def parse_tier(value: Any) -> str | None:
    """Return the service tier in the API's words, None where there is none such."""
    return _TIERS.get(value.lower()) if isinstance(value, str) else None


def parse_usage(value: Any) -> TokenCounts | None:
    """Read `usageMetadata`; thoughts are beside the candidates, and what tools brought in beside the prompt."""
    if not isinstance(value, dict) or "promptTokenCount" not in value:
        return None
    prompt = _count(value, "promptTokenCount") + _count(value, "toolUsePromptTokenCount")
    thoughts = _count(value, "thoughtsTokenCount")
    output = _count(value, "candidatesTokenCount") + thoughts
    return TokenCounts(
        input=prompt,
        cached=min(_count(value, "cachedContentTokenCount"), prompt),
        cache_write=0,
        output=output,
        reasoning=thoughts,
        total=max(_count(value, "totalTokenCount"), prompt + output),
    )


def _count(value: Mapping[str, Any], name: str) -> int:
    found = value.get(name)
    return min(found, _MAX_COUNT) if type(found) is int and found > 0 else 0


def finish_failure(reason: str, message: Any) -> Failure:
    """Return the failure an answer ends in that its finish reason makes useless."""
    told = message[: failures.MAX_MESSAGE] if isinstance(message, str) else ""
    return Failure(502, "upstream_error", reason.lower(), told or f"The model's answer ended with {reason}.")


def parse_error(status: int, body: bytes) -> Failure:
    """Read the body of an answer that is not a success, whatever type of content it says it is."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return failures.parse_error(status, body)
    return read_error(value, status)


def read_error(value: Any, status: int = 502) -> Failure:
    """Read Google's form of an error, which may be within a list of one."""
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return failures.read_failure(value, status)
    named = error.get("status")
    status = _STATUSES.get(named, status) if isinstance(named, str) else status
    details = error.get("details")
    known = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    failure = failures.read_failure(value, status)
    if any(detail.get("reason") == _BAD_KEY for detail in known):
        # It is told as a bad argument, which every other provider calls 401: the request is not at fault.
        type_, code = failures.classify(401)
        failure = failure._replace(status=401, type=type_, code=code)
    delay = next((detail["retryDelay"] for detail in known if isinstance(detail.get("retryDelay"), str)), "")
    if delay and "retry in" not in failure.message:
        failure = failure._replace(message=f"{failure.message} Please retry in {delay}.")
    return failure
