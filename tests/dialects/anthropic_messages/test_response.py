import json

import orjson
import pytest
from hypothesis import given, settings

from proxy.dialects.anthropic_messages.response import parse_response
from proxy.dialects.base import Failure
from tests.dialects.anthropic_messages.recorded import WHOLE, content_of
from tests.dialects.anthropic_messages.test_stream import INCOMPLETE, carried_in, check_served, check_usage
from tests.dialects.anthropic_messages.test_stream_cut import JSON
from tests.dialects.anthropic_messages.written import items_of, whole
from tests.dialects.oracle import calls_of, context_of, reasoning_of, refusal_of, text_of


@pytest.mark.parametrize("recording", WHOLE, ids=lambda recording: recording.id)
def test_recorded_message_says_what_the_provider_said(recording):
    response, content = parse_response(recording.body, context_of()), content_of(recording)
    assert (text_of(response), reasoning_of(response)) == (content.text, content.reasoning)
    assert [(name, json.loads(arguments)) for name, arguments in calls_of(response)] == content.calls
    assert response["status"] == ("incomplete" if content.stop in INCOMPLETE else "completed")
    thoughts = [inner.get("signature") or inner.get("data") for inner in carried_in(response)]
    assert [signature for signature in thoughts if signature] == [mark for mark in content.signatures if mark]
    check_usage(response["usage"], content.usage)
    check_served(response, content)


def test_message_becomes_a_response():
    response = whole(
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "Hi", "citations": None},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}, "caller": {"type": "direct"}},
        reason="tool_use",
    )
    assert items_of(response) == ["reasoning", "message", "function_call"]
    assert (response["status"], response["model"], response["service_tier"]) == ("completed", "claude-1", "default")
    assert calls_of(response) == [("f", "{}")]
    assert response["usage"]["total_tokens"] == 11


def test_refusal_without_content_is_a_message():
    response = whole(reason="refusal", stop_details={"explanation": None})
    assert (refusal_of(response), response["incomplete_details"]["reason"]) == (
        "The model declined to answer.",
        "content_filter",
    )


def test_error_in_a_success_is_a_failure():
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    failure = parse_response(body, context_of())
    assert (failure.status, failure.code, failure.message) == (503, "slow_down", "Overloaded")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"content":{}}', b'{"content":[null]}'])
def test_anything_else_is_a_bad_answer(body):
    failure = parse_response(body, context_of())
    assert (failure.status, failure.code) == (502, "upstream_bad_answer")


def test_message_past_the_limit_fails():
    body = orjson.dumps({"content": [{"type": "text", "text": "x" * 5000}]})
    assert parse_response(body, context_of(limit=1000)).code == "response_too_large"


@settings(max_examples=50)
@given(JSON)
def test_garbage_is_a_response_or_a_failure(value):
    for body in (
        value,
        {"content": value},
        {"content": [value]},
        {"content": [], "usage": value, "stop_reason": value},
    ):
        assert isinstance(parse_response(orjson.dumps(body), context_of()), dict | Failure)
