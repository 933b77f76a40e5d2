import orjson
import pytest

from proxy.dialects.chat_completions.outcome import parse_tier, parse_usage
from proxy.dialects.failures import parse_error
from tests.dialects.chat_completions.recorded import ERRORS


@pytest.mark.parametrize("recording", ERRORS, ids=lambda recording: recording.id)
def test_recorded_error_keeps_status_and_words(recording):
    failure = parse_error(recording.status, recording.body)
    assert failure.status == recording.status
    assert failure.message
    assert failure.message.split("\n")[0][:20].encode() in recording.body.replace(b"\\", b"").replace(b"null", b"null")
    assert set(orjson.loads(failure.body())["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"m"}}', "m"),
        (b'{"error":"m"}', "m"),
        (b'{"message":"m","request_id":"r"}', "m"),
        (b'{"detail":"m"}', "m"),
        (b'{"detail":[{"msg":"m"}]}', '[{"msg":"m"}]'),
        (b"m", "m"),
        (b"", "The provider answered with status 400."),
        (b"{}", "The provider answered with status 400."),
        (b"[]", "The provider answered with status 400."),
    ],
)
def test_message_is_found_in_every_shape(body, message):
    assert parse_error(400, body).message == message


@pytest.mark.parametrize(
    ("status", "type_", "code"),
    [
        (400, "invalid_request_error", "invalid_prompt"),
        (418, "invalid_request_error", "invalid_prompt"),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (503, "server_error", "server_error"),
    ],
)
def test_error_without_type_and_code_has_those_of_its_status(status, type_, code):
    failure = parse_error(status, b'{"error":{"message":"m","code":null,"type":""}}')
    assert (failure.type, failure.code) == (type_, code)


def test_long_message_is_cut():
    assert len(parse_error(500, b"x" * 100_000).message) == 4096


def usage(prompt, completion, total=None, **members):
    value = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total or prompt + completion}
    return parse_usage({**value, **members})


def details(**tokens):
    return {"completion_tokens_details": tokens}


def test_reasoning_beside_the_completion_is_within_the_output():
    assert usage(10, 5, 35, **details(reasoning_tokens=20))[3:] == (25, 20, 35)
    assert usage(10, 5, 15, **details(reasoning_tokens=20))[3:] == (25, 20, 35)


def test_reasoning_within_the_completion_stays():
    assert usage(10, 25, 35, **details(reasoning_tokens=20))[3:] == (25, 20, 35)
    assert usage(10, 10, 20, reasoning_tokens=11)[3:] == (10, 10, 20), "two estimates of the same tokens"


@pytest.mark.parametrize(
    "members",
    [
        {"prompt_tokens_details": {"cached_tokens": 4}},
        {"prompt_cache_hit_tokens": 4},
        {"num_cached_tokens": 4},
        {"cached_tokens": 4},
    ],
)
def test_cached_tokens_are_found_wherever_they_are(members):
    assert usage(10, 5, **members).cached == 4


def test_cached_tokens_are_within_the_input():
    assert usage(3, 5, cached_tokens=4).cached == 3


def test_cache_writes_are_told():
    assert usage(10, 5, prompt_tokens_details={"cache_write_tokens": 7}).cache_write == 7


@pytest.mark.parametrize("value", [None, [], "x", {}, {"input_tokens": 3}])
def test_what_is_no_usage_is_none(value):
    assert parse_usage(value) is None


def test_strange_counts_are_nothing():
    assert tuple(parse_usage({"prompt_tokens": -1, "completion_tokens": True, "total_tokens": 1.5})) == (0,) * 6


def test_tiers_are_told_in_the_words_of_the_api():
    assert [parse_tier(tier) for tier in ("on_demand", "priority", "provisioned", None)] == [
        "default",
        "priority",
        None,
        None,
    ]
