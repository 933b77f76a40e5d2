"""Parses a whole answer in chat completions into a response object."""

from typing import Any

import orjson

from proxy.dialects.base import Context, Failure
from proxy.dialects.chat_completions.assembly import Assembly
from proxy.dialects.chat_completions.citations import read_sources
from proxy.dialects.chat_completions.outcome import CUT_SHORT, FAILED, parse_tier, parse_usage
from proxy.dialects.events import OutputTooLong
from proxy.dialects.failures import TOO_LARGE, bad_answer, read_failure
from proxy.dialects.translator import Malformed

_BAD_ANSWER = bad_answer("a chat completion")


def parse_response(body: bytes, context: Context) -> dict[str, Any] | Failure:
    """Read the body of a 200, which can hold an error all the same; blanks before it are keep-alive."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _BAD_ANSWER
    choice = _first_choice(value)
    if choice is None:
        return read_failure(value) if isinstance(value, dict) and value.get("error") else _BAD_ANSWER
    if choice.get("error") or str(choice.get("finish_reason")) in FAILED:
        return read_failure(choice)
    try:
        return _assemble(value, choice, context)
    except OutputTooLong:
        return TOO_LARGE
    except Malformed:
        return _BAD_ANSWER


def _first_choice(value: Any) -> dict[str, Any] | None:
    """Return the choice that is answered with; None where there is none. A filtered one may have no message."""
    choices = value.get("choices") if isinstance(value, dict) and not value.get("error") else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    told = isinstance(choice, dict) and (isinstance(choice.get("message"), dict) or choice.get("finish_reason"))
    return choice if told else None


def _assemble(value: dict[str, Any], choice: dict[str, Any], context: Context) -> dict[str, Any]:
    """Write the stream the message would have been, and keep what it ends in."""
    assembly = Assembly(context)
    writer = assembly.writer
    model, tier = value.get("model"), parse_tier(value.get("service_tier"))
    if isinstance(model, str) and model:
        writer.report(model=model)
    if tier is not None:
        writer.report(service_tier=tier)
    reason = CUT_SHORT.get(str(choice.get("finish_reason")))
    message = choice.get("message")
    assembly.found(read_sources(value))
    assembly.take(message if isinstance(message, dict) else {}, choice.get("logprobs"))
    assembly.settle(reason)
    writer.finish(reason, parse_usage(value.get("usage")))
    response: dict[str, Any] = orjson.loads(writer.response or b"{}")
    return response
