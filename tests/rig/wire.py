"""Well-formed Responses API objects and event streams, as OpenAI sends them, made to order."""

import secrets
from collections.abc import Iterable
from typing import Any

import orjson

MODEL = "gpt-4o-mini-2024-07-18"

USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 19,
}


def new_id(prefix: str = "resp") -> str:
    """Make an id of OpenAI's form that nobody has used."""
    return f"{prefix}_{secrets.token_hex(24)}"


def message(text: str, *, id: str = "msg_1", status: str = "completed") -> dict[str, Any]:  # noqa: A002
    """Make an assistant's message item."""
    content = [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}]
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}


def response_object(id: str, text: str = "Hello there.", **fields: Any) -> dict[str, Any]:  # noqa: A002
    """Make a completed response; `fields` replace or add members."""
    return {
        "id": id,
        "object": "response",
        "created_at": 1778089147,
        "status": "completed",
        "background": False,
        "completed_at": 1778089149,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "model": MODEL,
        "output": [message(text)],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": USAGE,
        "user": None,
        "metadata": {},
    } | fields


def event(type: str, sequence_number: int, **fields: Any) -> bytes:  # noqa: A002
    """Frame one event the way OpenAI does: its name, one line of data, an empty line."""
    data = orjson.dumps({"type": type, **fields, "sequence_number": sequence_number})
    return b"event: %b\ndata: %b\n\n" % (type.encode(), data)


def stream_events(
    id: str,  # noqa: A002
    text: str | Iterable[str] = ("Hello", " there", "."),
    *,
    end: str = "completed",
    **fields: Any,
) -> list[bytes]:
    """Make a whole stream, one event an entry: created, in_progress, item, part, deltas, done, terminal.

    `text` as a string is one delta, else a delta an entry. `end` is `completed`, `incomplete` or
    `failed`; `fields` go into every response object. The terminal event is the last entry.
    """
    deltas = [text] if isinstance(text, str) else list(text)
    whole = "".join(deltas)
    running = {"status": "in_progress", "completed_at": None, "output": [], "usage": None} | fields
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "annotations": [], "logprobs": []}
    steps = [
        ("response.created", {"response": response_object(id, **running)}),
        ("response.in_progress", {"response": response_object(id, **running)}),
        (
            "response.output_item.added",
            {"item": {**message("", status="in_progress"), "content": []}, "output_index": 0},
        ),
        ("response.content_part.added", {**place, "part": {**part, "text": ""}}),
        *(("response.output_text.delta", {**place, "delta": delta, "logprobs": []}) for delta in deltas),
        ("response.output_text.done", {**place, "text": whole, "logprobs": []}),
        ("response.content_part.done", {**place, "part": {**part, "text": whole}}),
        ("response.output_item.done", {"item": message(whole), "output_index": 0}),
        (f"response.{end}", {"response": response_object(id, whole, **_ending(end), **fields)}),
    ]
    return [event(name, number, **members) for number, (name, members) in enumerate(steps)]


def _ending(end: str) -> dict[str, Any]:
    if end == "failed":
        error = {"code": "server_error", "message": "The model failed."}
        return {"status": end, "completed_at": None, "output": [], "usage": None, "error": error}
    if end == "incomplete":
        return {"status": end, "completed_at": None, "incomplete_details": {"reason": "max_output_tokens"}}
    return {"status": end}
