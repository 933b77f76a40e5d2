"""The Responses API itself: how its streams end, and what ends one that its provider left."""

from typing import Any

import orjson

from proxy.sse import data_of, encode

ENDS = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
    "error": "upstream_error",
}
"""The events that end a stream, and what the end is called."""
LIFECYCLE = ENDS.keys() - {"error"} | {"response.created", "response.queued", "response.in_progress"}
"""The events that carry the response itself."""

MAX_OPENED = 8192
"""Bytes kept of a response as it was opened, before its large members are left out."""
MAX_MEMBER = 1024
"""Bytes a member has at most to be kept then."""
MAX_KEPT = 32_768

_PREVIOUS = "previous_response_id"
_ENDING = frozenset({"status", "error"})
_EMPTY = {
    "object": "response",
    "created_at": 0,
    "model": "",
    "output": [],
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "text": {"format": {"type": "text"}},
}
"""What stands for the members of a response that were not kept."""


def keep_opened(response: dict[str, Any]) -> bytes:
    """Keep a response as it was opened, without output and end; of a large one, only its small members.

    `response` has an `id`. But for that, the result is bounded; it is JSON that lacks what `render_failed` adds.
    """
    always = {"id": response["id"], "output": []}
    kept = {name: value for name, value in response.items() if name not in _ENDING}
    written = _dumps({**_EMPTY, **kept, **always})
    if not 0 < len(written) <= MAX_OPENED:
        small = {name: value for name, value in kept.items() if 0 < len(_dumps(value)) <= MAX_MEMBER}
        written = _dumps({**_EMPTY, **small, **always})
    return written if 0 < len(written) <= MAX_KEPT else _dumps({**_EMPTY, **always})


def render_failed(opened: bytes, sequence: int, code: str, message: str) -> bytes:
    """Render the event that ends a stream by the failure of the response kept by `keep_opened`."""
    return encode(
        "response.failed",
        b'{"type":"response.failed","sequence_number":%d,"response":%b,"status":"failed","error":%b}}'
        % (sequence, opened[:-1], orjson.dumps({"code": code, "message": message})),
    )


def render_error(sequence: int, code: str, message: str) -> bytes:
    """Render the event that ends a stream before any response was opened."""
    error = {"type": "server_error", "code": code, "message": message, "param": None}
    return encode("error", orjson.dumps({"type": "error", "sequence_number": sequence, "error": error}))


def tell_previous(body: bytes, previous: str) -> bytes:
    """Return a response as JSON that tells the one it continues; what is none, as it is."""
    value = _object(body)
    if value.get("object") != "response":
        return body
    return _dumps({**value, _PREVIOUS: previous}) or body


def tell_previous_in(event: bytes, previous: str) -> bytes:
    """Return an event whose response tells the one it continues; an event that carries none, as it is."""
    value = _object(data_of(event))
    kind, response = value.get("type"), value.get("response")
    if not isinstance(kind, str) or kind not in LIFECYCLE or not isinstance(response, dict):
        return event
    written = _dumps({**value, "response": {**response, _PREVIOUS: previous}})
    return encode(kind, written) if written else event


def _object(data: bytes) -> dict[str, Any]:
    """Read a JSON object; an empty one for anything else."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _dumps(value: Any) -> bytes:
    """Write JSON; nothing where it is nested deeper than can be written."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b""
