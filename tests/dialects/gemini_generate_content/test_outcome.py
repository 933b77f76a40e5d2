import orjson
import pytest

from proxy.dialects.base import Failure
from proxy.dialects.gemini_generate_content.outcome import (
    finish_failure,
    parse_error,
    parse_finish,
    parse_tier,
    parse_usage,
    read_error,
)
from tests.dialects.gemini_generate_content.recorded import ERRORS


@pytest.mark.parametrize("recording", ERRORS, ids=lambda recording: recording.id)
def test_recorded_error_keeps_its_words(recording):
    error = orjson.loads(recording.body)["error"]
    failure = parse_error(recording.status, recording.body)
    bad_key = error["message"].startswith("API key not valid")
    assert failure.status == (401 if bad_key else error["code"])
    assert failure.message.startswith(error["message"])
    assert failure.code == {400: "invalid_prompt", 401: "invalid_api_key", 403: "not_allowed", 404: "not_found"}.get(
        failure.status, "rate_limit_exceeded"
    )
    delays = [detail["retryDelay"] for detail in error.get("details", []) if "retryDelay" in detail]
    for delay in delays:
        assert delay.rstrip("s")[:2] in failure.message


def body_of(**error):
    return orjson.dumps({"error": {"message": "m", **error}})


def test_error_within_a_list_is_read():
    body = b'[{"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED"}}]'
    assert parse_error(429, body) == Failure(429, "rate_limit_error", "rate_limit_exceeded", "Slow down.")


def test_delay_is_told_once():
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}
    told = parse_error(429, body_of(code=429, details=[3, {}, info]))
    assert told.message == "m Please retry in 34.4s."
    known = parse_error(429, body_of(code=429, message="Please retry in 34.41s.", details=[info]))
    assert known.message == "Please retry in 34.41s."


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 503, "status": "UNAVAILABLE"}, 503),
        ({"status": "UNAVAILABLE"}, 503),
        ({"status": "RESOURCE_EXHAUSTED", "code": 429}, 429),
        ({"status": "ODD"}, 502),
        ({"status": ["x"], "code": "x", "details": {}}, 502),
    ],
)
def test_error_in_a_stream_has_the_status_it_names(error, status):
    assert read_error({"error": {"message": "m", **error}}).status == status


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"[3]", b'{"error":"m"}', b'{"error":[]}'])
def test_error_of_no_known_form_has_words(body):
    failure = parse_error(500, body)
    assert failure.status == 500
    assert failure.message


def test_finish_that_fails_says_why():
    assert finish_failure("MALFORMED_FUNCTION_CALL", "No.").message == "No."
    failure = finish_failure("ODD", None)
    assert (failure.status, failure.code, failure.message) == (502, "odd", "The model's answer ended with ODD.")
    assert len(finish_failure("ODD", "x" * 100_000).message) == 4096


def test_finish_is_read_by_name_or_number():
    assert [parse_finish(value) for value in ("STOP", 1, 2, 99, 0, None, True, [])] == [
        "STOP",
        "STOP",
        "MAX_TOKENS",
        "99",
        "",
        "",
        "",
        "",
    ]


def usage(**counts):
    return parse_usage({"promptTokenCount": 10, "candidatesTokenCount": 5, **counts})


def test_thoughts_are_within_the_output_and_tools_within_the_input():
    counts = usage(thoughtsTokenCount=20, toolUsePromptTokenCount=100, cachedContentTokenCount=8, totalTokenCount=135)
    assert tuple(counts) == (110, 8, 0, 25, 20, 135)


def test_cached_tokens_are_within_the_input():
    assert usage(cachedContentTokenCount=99).cached == 10


def test_total_is_not_less_than_its_parts():
    assert usage(totalTokenCount=3).total == 15


@pytest.mark.parametrize("value", [None, [], "x", {}, {"trafficType": "ON_DEMAND"}])
def test_what_is_no_usage_is_none(value):
    assert parse_usage(value) is None


def test_strange_counts_are_nothing():
    assert (
        tuple(parse_usage({"promptTokenCount": -1, "candidatesTokenCount": True, "totalTokenCount": 1.5})) == (0,) * 6
    )


def test_tiers_are_told_in_the_words_of_the_api():
    values = ("standard", "flex", "ON_DEMAND", "ON_DEMAND_PRIORITY", "PROVISIONED_THROUGHPUT", 1, None)
    assert [parse_tier(value) for value in values] == ["default", "flex", "default", "priority", None, None, None]
