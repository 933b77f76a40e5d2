"""Parses a whole answer of Converse into a response object."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from proxy.dialects.base import Context, Failure
from proxy.dialects.bedrock_converse.assembly import Assembly
from proxy.dialects.bedrock_converse.outcome import CUT_SHORT, FAILED, parse_tier, parse_usage, stopped_badly
from proxy.dialects.events import OutputTooLong
from proxy.dialects.failures import TOO_LARGE, bad_answer
from proxy.dialects.translator import Malformed

_BAD_ANSWER = bad_answer("a Converse response")


def parse_response(body: bytes, context: Context) -> dict[str, Any] | Failure:
    """Read the body of a 200."""
    try:
        value = orjson.loads(body)
        content = _content(value)
        return _BAD_ANSWER if content is None else _assemble(value, content, context)
    except OutputTooLong:
        return TOO_LARGE
    except (Malformed, orjson.JSONDecodeError):
        return _BAD_ANSWER


def _content(value: Any) -> list[Any] | None:
    """Return the message's content blocks; None where there is no message."""
    output = value.get("output") if isinstance(value, dict) else None
    message = output.get("message") if isinstance(output, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else None


def _assemble(value: Mapping[str, Any], content: list[Any], context: Context) -> dict[str, Any] | Failure:
    """Write the stream the message would have been, and keep what it ends in."""
    stopped = str(value.get("stopReason"))
    if stopped in FAILED:
        return stopped_badly(stopped)
    assembly = Assembly(context)
    writer = assembly.writer
    tier = parse_tier(value.get("serviceTier"))
    if tier is not None:
        writer.report(service_tier=tier)
    for index, block in enumerate(content):
        if isinstance(block, dict):
            assembly.start(index, block)
            for delta in _deltas(block):
                assembly.delta(index, delta)
            assembly.stop(index)
    reason = CUT_SHORT.get(stopped)
    assembly.settle(reason)
    writer.finish(reason, parse_usage(value.get("usage")))
    response: dict[str, Any] = orjson.loads(writer.response or b"{}")
    return response


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the deltas a content block would have been streamed in."""
    for member, value in block.items():
        if member == "text":
            yield {"text": value}
        elif member == "reasoningContent" and isinstance(value, dict):
            yield from _thought(value)
        elif member == "citationsContent" and isinstance(value, dict):
            yield from ({"citation": citation} for citation in _list(value, "citations"))
            yield from (part for part in _list(value, "content") if isinstance(part, dict))
        elif member == "toolUse" and isinstance(value, dict):
            yield {"toolUse": {"input": _encode(value.get("input"))}}
        elif member == "toolResult" and isinstance(value, dict):
            yield {"toolResult": _list(value, "content")}


def _thought(thought: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    whole = thought.get("reasoningText")
    pieces = whole if isinstance(whole, dict) else thought
    yield {"reasoningContent": {name: pieces.get(name) for name in ("text", "signature", "redactedContent")}}


def _list(value: Mapping[str, Any], member: str) -> list[Any]:
    found = value.get(member)
    return found if isinstance(found, list) else []


def _encode(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise Malformed("Arguments are nested too deeply.") from error
