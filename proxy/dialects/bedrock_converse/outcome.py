"""Reads how an answer ended: why, at what cost, with which error."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from proxy.dialects import failures
from proxy.dialects.base import Failure
from proxy.dialects.events import Reason, TokenCounts

CUT_SHORT: Final[Mapping[str, Reason]] = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "content_filter",
}
"""Stop reasons that leave a response incomplete; any other but those that fail it completes it."""
FAILED: Final = frozenset({"malformed_model_output", "malformed_tool_use"})

_TIERS: Final = frozenset({"default", "flex", "priority"})
_STATUSES: Final = {
    "accessDeniedException": 403,
    "internalServerException": 500,
    "modelErrorException": 424,
    "modelNotReadyException": 429,
    "modelStreamErrorException": 424,
    "modelTimeoutException": 408,
    "resourceNotFoundException": 404,
    "serviceQuotaExceededException": 400,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}
"""The status of each exception, from the service's model: in a stream only its name is told."""
_MODELS_FAULT: Final = frozenset({408, 424})
"""Statuses of the client's own kind by which the service tells that the model failed."""
_TOO_LONG: Final = ("input is too long", "prompt is too long", "too many input tokens", "maximum context length")
_MAX_COUNT: Final = 1 << 53


def parse_tier(value: Any) -> str | None:
    """Return the service tier in the API's words, None where there is none such."""
    tier = value.get("type") if isinstance(value, dict) else None
    return tier if isinstance(tier, str) and tier in _TIERS else None


def parse_usage(value: Any) -> TokenCounts | None:
    """Read a `usage` object, whose input tokens leave out those read from and written to the cache."""
    if not isinstance(value, dict) or "inputTokens" not in value:
        return None
    cached, written = _count(value, "cacheReadInputTokens"), _count(value, "cacheWriteInputTokens")
    input_ = _count(value, "inputTokens") + cached + written
    output = _count(value, "outputTokens")
    total = max(_count(value, "totalTokens"), input_ + output)
    return TokenCounts(input_, cached, written, output, 0, total)


def parse_count(body: bytes) -> int | None:
    """Read the answer of the operation that counts input tokens."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    found = value.get("inputTokens") if isinstance(value, dict) else None
    return found if type(found) is int and 0 <= found <= _MAX_COUNT else None


def stopped_badly(reason: str) -> Failure:
    """Return the failure of an answer that the model spoiled."""
    message = f"The model's output cannot be used: the provider stopped it with {reason}."
    return Failure(502, "server_error", "server_error", message)


def parse_error(status: int, body: bytes) -> Failure:
    """Read the body of an answer that is not a success."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _refine(failures.parse_error(status, body))
    return _refine(failures.read_failure(_worded(value), status))


def parse_exception(headers: Mapping[str, Any], payload: bytes) -> Failure:
    """Read a message of the stream that is an exception, or an error the service has no model of."""
    kind = headers.get(":exception-type")
    if isinstance(kind, str):
        return parse_error(_STATUSES.get(kind, 500), payload)
    told = (headers.get(":error-message"), headers.get(":error-code"))
    message = next((text for text in told if isinstance(text, str) and text), "")
    return _refine(failures.read_failure({"message": message}, 500))


def _worded(value: Any) -> Any:
    """Put the message where it is looked for: some services of AWS write it in other members."""
    if not isinstance(value, dict):
        return value
    found = next((value[name] for name in ("message", "Message", "originalMessage") if value.get(name)), None)
    return {"message": found} if isinstance(found, str) else value


def _refine(failure: Failure) -> Failure:
    if failure.status in _MODELS_FAULT:
        return failure._replace(type="server_error", code="server_error")
    if failure.status == 400 and any(words in failure.message.lower() for words in _TOO_LONG):  # noqa: PLR2004
        return failure._replace(code="context_length_exceeded")
    return failure


def _count(value: Mapping[str, Any], name: str) -> int:
    found = value.get(name)
    return min(found, _MAX_COUNT) if type(found) is int and found > 0 else 0
