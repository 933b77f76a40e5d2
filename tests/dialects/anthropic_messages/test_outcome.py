import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.anthropic_messages.outcome import (
    merge_usage,
    parse_count,
    parse_failure,
    parse_refusal,
    parse_tier,
    parse_usage,
    read_error,
)
from tests.dialects.anthropic_messages.recorded import COUNTS, ERRORS
from tests.dialects.anthropic_messages.test_stream_cut import JSON

KNOWN = {400: "invalid_prompt", 401: "invalid_api_key", 403: "not_allowed", 404: "model_not_found"}


def failure(status, kind, message="m", **members):
    error = {"type": kind, "message": message, **members}
    return parse_failure(status, orjson.dumps({"type": "error", "error": error, "request_id": None}))


@pytest.mark.parametrize("recording", ERRORS, ids=lambda recording: recording.id)
def test_recorded_error_is_told_in_the_providers_words(recording):
    told = parse_failure(recording.status, recording.body)
    assert (told.status, told.code) == (recording.status, KNOWN[recording.status])
    assert told.message
    assert told.message in recording.body.decode().replace("\\'", "'")


@pytest.mark.parametrize(
    ("status", "kind", "wanted"),
    [
        (400, "invalid_request_error", (400, "invalid_request_error", "invalid_prompt")),
        (401, "authentication_error", (401, "authentication_error", "invalid_api_key")),
        (402, "billing_error", (402, "insufficient_quota", "insufficient_quota")),
        (403, "permission_error", (403, "permission_error", "not_allowed")),
        (404, "not_found_error", (404, "invalid_request_error", "not_found")),
        (413, "request_too_large", (413, "invalid_request_error", "request_too_large")),
        (429, "rate_limit_error", (429, "rate_limit_error", "rate_limit_exceeded")),
        (500, "api_error", (500, "server_error", "server_error")),
        (504, "timeout_error", (504, "server_error", "server_error")),
        (529, "overloaded_error", (503, "server_error", "slow_down")),
        (413, "invalid_request_error", (413, "invalid_request_error", "invalid_prompt")),
        (200, "rate_limit_error", (429, "rate_limit_error", "rate_limit_exceeded")),
    ],
)
def test_error_of_each_type_has_a_fitting_status_and_code(status, kind, wanted):
    told = failure(status, kind)
    assert (told.status, told.type, told.code) == wanted


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("invalid_request_error", "prompt is too long: 215000 tokens > 200000 maximum", "context_length_exceeded"),
        ("invalid_request_error", "input length and `max_tokens` exceed context limit: 1", "context_length_exceeded"),
        (
            "invalid_request_error",
            "messages.1.content.0: Invalid `signature` in `thinking` block",
            "invalid_encrypted_content",
        ),
        ("not_found_error", "model: claude-x", "model_not_found"),
        ("rate_limit_error", "prompt is too long", "rate_limit_exceeded"),
    ],
)
def test_code_clients_act_on_is_read_from_the_message(kind, message, code):
    assert failure(400, kind, message).code == code


def test_spent_budget_is_no_rate_to_wait_for():
    told = failure(429, "rate_limit_error", details={"error_code": "enforced_spend_limit_reached"})
    assert (told.status, told.code) == (429, "insufficient_quota")


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (400, b'[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]', (400, "invalid_prompt", "m")),
        (429, b'{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}', (429, "rate_limit_exceeded", "m")),
        (403, b'{"message":"m"}', (403, "not_allowed", "m")),
        (529, b"busy", (503, "server_error", "busy")),
        (502, b"", (502, "server_error", "The provider answered with status 502.")),
    ],
)
def test_errors_of_the_clouds_are_read_too(status, body, wanted):
    told = parse_failure(status, body)
    assert (told.status, told.code, told.message) == wanted


@settings(max_examples=50)
@given(st.integers(300, 599), st.binary(max_size=20) | JSON.map(orjson.dumps))
def test_any_error_is_a_failure_of_an_error_status(status, body):
    assert 300 <= parse_failure(status, body).status < 600


def test_error_of_a_stream_has_the_status_of_its_type():
    assert read_error({"error": {"type": "rate_limit_error", "message": "m"}}).status == 429
    assert read_error({"error": {"type": ["x"], "message": "m"}}).status == 502


def test_cache_is_beside_the_input_and_becomes_part_of_it():
    usage = parse_usage(
        {
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 1000,
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 30},
        }
    )
    assert usage == (1110, 100, 1000, 50, 30, 1160)


def test_cache_writes_may_be_told_by_their_lifetimes_only():
    told = {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": None}
    lifetimes = {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3}
    assert parse_usage({**told, "cache_creation": lifetimes}).cache_write == 5


@pytest.mark.parametrize("value", [None, [], {}, {"input_tokens": 1}, "x"])
def test_no_usage_is_none(value):
    assert parse_usage(value) is None


def test_counts_no_encoder_writes_are_bounded():
    huge = 2**64 - 1
    usage = parse_usage({"input_tokens": huge, "output_tokens": huge, "cache_read_input_tokens": huge})
    assert usage.total < 2**63
    assert parse_usage({"input_tokens": -1, "output_tokens": True}).total == 0


def test_what_is_told_later_counts_and_null_says_nothing():
    assert merge_usage({"a": 1, "b": 2}, {"a": 3, "b": None}) == {"a": 3, "b": 2}
    assert merge_usage({"a": 1}, ["x"]) == {"a": 1}


def test_tier_is_told_in_the_apis_words():
    tiers = [parse_tier({"service_tier": tier}) for tier in ("standard", "priority", "batch", ["x"])]
    assert tiers == ["default", "priority", None, None]
    assert parse_tier(None) is None


def test_refusal_has_words_in_any_case():
    assert parse_refusal({"explanation": "Why."}) == "Why."
    assert parse_refusal({"explanation": 3}) == parse_refusal(None) == "The model declined to answer."


@pytest.mark.parametrize("recording", COUNTS, ids=lambda recording: recording.id)
def test_recorded_count_is_read(recording):
    counted = parse_count(recording.body)
    assert counted == (orjson.loads(recording.body)["input_tokens"] if recording.status == 200 else None)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"input_tokens":"3"}', b'{"input_tokens":-1}'])
def test_no_count_is_none(body):
    assert parse_count(body) is None
