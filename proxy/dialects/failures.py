"""Reads what providers call an error into the API's terms: the status, type, code and message a client is told."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from proxy.dialects.base import Failure

TOO_LARGE: Final = Failure(
    502, "upstream_error", "response_too_large", "The provider's answer is larger than the gateway keeps."
)
MAX_MESSAGE: Final = 4096
"""Characters of a provider's message that are passed on."""

_TYPES: Final = {
    400: ("invalid_request_error", "invalid_prompt"),
    401: ("authentication_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "not_allowed"),
    404: ("invalid_request_error", "not_found"),
    413: ("invalid_request_error", "request_too_large"),
    422: ("invalid_request_error", "invalid_prompt"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}
"""Error type and code for a status, where the provider has none of its own."""
_TOO_LONG: Final = re.compile(
    r"maximum context length|context length exceeded|exceeds? the [a-z' ]*context (size|length|window)"
    r"|input token count.{0,40} exceeds the maximum number of tokens",
    re.IGNORECASE,
)
"""How servers say that a prompt does not fit: of their own codes hardly two are the same, and clients act on this."""
_THROTTLED: Final = 429
_SERVER_ERROR: Final = ("server_error", "server_error")
_CLIENTS_FAULT: Final = range(400, 500)
_ERROR_STATUSES: Final = range(400, 600)


def bad_answer(dialect: str) -> Failure:
    """Return the failure for what is not in a dialect, which is named with its article: `a chat completion`."""
    return Failure(502, "upstream_error", "upstream_bad_answer", f"The provider sent something that is not {dialect}.")


def classify(status: int) -> tuple[str, str]:
    """Return the error type and code for a status."""
    return _TYPES.get(status) or (_TYPES[400] if status in _CLIENTS_FAULT else _SERVER_ERROR)


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
    type_, code = classify(status)
    own_type, own_code, param = error.get("type"), error.get("code"), error.get("param")
    message = _message(value, nested, error)[:MAX_MESSAGE]
    if status != _THROTTLED and _TOO_LONG.search(message):
        code = "context_length_exceeded"
    elif isinstance(own_code, str) and own_code and not own_code.isdigit():
        # A number, be it written as text, is a status or one of the provider's own.
        code = own_code
    return Failure(
        status=status,
        type=own_type if isinstance(own_type, str) and own_type else type_,
        code=code,
        message=message or f"The provider answered with status {status}.",
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
