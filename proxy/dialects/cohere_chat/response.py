"""Parses a whole answer of Cohere's chat into a response object."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from proxy.dialects.base import Context, Failure
from proxy.dialects.cohere_chat.assembly import PLAN, THINKING, Assembly, read_logprobs, text_in
from proxy.dialects.cohere_chat.outcome import parse_usage, read_end, read_failure, read_reason
from proxy.dialects.events import OutputTooLong
from proxy.dialects.failures import TOO_LARGE, bad_answer
from proxy.dialects.translator import Malformed

_BAD_ANSWER = bad_answer("a message of Cohere's chat")


def parse_response(body: bytes, context: Context) -> dict[str, Any] | Failure:
    """Read the body of a 200, which can hold an error all the same."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _BAD_ANSWER
    message = value.get("message") if isinstance(value, dict) else None
    if not isinstance(message, dict):
        return read_failure(value) or _BAD_ANSWER
    try:
        return read_end(value) or _assemble(value, message, context)
    except OutputTooLong:
        return TOO_LARGE
    except Malformed:
        return _BAD_ANSWER


def _assemble(value: Mapping[str, Any], message: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Write the stream the message would have been, and keep what it ends in."""
    assembly = Assembly(context)
    _take_content(assembly, message, read_logprobs(value.get("logprobs")))
    plan = text_in(message.get(PLAN))
    if plan:
        assembly.reflect(PLAN, plan)
    for call in _objects(message.get("tool_calls")):
        assembly.call(None, call)
        assembly.end_call(None)
    reason = read_reason(value)
    assembly.settle(reason)
    assembly.writer.finish(reason, parse_usage(value.get("usage")))
    response: dict[str, Any] = orjson.loads(assembly.writer.response or b"{}")
    return response


def _take_content(assembly: Assembly, message: Mapping[str, Any], logprobs: Sequence[Mapping[str, Any]]) -> None:
    content = message.get("content")
    parts = _objects([{"text": content}] if isinstance(content, str) else content)
    citations = _objects(message.get("citations"))
    last = max((at for at, part in enumerate(parts) if part.get("text")), default=None)
    for at, part in enumerate(parts):
        assembly.begin_part()
        text, thinking = text_in(part.get("text")), text_in(part.get("thinking"))
        if text:
            assembly.say(text, _of_text(logprobs, text) if at == last else ())
        if thinking:
            assembly.reflect(THINKING, thinking)
        for citation in citations:
            if citation.get("content_index", last) == at:
                assembly.cite(citation)


def _of_text(logprobs: Sequence[Mapping[str, Any]], text: str) -> Sequence[Mapping[str, Any]]:
    """Return the log probabilities of the text: it comes last, and they may be of the reasoning too."""
    at, length = len(logprobs), 0
    while at and length < len(text):
        at -= 1
        length += len(logprobs[at]["token"])
    return logprobs[at:]


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
