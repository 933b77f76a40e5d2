"""Anthropic's Messages API: content blocks, thoughts with signatures, the results of tools in the user's turn."""

import base64
import itertools
from collections.abc import Iterator
from typing import Any

from proxy.dialects.base import Rendered
from tests.dialects.anthropic_messages import official
from tests.rig.faces.base import Asked, Face, dumps, is_signed, media, sign, sse, thirds
from tests.rig.model import Answer, Entry, Prompt, Refused
from tests.rig.settings import UPSTREAM_KEY

MODEL = "claude-sonnet-5"
COUNTING = "/v1/messages/count_tokens"
TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}

_numbers = itertools.count(1)


def read(exchange: Any, body: Any) -> Asked:
    """Read a request to answer or to count."""
    rendered = Rendered("", (), exchange.received, ())
    (official.check_count if exchange.path == COUNTING else official.check_request)(rendered)
    if exchange.header("anthropic-version") is None:
        raise Refused(400, "anthropic-version: header is required")
    if "temperature" in body or "top_p" in body:
        raise Refused(400, "`temperature` is deprecated for this model.")
    check_pairs(body["messages"])
    system = body.get("system", [])
    said = (
        [Entry("system", block["text"]) for block in system] if isinstance(system, list) else [Entry("system", system)]
    )
    entries = (*said, *itertools.chain.from_iterable(map(_entries, body["messages"])))
    tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools", ()) if "input_schema" in tool}
    thinking = body.get("thinking", {})
    return Asked(
        Prompt(entries, tools, "format" in body.get("output_config", {})),
        body["model"],
        body.get("stream", False),
        thinks=thinking.get("type") == "adaptive",
        shows=thinking.get("display") == "summarized",
    )


def check_pairs(messages: list[Any]) -> None:
    """Refuse uses of tools that the next message does not answer first of all."""
    for at, message in enumerate(messages):
        used = _ids(message, "tool_use", "id")
        behind = messages[at + 1] if at + 1 < len(messages) else {"content": ""}
        if used and _ids(behind, "tool_result", "tool_use_id")[: len(used)] != used:
            raise Refused(400, f"messages.{at}: `tool_use` ids were found without `tool_result` blocks after: {used}")


def _ids(message: Any, kind: str, member: str) -> list[str]:
    content = message["content"]
    return [block[member] for block in content if block["type"] == kind] if isinstance(content, list) else []


def _entries(message: Any) -> Iterator[Entry]:
    role = "model" if message["role"] == "assistant" else message["role"]
    content = message["content"]
    if isinstance(content, str):
        yield Entry(role, content)
        return
    for block in content:
        if block["type"] == "tool_result":
            yield Entry("result", _text_of(block.get("content", "")))
        elif block["type"] == "thinking":
            if not is_signed(block["signature"], block["thinking"]):
                raise Refused(400, "Invalid `signature` in `thinking` block")
        elif block["type"] != "tool_use":
            yield Entry(role, _text_of([block]))


def _text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(map(_text_of_block, content))


def _text_of_block(block: Any) -> str:
    if block["type"] == "text":
        return block["text"]
    source = block["source"]
    if source["type"] == "text":
        return source["data"]
    return media(source["media_type"], base64.b64decode(source["data"], validate=True))


def usage_of(given: Answer, asked: Asked) -> dict[str, Any]:
    """Count tokens."""
    read_, written = asked.usage(given)
    cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"input_tokens": read_, **cached, "output_tokens": written, "service_tier": "standard"}


def stop_reason(given: Answer) -> str:
    """Say why the answer ends."""
    return "max_tokens" if given.cut else "tool_use" if given.calls else "end_turn"


def blocks_of(given: Answer, asked: Asked) -> Iterator[dict[str, Any]]:
    """Render an answer's content."""
    if given.thought:
        told = given.thought if asked.shows else ""
        yield {"type": "thinking", "thinking": told, "signature": sign(given.thought)}
    if given.text:
        yield {"type": "text", "text": given.text}
    for call in given.calls:
        yield {"type": "tool_use", "id": f"toolu_{next(_numbers):024d}", "name": call.name, "input": call.arguments}


def message_of(asked: Asked, **members: Any) -> dict[str, Any]:
    """Render a message."""
    fixed = {"id": f"msg_{next(_numbers):024d}", "type": "message", "role": "assistant", "model": asked.model}
    return {**fixed, "content": [], "stop_reason": None, "stop_sequence": None, **members}


def whole(given: Answer, asked: Asked) -> Any:
    """Render an answer."""
    content = list(blocks_of(given, asked))
    return message_of(asked, content=content, stop_reason=stop_reason(given), usage=usage_of(given, asked))


def stream(given: Answer, asked: Asked) -> list[bytes]:
    """Render a stream."""
    usage = usage_of(given, asked)
    events = [_event("message_start", message=message_of(asked, usage={**usage, "output_tokens": 1}))]
    for index, block in enumerate(blocks_of(given, asked)):
        opened, deltas = _take_apart(block, given)
        events.append(_event("content_block_start", index=index, content_block=opened))
        events += [_event("ping")] if index == 0 else []
        events += [_event("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(_event("content_block_stop", index=index))
    ended = {"stop_reason": stop_reason(given), "stop_sequence": None}
    return [*events, _event("message_delta", delta=ended, usage=usage), _event("message_stop")]


def _take_apart(block: Any, given: Answer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a block as it is opened, and what it is then filled with."""
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in given.pieces]
    if block["type"] == "tool_use":
        pieces = ["", *thirds(dumps(block["input"]))]
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in thirds(block["thinking"])]
    signed = {"type": "signature_delta", "signature": block["signature"]}
    return {**block, "thinking": "", "signature": ""}, [*thoughts, signed]


def _event(kind: str, **members: Any) -> bytes:
    return sse({"type": kind, **members}, kind)


def error(refused: Refused) -> tuple[list[tuple[str, str]], Any]:
    """Render a refusal."""
    request = f"req_{next(_numbers):024d}"
    detail = {"type": TYPES.get(refused.status, "api_error"), "message": refused.message}
    return [("request-id", request)], {"type": "error", "error": detail, "request_id": request}


FACE = Face(
    kind="anthropic",
    model=MODEL,
    credential=("x-api-key", UPSTREAM_KEY),
    targets=("/v1/messages",),
    read=read,
    whole=whole,
    stream=stream,
    error=error,
    counting=COUNTING,
    counted=lambda tokens: {"input_tokens": tokens},
    listing="/v1/models",
    listed={"data": [{"type": "model", "id": MODEL, "display_name": "Claude Sonnet 5"}], "has_more": False},
)
