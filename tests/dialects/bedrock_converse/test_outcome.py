import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.bedrock_converse.outcome import (
    CUT_SHORT,
    FAILED,
    parse_count,
    parse_error,
    parse_exception,
    parse_tier,
    parse_usage,
)
from tests.dialects.bedrock_converse.recorded import ERRORS
from tests.dialects.bedrock_converse.service import service

TYPES = {"400": "invalid_request_error", "403": "permission_error", "404": "invalid_request_error"}


@pytest.mark.parametrize("recording", ERRORS, ids=lambda recording: recording.id)
def test_recorded_error_keeps_status_and_words(recording):
    failure = parse_error(recording.status, recording.body)
    assert failure.status == recording.status
    assert failure.message == orjson.loads(recording.body)["message"]
    assert failure.type == TYPES[str(recording.status)]


def test_every_stop_reason_of_the_service_is_known():
    reasons = set(service().shape_for("StopReason").enum)
    assert reasons - set(CUT_SHORT) - FAILED == {"end_turn", "tool_use", "stop_sequence"}
    assert set(CUT_SHORT.values()) == {"max_output_tokens", "content_filter"}


@pytest.mark.parametrize(
    ("kind", "status", "type_", "code"),
    [
        ("internalServerException", 500, "server_error", "server_error"),
        ("modelStreamErrorException", 424, "server_error", "server_error"),
        ("modelTimeoutException", 408, "server_error", "server_error"),
        ("serviceUnavailableException", 503, "server_error", "server_error"),
        ("throttlingException", 429, "rate_limit_error", "rate_limit_exceeded"),
        ("validationException", 400, "invalid_request_error", "invalid_prompt"),
        ("someNewException", 500, "server_error", "server_error"),
    ],
)
def test_exception_of_a_stream_has_the_status_of_its_kind(kind, status, type_, code):
    failure = parse_exception({":exception-type": kind}, b'{"message":"m"}')
    assert failure == (status, type_, code, "m", None)


def test_every_exception_of_a_stream_is_known():
    stream = service().shape_for("ConverseStreamOutput").members
    for name, shape in stream.items():
        if shape.metadata.get("exception"):
            assert parse_exception({":exception-type": name}, b"{}").status == shape.metadata["error"]["httpStatusCode"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({":error-code": "InternalFailure", ":error-message": "m"}, "m"),
        ({":error-code": "InternalFailure"}, "InternalFailure"),
        ({":error-message": 7}, "The provider answered with status 500."),
    ],
)
def test_error_without_a_model_is_read_from_its_headers(headers, message):
    failure = parse_exception(headers, b"")
    assert (failure.status, failure.message) == (500, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message":"m"}', "m"),
        (b'{"Message":"m"}', "m"),
        (b'{"message":null,"originalMessage":"m"}', "m"),
        (b"m", "m"),
        (b"{}", "The provider answered with status 403."),
        (b"[]", "The provider answered with status 403."),
        (b"", "The provider answered with status 403."),
    ],
)
def test_message_is_found_in_every_shape(body, message):
    assert parse_error(403, body).message == message


@pytest.mark.parametrize(
    "message", ["Input is too long for requested model.", "prompt is too long: 208310 tokens > 200000 maximum"]
)
def test_input_over_the_window_has_the_code_clients_know(message):
    assert parse_error(400, orjson.dumps({"message": message})).code == "context_length_exceeded"


def test_cache_tokens_are_within_the_input():
    told = {"inputTokens": 3, "cacheReadInputTokens": 100, "cacheReadInputTokenCount": 100}
    usage = parse_usage({**told, "cacheWriteInputTokens": 20, "outputTokens": 7, "totalTokens": 130})
    assert usage == (123, 100, 20, 7, 0, 130)


@pytest.mark.parametrize("value", [None, [], "x", {}, {"outputTokens": 3}])
def test_what_is_no_usage_is_none(value):
    assert parse_usage(value) is None


def test_strange_counts_are_bounded():
    assert parse_usage({"inputTokens": -1, "outputTokens": True, "totalTokens": 1.5}) == (0,) * 6
    assert parse_usage({"inputTokens": 2**64 - 1})[0] < 2**63


@pytest.mark.parametrize(
    ("body", "count"),
    [(b'{"inputTokens":7}', 7), (b'{"inputTokens":"7"}', None), (b"[]", None), (b"{", None), (b"{}", None)],
)
def test_count_is_read(body, count):
    assert parse_count(body) == count


def test_tier_is_told_in_the_words_of_the_api():
    values = [{"type": "flex"}, {"type": "reserved"}, {"type": []}, None]
    assert [parse_tier(value) for value in values] == ["flex", None, None, None]


@settings(max_examples=50)
@given(
    st.binary(max_size=30) | st.dictionaries(st.sampled_from(["message", "Message"]), st.integers(-9, 9) | st.text())
)
def test_no_error_body_raises(body):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    for failure in (parse_error(400, raw), parse_exception({":exception-type": "x"}, raw)):
        assert isinstance(failure.message, str)
        assert failure.message
