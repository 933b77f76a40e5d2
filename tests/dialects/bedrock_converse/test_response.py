import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from proxy.dialects.base import Failure
from proxy.dialects.bedrock_converse.response import parse_response
from proxy.dialects.bedrock_converse.stream import ConverseTranslator
from tests.dialects.bedrock_converse.recorded import STREAMS, WHOLE, blocks_of, content_of
from tests.dialects.bedrock_converse.test_stream import check_content
from tests.dialects.oracle import calls_of, context_of, text_of


def body_of(*blocks, stop="end_turn", **members):
    message = {"role": "assistant", "content": list(blocks)}
    return orjson.dumps({"output": {"message": message}, "stopReason": stop, **members})


@pytest.mark.parametrize("recording", WHOLE, ids=lambda recording: recording.id)
def test_recorded_answer_becomes_a_response(recording):
    response = parse_response(recording.body, context_of())
    Response.model_validate(response)
    check_content(response, content_of(recording))


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.id)
def test_whole_answer_is_what_its_stream_ends_in(recording):
    translator = ConverseTranslator(context_of())
    translator.feed(recording.body)
    translator.close()
    blocks, stop, usage = blocks_of(recording.body)
    for block in blocks:
        if "citations" in block:
            cited = {"citations": block.pop("citations"), "content": [{"text": block.pop("text")}]}
            block["citationsContent"] = cited
    whole = parse_response(body_of(*blocks, stop=stop, usage=usage), context_of())
    assert plain(whole) == plain(orjson.loads(translator.response))


def plain(response):
    """Write arguments in one way."""
    for item in response["output"]:
        if "arguments" in item:
            item["arguments"] = orjson.loads(item["arguments"])
    return response


def test_tier_is_told():
    response = parse_response(body_of({"text": "x"}, serviceTier={"type": "priority"}), context_of())
    assert response["service_tier"] == "priority"


def test_arguments_are_written_whatever_they_are():
    uses = [
        {"toolUse": {"name": "f", "toolUseId": f"c{at}", "input": one}} for at, one in enumerate(({"a": 1}, None, "{}"))
    ]
    assert calls_of(parse_response(body_of(*uses, stop="tool_use"), context_of())) == [
        ("f", '{"a":1}'),
        ("f", "{}"),
        ("f", "{}"),
    ]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"output":{"message":{}}}', b'{"message":"m"}'])
def test_what_is_no_answer_is_a_bad_one(body):
    assert parse_response(body, context_of()).code == "upstream_bad_answer"


def test_answer_past_the_limit_is_a_failure():
    assert parse_response(body_of({"text": "x" * 5000}), context_of(limit=1000)).code == "response_too_large"


def test_answer_the_model_spoiled_is_a_failure():
    failure = parse_response(body_of({"text": "x"}, stop="malformed_tool_use"), context_of())
    assert (failure.status, failure.code) == (502, "server_error")


def test_empty_answer_is_an_empty_output():
    response = parse_response(body_of(stop="guardrail_intervened"), context_of())
    assert (response["output"], response["incomplete_details"]) == ([], {"reason": "content_filter"})


def test_depth_no_encoder_writes_is_a_bad_answer():
    use = {"toolUse": {"name": "f", "toolUseId": "c", "input": "?"}}
    body = body_of(use).replace(b'"?"', b"[" * 500 + b"]" * 500)
    assert parse_response(body, context_of()).code == "upstream_bad_answer"


def test_text_beside_what_is_no_block_is_read():
    assert text_of(parse_response(body_of(3, {"text": "x"}, {"new": 1}, None), context_of())) == "x"


NAMES = [
    *("text", "reasoningContent", "reasoningText", "signature", "redactedContent"),
    *("citationsContent", "citations", "content", "title", "location", "web", "url"),
    *("toolUse", "toolResult", "name", "toolUseId", "input", "type", "json", "stdOut"),
    *("output", "message", "usage", "inputTokens", "citation"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 600) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=50)
@given(JSON, st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=2), max_size=3))
def test_no_json_raises(value, blocks):
    for body in (orjson.dumps(value), body_of(value), body_of(*blocks, usage=value, serviceTier=value)):
        response = parse_response(body, context_of())
        assert isinstance(response, Failure) or response["status"] == "completed"
