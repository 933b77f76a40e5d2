"""Parses a whole answer of Gemini into a response object."""

from typing import Any

import orjson

from proxy.dialects.base import Context, Failure
from proxy.dialects.events import OutputTooLong
from proxy.dialects.failures import TOO_LARGE, bad_answer
from proxy.dialects.gemini_generate_content.answer import Answer
from proxy.dialects.gemini_generate_content.stream import DIALECT
from proxy.dialects.translator import Malformed

_BAD_ANSWER = bad_answer(DIALECT)


def parse_response(body: bytes, context: Context) -> dict[str, Any] | Failure:
    """Read the body of a 200: one answer, or the list of them that a stream is without `alt=sse`."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _BAD_ANSWER
    answer = Answer(context)
    try:
        for one in value if isinstance(value, list) else [value]:
            answer.take(one)
        if answer.failure is not None:
            return answer.failure
        if not answer.ended:
            return _BAD_ANSWER
        answer.finish()
    except OutputTooLong:
        return TOO_LARGE
    except Malformed:
        return _BAD_ANSWER
    response: dict[str, Any] = orjson.loads(answer.writer.response or b"{}")
    return response


def parse_count(body: bytes) -> int | None:
    """Read the number of tokens that were counted."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    total = value.get("totalTokens") if isinstance(value, dict) else None
    return total if type(total) is int and total >= 0 else None
