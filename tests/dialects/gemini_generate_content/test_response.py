import json

import orjson
import pytest
from openai.types.responses import Response

from proxy.dialects.base import Failure
from proxy.dialects.gemini_generate_content.response import parse_count, parse_response
from proxy.dialects.reasoning import unseal
from tests.dialects.gemini_generate_content.recorded import COUNTS, WHOLE, content_of
from tests.dialects.oracle import calls_of, context_of, messages_of, reasoning_of, text_of


def body_of(*parts, finish="STOP", **members):
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish}
    return orjson.dumps({"candidates": [candidate], **members})


def items_of(response, kind):
    return [item for item in response["output"] if item["type"] == kind]


def check_content(response, content):
    """Hold a response to what is in a recording."""
    Response.model_validate(response)
    assert (text_of(response), reasoning_of(response)) == (content.text, content.reasoning)
    assert [(name, json.loads(arguments)) for name, arguments in calls_of(response)] == content.calls
    runs = [(item["code"], item["outputs"][0]["logs"]) for item in items_of(response, "code_interpreter_call")]
    assert runs == content.runs
    assert response["status"] == content.status
    searches = [query for item in items_of(response, "web_search_call") for query in item["action"]["queries"]]
    assert list(dict.fromkeys(searches)) == list(dict.fromkeys(content.queries)) or not content.queries
    check_citations(response, content)
    check_signatures(response, content)
    check_usage(response["usage"], content.usage)


def check_citations(response, content):
    """Every citation points at the words it is of."""
    parts = [part for message in messages_of(response) for part in message["content"]]
    cited = [
        (part["text"][one["start_index"] : one["end_index"]], one["url"])
        for part in parts
        for one in part.get("annotations", ())
    ]
    assert set(cited) >= set(content.cited)


def check_signatures(response, content):
    """Every signature is carried by some reasoning."""
    sealed = [item["encrypted_content"] for item in items_of(response, "reasoning")]
    carried = json.dumps([unseal(one, "primary", "large") for one in sealed])
    for part in content.parts:
        assert part.get("thoughtSignature", "") in carried


def check_usage(told, recorded):
    if "promptTokenCount" not in recorded:
        assert told is None
        return
    thoughts = recorded.get("thoughtsTokenCount", 0)
    assert told["input_tokens"] == recorded["promptTokenCount"] + recorded.get("toolUsePromptTokenCount", 0)
    assert told["input_tokens_details"]["cached_tokens"] == recorded.get("cachedContentTokenCount", 0)
    assert told["output_tokens"] == recorded.get("candidatesTokenCount", 0) + thoughts
    assert told["output_tokens_details"]["reasoning_tokens"] == thoughts
    assert told["total_tokens"] == recorded["totalTokenCount"]


@pytest.mark.parametrize("recording", WHOLE, ids=lambda recording: recording.id)
def test_recorded_answer_becomes_a_response(recording):
    content = content_of(recording)
    response = parse_response(recording.body, context_of())
    assert isinstance(response, Failure) == (content.status == "failed")
    if isinstance(response, Failure):
        assert response.code == content.finish.lower()
    else:
        check_content(response, content)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b"3",
        b'{"candidates":[]}',
        b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}',
    ],
)
def test_what_is_no_answer_is_a_bad_one(body):
    assert parse_response(body, context_of()).code == "upstream_bad_answer"


def test_error_in_a_success_is_a_failure_with_its_own_status():
    for body in (b'{"error":{"code":429,"message":"m"}}', b'[{"error":{"code":429,"message":"m"}}]'):
        assert parse_response(body, context_of()) == Failure(429, "rate_limit_error", "rate_limit_exceeded", "m")


def test_answer_past_the_limit_is_a_failure():
    assert parse_response(body_of({"text": "x" * 5000}), context_of(limit=1000)).code == "response_too_large"


def test_answer_that_contradicts_itself_is_a_bad_one():
    assert parse_response(body_of({"functionCall": {}}), context_of()).code == "upstream_bad_answer"


def test_answer_that_went_wrong_is_a_failure():
    failure = parse_response(body_of({"text": "x"}, finish="MALFORMED_FUNCTION_CALL"), context_of())
    assert (failure.status, failure.code) == (502, "malformed_function_call")


@pytest.mark.parametrize("recording", COUNTS, ids=lambda recording: recording.id)
def test_recorded_count_is_read(recording):
    assert parse_count(recording.body) == json.loads(recording.body).get("totalTokens")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"totalTokens":"3"}', b'{"totalTokens":true}', b'{"totalTokens":-1}']
)
def test_what_is_no_count_is_none(body):
    assert parse_count(body) is None
