"""Parses a whole message into a response object."""

from typing import Any

import orjson

from proxy.dialects.anthropic_messages.assembly import Assembly
from proxy.dialects.anthropic_messages.outcome import parse_tier, parse_usage, read_error
from proxy.dialects.base import Context, Failure
from proxy.dialects.events import OutputTooLong
from proxy.dialects.failures import TOO_LARGE, bad_answer
from proxy.dialects.translator import Malformed

_BAD_ANSWER = bad_answer("a message")


def parse_response(body: bytes, context: Context) -> dict[str, Any] | Failure:
    """Read the body of a 200, which can hold an error all the same."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _BAD_ANSWER
    if isinstance(value, dict) and (value.get("error") or value.get("type") == "error"):
        return read_error(value)
    if not isinstance(value, dict) or not isinstance(value.get("content"), list):
        return _BAD_ANSWER
    try:
        return _assemble(value, context)
    except OutputTooLong:
        return TOO_LARGE
    except Malformed:
        return _BAD_ANSWER


def _assemble(value: dict[str, Any], context: Context) -> dict[str, Any]:
    """Write the stream the message would have been, and keep what it ends in."""
    assembly = Assembly(context)
    writer = assembly.writer
    model, usage = value.get("model"), value.get("usage")
    if isinstance(model, str) and model:
        writer.report(model=model)
    tier = parse_tier(usage)
    if tier is not None:
        writer.report(service_tier=tier)
    for index, block in enumerate(value["content"]):
        assembly.start(index, block)
        assembly.stop(index)
    assembly.finish(value.get("stop_reason"), value.get("stop_details"), parse_usage(usage))
    response: dict[str, Any] = orjson.loads(writer.response or b"{}")
    return response
