import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.base import Failure
from proxy.dialects.cohere_chat.outcome import parse_error, parse_usage, read_end, read_failure, read_reason
from proxy.dialects.events import TokenCounts
from tests.dialects.cohere_chat.recorded import ERRORS
from tests.dialects.cohere_chat.test_stream_cut import JSON

FITTING = {
    "TOO_MANY_TOKENS": ("invalid_request_error", "context_length_exceeded"),
    400: ("invalid_request_error", "invalid_prompt"),
    401: ("authentication_error", "invalid_api_key"),
    404: ("invalid_request_error", "not_found"),
}


@pytest.mark.parametrize("recording", ERRORS, ids=lambda recording: recording.id)
def test_recorded_error_is_told_in_the_providers_words(recording):
    body = orjson.loads(recording.body)
    failure = parse_error(recording.status, recording.body)
    assert (failure.status, failure.message) == (recording.status, body["message"])
    assert (failure.type, failure.code) == FITTING[body.get("error_type", recording.status)]


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (498, {"message": "invalid api token"}, (401, "authentication_error", "invalid_api_key")),
        (429, {"message": "m"}, (429, "rate_limit_error", "rate_limit_exceeded")),
        (499, {"message": "m"}, (499, "invalid_request_error", "invalid_prompt")),
        (503, {"message": "m"}, (503, "server_error", "server_error")),
        (400, {"message": "too many tokens: x"}, (400, "invalid_request_error", "context_length_exceeded")),
        (400, {"message": "m", "error_type": "NEW"}, (400, "invalid_request_error", "NEW")),
        (400, {"message": "m", "error_type": None}, (400, "invalid_request_error", "invalid_prompt")),
        (400, {"message": "m", "error_type": ["x"]}, (400, "invalid_request_error", "invalid_prompt")),
        (422, {"data": "m"}, (422, "invalid_request_error", "invalid_prompt")),
        (502, [], (502, "server_error", "server_error")),
    ],
)
def test_error_has_a_fitting_status_type_and_code(status, body, told):
    failure = parse_error(status, orjson.dumps(body))
    assert (failure.status, failure.type, failure.code) == told
    assert failure.message


def test_error_may_be_anything():
    assert parse_error(503, b"<html>") == Failure(503, "server_error", "server_error", "<html>")


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"tokens": {"input_tokens": 9, "output_tokens": 4}}, (9, 0, 4, 0)),
        ({"tokens": {"input_tokens": 9.0, "output_tokens": 4.0}, "cached_tokens": 5.0}, (9, 5, 4, 0)),
        ({"tokens": {"input_tokens": 9, "output_tokens": 4, "reasoning_tokens": 3}}, (9, 0, 4, 3)),
        ({"tokens": {"input_tokens": 34, "output_tokens": 4, "image_tokens": 259}}, (293, 0, 4, 0)),
        ({"billed_units": {"input_tokens": 1, "output_tokens": 2}}, (1, 0, 2, 0)),
        ({"billed_units": {"input_tokens": 1}, "tokens": {"input_tokens": 9}}, (9, 0, 0, 0)),
        ({"billed_units": {"input_tokens": 1}, "tokens": None}, (1, 0, 0, 0)),
        ({"tokens": {"input_tokens": 9, "output_tokens": 4, "reasoning_tokens": 7}, "cached_tokens": 99}, (9, 9, 4, 4)),
        ({"tokens": {"input_tokens": -1, "output_tokens": True}, "cached_tokens": "x"}, (0, 0, 0, 0)),
        ({"tokens": {"input_tokens": 1e300, "output_tokens": 2**63}}, (1 << 53, 0, 1 << 53, 0)),
    ],
)
def test_usage_is_what_the_model_read_and_wrote(usage, counts):
    read, cached, written, reasoning = counts
    assert parse_usage(usage) == TokenCounts(read, cached, 0, written, reasoning, read + written)


@pytest.mark.parametrize("usage", [None, {}, [], 3, {"tokens": 3, "billed_units": []}, {"cached_tokens": 3}])
def test_usage_may_be_missing(usage):
    assert parse_usage(usage) is None


def test_reason_is_that_of_an_incomplete_answer():
    reasons = [read_reason({"finish_reason": reason}) for reason in ("MAX_TOKENS", "COMPLETE", None, [], {})]
    assert reasons == ["max_output_tokens", None, None, None, None]


def test_status_of_a_failed_answer_says_how():
    ends = [read_end({"finish_reason": reason}) for reason in ("ERROR", "TIMEOUT")]
    assert [(end.status, end.type) for end in ends] == [(502, "server_error"), (504, "server_error")]
    assert read_end({"finish_reason": "COMPLETE", "error": ""}) is None
    assert read_end({}) is None


def test_failure_is_only_what_says_so():
    assert read_failure({"id": "x", "message": "m"}).message == "m"
    assert read_failure({"error": {"message": "m"}}).message == "m"
    for value in (None, [], {}, {"message": {}}, {"message": None, "error": None}, {"type": "debug"}):
        assert read_failure(value) is None


@settings(max_examples=40)
@given(JSON, st.integers(400, 599))
def test_no_json_raises(value, status):
    parse_error(status, orjson.dumps(value)).body()
    parse_usage(value)
    read_failure(value)
    read_end({"finish_reason": value, "error": value})
