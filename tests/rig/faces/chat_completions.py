"""Chat completions, as a server of open models speaks them: with `reasoning_content`, and usage at the end."""

import itertools
from collections.abc import Iterable
from typing import Any

from tests.dialects.chat_completions.official import check_request
from tests.rig.faces.base import Asked, Face, dumps, media_of_url, sse, thirds
from tests.rig.model import Answer, Entry, Prompt, Refused

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "model", "tool": "result"}
FORMATS = ("json_schema", "json_object")
CODES = {400: "invalid_request_error", 401: "invalid_api_key", 429: "rate_limit_exceeded"}

_numbers = itertools.count(1)


def read(_exchange: Any, body: Any) -> Asked:
    """Read a request."""
    check_request(body)
    check_pairs(body["messages"])
    functions = [tool["function"] for tool in body.get("tools", ()) if tool["type"] == "function"]
    tools = {function["name"]: function.get("parameters") for function in functions}
    entries = tuple(Entry(ROLES[message["role"]], text_of(message["content"])) for message in body["messages"])
    structured = body.get("response_format", {}).get("type") in FORMATS
    return Asked(Prompt(entries, tools, structured, body.get("temperature")), body["model"], body.get("stream", False))


def check_pairs(messages: list[Any]) -> None:
    """Refuse calls that the messages behind them do not answer, all of them and nothing else."""
    for at, message in enumerate(messages):
        called = [call["id"] for call in message.get("tool_calls") or ()]
        behind = itertools.takewhile(lambda later: later["role"] == "tool", messages[at + 1 :])
        if message["role"] != "tool" and [result["tool_call_id"] for result in behind] != called:
            raise Refused(400, "An assistant message with 'tool_calls' must be followed by tool messages.")


def text_of(content: Any) -> str:
    """Return a message's content as text."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(map(_text_of_part, content))


def _text_of_part(part: Any) -> str:
    if part["type"] == "image_url":
        return media_of_url(part["image_url"]["url"])
    if part["type"] == "file":
        return media_of_url(part["file"]["file_data"])
    return part["text"]


def usage_of(given: Answer, asked: Asked) -> dict[str, Any]:
    """Count tokens."""
    read, written = asked.usage(given)
    thought = len(given.thought.split())
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def finish(given: Answer) -> str:
    """Say why the answer ends."""
    return "length" if given.cut else "tool_calls" if given.calls else "stop"


def calls_of(given: Answer) -> Iterable[dict[str, Any]]:
    """Render calls."""
    for at, call in enumerate(given.calls):
        function = {"name": call.name, "arguments": dumps(call.arguments)}
        yield {"index": at, "id": f"call_{next(_numbers):024d}", "type": "function", "function": function}


def frame(asked: Asked, kind: str, **members: Any) -> dict[str, Any]:
    """Render what all answers and chunks have."""
    return {
        "id": f"chatcmpl-{next(_numbers)}",
        "object": kind,
        "created": 1_790_000_000,
        "model": asked.model,
        **members,
    }


def whole(given: Answer, asked: Asked) -> Any:
    """Render an answer."""
    message = {"role": "assistant", "content": given.text or None}
    if given.thought:
        message["reasoning_content"] = given.thought
    if given.calls:
        message["tool_calls"] = list(calls_of(given))
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish(given)}
    return frame(asked, "chat.completion", choices=[choice], usage=usage_of(given, asked))


def stream(given: Answer, asked: Asked) -> list[bytes]:
    """Render a stream."""
    deltas = [
        {"role": "assistant", "content": None, "reasoning_content": ""},
        *({"content": None, "reasoning_content": piece} for piece in thirds(given.thought)),
        *({"content": piece} for piece in given.pieces),
        *itertools.chain.from_iterable(map(_call_deltas, calls_of(given))),
    ]
    chunks = [_chunk(asked, delta) for delta in deltas]
    last = frame(asked, "chat.completion.chunk", choices=[], usage=usage_of(given, asked))
    return [*chunks, _chunk(asked, {"content": ""}, finish(given)), sse(last), b"data: [DONE]\n\n"]


def _call_deltas(call: Any) -> list[dict[str, Any]]:
    arguments, at = call["function"]["arguments"], call["index"]
    opened = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
    more = [{"index": at, "function": {"arguments": piece}} for piece in thirds(arguments)]
    return [{"tool_calls": [one]} for one in (opened, *more)]


def _chunk(asked: Asked, delta: Any, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return sse(frame(asked, "chat.completion.chunk", choices=[choice]))


def error(refused: Refused) -> tuple[list[tuple[str, str]], Any]:
    """Render a refusal."""
    code = CODES.get(refused.status, "server_error")
    return [], {"error": {"message": refused.message, "type": code, "param": None, "code": code}}


FACE = Face(
    kind="openai-chat-compatible",
    model="deepseek-v4-flash",
    base_path="/v1",
    targets=("/v1/chat/completions",),
    read=read,
    whole=whole,
    stream=stream,
    error=error,
    listing="/v1/models",
    listed={"object": "list", "data": [{"id": "deepseek-v4-flash", "object": "model", "owned_by": "deepseek"}]},
)
