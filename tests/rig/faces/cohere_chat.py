"""Cohere's chat: typed events, calls in an object of their own, thoughts as content."""

import itertools
from typing import Any

from tests.dialects.cohere_chat.official import check
from tests.rig.faces.base import Asked, Face, dumps, media_of_url, sse, thirds
from tests.rig.model import Answer, Entry, Prompt, Refused

MODEL = "command-a-reasoning-08-2025"
ROLES = {"system": "system", "user": "user", "assistant": "model", "tool": "result"}

_numbers = itertools.count(1)


def read(_exchange: Any, body: Any) -> Asked:
    """Read a request."""
    check(body)
    check_pairs(body["messages"])
    structured = body.get("response_format", {}).get("type") == "json_object"
    if structured and body.get("tools"):
        raise Refused(400, "response_format is not supported with tools")
    tools = {tool["function"]["name"]: tool["function"].get("parameters") for tool in body.get("tools", ())}
    entries = tuple(Entry(ROLES[message["role"]], _text_of(message.get("content"))) for message in body["messages"])
    return Asked(
        Prompt(entries, tools, structured, body.get("temperature")),
        body["model"],
        body.get("stream", False),
        thinks=body.get("thinking", {}).get("type") != "disabled",
    )


def check_pairs(messages: list[Any]) -> None:
    """Refuse calls that the messages behind them do not answer."""
    for at, message in enumerate(messages):
        called = [call["id"] for call in message.get("tool_calls") or ()]
        behind = itertools.takewhile(lambda later: later["role"] == "tool", messages[at + 1 :])
        if message["role"] != "tool" and [result["tool_call_id"] for result in behind] != called:
            raise Refused(400, "tool call ids do not match those of the tool results")


def _text_of(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(map(_text_of_part, content))


def _text_of_part(part: Any) -> str:
    if part["type"] == "thinking":
        return ""
    if part["type"] == "image_url":
        return media_of_url(part["image_url"]["url"])
    if part["type"] == "document":
        return dumps(part["document"])
    return part["text"]


def usage_of(given: Answer, asked: Asked) -> dict[str, Any]:
    """Count tokens: those billed are fewer."""
    read_, written = asked.usage(given)
    tokens = {"input_tokens": read_, "output_tokens": written, "reasoning_tokens": len(given.thought.split())}
    return {"billed_units": {"input_tokens": 1, "output_tokens": written}, "tokens": tokens, "cached_tokens": 0}


def finish(given: Answer) -> str:
    """Say why the answer ends."""
    return "MAX_TOKENS" if given.cut else "TOOL_CALL" if given.calls else "COMPLETE"


def calls_of(given: Answer) -> list[dict[str, Any]]:
    """Render calls."""
    return [
        {
            "id": f"{call.name}_{next(_numbers):012d}",
            "type": "function",
            "function": {"name": call.name, "arguments": dumps(call.arguments)},
        }
        for call in given.calls
    ]


def whole(given: Answer, asked: Asked) -> Any:
    """Render an answer."""
    thoughts = [{"type": "thinking", "thinking": given.thought}] if given.thought else []
    texts = [{"type": "text", "text": given.text}] if given.text else []
    message: dict[str, Any] = {"role": "assistant"}
    if thoughts or texts:
        message["content"] = [*thoughts, *texts]
    if given.calls:
        message["tool_calls"] = calls_of(given)
    identified = {"id": f"00000000-0000-4000-8000-{next(_numbers):012d}", "message": message}
    return {**identified, "finish_reason": finish(given), "usage": usage_of(given, asked)}


def stream(given: Answer, asked: Asked) -> list[bytes]:
    """Render a stream, which has a sentinel behind its end."""
    opened = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    began = {"id": f"00000000-0000-4000-8000-{next(_numbers):012d}", "type": "message-start"}
    events = [sse({**began, "delta": {"message": opened}}, "message-start")]
    contents = [("thinking", thirds(given.thought)), ("text", given.pieces)]
    for index, (kind, pieces) in enumerate((kind, pieces) for kind, pieces in contents if pieces):
        events += _content(index, kind, pieces)
    for index, call in enumerate(calls_of(given)):
        events += _call(index, call)
    ended = {"finish_reason": finish(given), "usage": usage_of(given, asked)}
    return [*events, sse({"type": "message-end", "delta": ended}, "message-end"), b"data: [DONE]\n\n"]


def _content(index: int, kind: str, pieces: list[str]) -> list[bytes]:
    deltas = [_event("content-delta", index, content={kind: piece}) for piece in pieces]
    return [
        _event("content-start", index, content={"type": kind, kind: ""}),
        *deltas,
        sse({"type": "content-end", "index": index}, "content-end"),
    ]


def _call(index: int, call: Any) -> list[bytes]:
    function = call["function"]
    opened = {**call, "function": {"name": function["name"], "arguments": ""}}
    pieces = [{"function": {"arguments": piece}} for piece in thirds(function["arguments"])]
    return [
        _event("tool-call-start", index, tool_calls=opened),
        *(_event("tool-call-delta", index, tool_calls=piece) for piece in pieces),
        sse({"type": "tool-call-end", "index": index}, "tool-call-end"),
    ]


def _event(kind: str, index: int, **message: Any) -> bytes:
    return sse({"type": kind, "index": index, "delta": {"message": message}}, kind)


def error(refused: Refused) -> tuple[list[tuple[str, str]], Any]:
    """Render a refusal: a message, and nothing around it."""
    return [], {"id": f"00000000-0000-4000-8000-{next(_numbers):012d}", "message": refused.message}


FACE = Face(
    kind="cohere",
    model=MODEL,
    targets=("/v2/chat",),
    read=read,
    whole=whole,
    stream=stream,
    error=error,
    listing="/v1/models",
    listed={"models": [{"name": MODEL, "endpoints": ["chat"]}]},
)
