import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.base import Failure
from proxy.dialects.failures import MAX_MESSAGE, TOO_LARGE, bad_answer, classify, parse_error, read_failure
from tests.rig.replay import recordings

NATIVE = {"responses", "conversations", "models", "chat.completions"}
ERRORS = [recording for recording in recordings() if recording.status >= 400 and recording.api in NATIVE]


@pytest.mark.parametrize(
    ("status", "type_", "code"),
    [
        (400, "invalid_request_error", "invalid_prompt"),
        (401, "authentication_error", "invalid_api_key"),
        (402, "insufficient_quota", "insufficient_quota"),
        (403, "permission_error", "not_allowed"),
        (404, "invalid_request_error", "not_found"),
        (409, "invalid_request_error", "invalid_prompt"),
        (413, "invalid_request_error", "request_too_large"),
        (422, "invalid_request_error", "invalid_prompt"),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (499, "invalid_request_error", "invalid_prompt"),
        (500, "server_error", "server_error"),
        (503, "server_error", "server_error"),
        (529, "server_error", "server_error"),
    ],
)
def test_status_says_what_the_body_does_not(status, type_, code):
    assert classify(status) == (type_, code)
    assert parse_error(status, b'{"message":"m"}') == Failure(status, type_, code, "m")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "m"}}, "m"),
        ({"error": "m"}, "m"),
        ({"message": "m"}, "m"),
        ({"detail": "m"}, "m"),
        ({"error": {"detail": "m"}}, "m"),
        ({"detail": [{"loc": ["a"], "msg": "m"}]}, '[{"loc":["a"],"msg":"m"}]'),
        ({"error": {"message": {"detail": "m"}}}, '{"detail":"m"}'),
        ({"error": {"reason": "m"}}, '{"error":{"reason":"m"}}'),
        ({"other": 1}, "The provider answered with status 400."),
        (["m"], '["m"]'),
        ("m", "m"),
        (None, "The provider answered with status 400."),
        (7, "The provider answered with status 400."),
    ],
)
def test_message_is_found_in_every_shape(body, message):
    assert parse_error(400, orjson.dumps(body)).message == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The provider answered with status 502."),
        (b" \n", "The provider answered with status 502."),
        (b"<html>Bad gateway</html>\n", "<html>Bad gateway</html>"),
        (b"\xff broken", "\ufffd broken"),
        (b'{"message":"cut', '{"message":"cut'),
    ],
)
def test_body_that_is_not_json_is_the_message(body, message):
    assert parse_error(502, body) == Failure(502, "server_error", "server_error", message)


def test_own_type_code_and_parameter_count():
    error = {"message": "m", "type": "quota", "code": "slow_down", "param": "input[0]"}
    assert parse_error(429, orjson.dumps({"error": error})) == Failure(429, "quota", "slow_down", "m", "input[0]")


@pytest.mark.parametrize("code", ["1500", "400"])
def test_number_is_no_code(code):
    assert parse_error(400, orjson.dumps({"message": "m", "code": code})).code == "invalid_prompt"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            {"code": 400, "type": "exceed_context_size_error"},
            "request (9 tokens) exceeds the available context size (8)",
        ),
        (
            {"code": "invalid_request_error"},
            "This model's maximum context length is 8 tokens. However, you requested 9",
        ),
        ({"code": "3051"}, "Prompt contains 9 tokens, too large for model with 8 maximum context length"),
        ({"code": 400}, "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
    ],
)
def test_prompt_that_does_not_fit_is_told_by_one_code(error, said):
    """Before a stream, and in it, where there is no status."""
    for status in (400, 502):
        failure = read_failure({"error": {**error, "message": said}}, status)
        assert (failure.code, failure.message) == ("context_length_exceeded", said)
    assert read_failure({"error": {"message": said}}, 429).code == "rate_limit_exceeded"


@pytest.mark.parametrize("member", ["status", "status_code", "code"])
def test_own_status_counts_for_more(member):
    failure = read_failure({"error": {"message": "m", member: 429}}, 502)
    assert failure == Failure(429, "rate_limit_error", "rate_limit_exceeded", "m")


@pytest.mark.parametrize("status", [200, 399, 600, -1, 429.0, "429", True, None])
def test_what_is_no_status_of_an_error_is_none(status):
    assert read_failure({"error": {"message": "m", "status": status}}).status == 502


@pytest.mark.parametrize("value", [None, 3, "", [], {}, True])
def test_wrong_types_are_taken_for_nothing(value):
    failure = read_failure({"error": {"message": "m", "type": value, "code": value, "param": value or None}}, 400)
    assert failure == Failure(400, "invalid_request_error", "invalid_prompt", "m")


def test_message_is_bounded():
    assert len(parse_error(400, orjson.dumps({"message": "x" * 10_000})).message) == MAX_MESSAGE
    assert len(parse_error(400, b"x" * 10_000).message) == MAX_MESSAGE


def test_depth_no_encoder_writes_leaves_the_status():
    deep = b'{"error":{"message":%b}}' % (b"[" * 500 + b"]" * 500)
    assert parse_error(500, deep).message == "The provider answered with status 500."


def test_answers_that_cannot_be_read_are_the_upstreams_fault():
    assert (TOO_LARGE.status, TOO_LARGE.code) == (502, "response_too_large")
    assert bad_answer("a poem") == Failure(
        502, "upstream_error", "upstream_bad_answer", "The provider sent something that is not a poem."
    )


@pytest.mark.parametrize("recording", ERRORS, ids=lambda recording: recording.id)
def test_recorded_error_is_told_with_its_status(recording):
    failure = parse_error(recording.status, recording.body)
    assert failure.status == recording.status
    assert failure.message[:40].strip() in recording.body.decode().replace('\\"', '"').replace("\\n", "\n")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 600) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "status", "type", "param"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(max_examples=50)
@given(st.integers(400, 599), JSON.map(orjson.dumps) | st.binary(max_size=40))
def test_no_body_raises_and_every_failure_can_be_told(status, body):
    failure = parse_error(status, body)
    told = orjson.loads(failure.body())["error"]
    assert 400 <= failure.status < 600
    assert told["message"]
    assert told["type"]
    assert told["code"]
