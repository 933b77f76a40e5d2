"""Answers in chat completions, as a translated provider sends them."""

from collections.abc import Iterable
from typing import Any

import orjson

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
DONE = b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **members: Any) -> bytes:
    """Make one event of a stream."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return b"data: %b\n\n" % orjson.dumps({"id": "c", "model": "large-1", "choices": [choice], **members})


def stream(pieces: str | Iterable[str] = ("Hel", "lo"), finish: str = "stop") -> list[bytes]:
    """Make a stream that says these pieces: one event each, then the finish, the usage and the end."""
    said = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": piece}) for piece in pieces)]
    return [*said, chunk({}, finish), chunk(usage=USAGE), DONE]


def completion(content: str | None = "Hello", finish: str = "stop", **message: Any) -> dict[str, Any]:
    """Make a whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion", "model": "large-1", "choices": [choice], "usage": USAGE}


def call(name: str, arguments: Any, call_id: str = "call_1") -> dict[str, Any]:
    """Make a tool call of a message."""
    function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
    return {"index": 0, "id": call_id, "type": "function", "function": function}
