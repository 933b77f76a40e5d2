import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from proxy.dialects.base import Failure
from proxy.dialects.chat_completions.response import parse_response
from proxy.dialects.chat_completions.stream import ChatTranslator
from tests.dialects.chat_completions.recorded import WHOLE, content_of
from tests.dialects.oracle import (
    calls_of,
    citations_of,
    context_of,
    read_events,
    reasoning_of,
    refusal_of,
    text_of,
    translate,
)


def body_of(message, finish="stop", **members):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return orjson.dumps({"id": "c", "model": "large-1", "choices": [choice], **members})


@pytest.mark.parametrize("recording", WHOLE, ids=lambda recording: recording.id)
def test_recorded_answer_becomes_a_response(recording):
    content = content_of(recording)
    response = parse_response(recording.body, context_of())
    assert isinstance(response, Failure) == content.failed
    if content.failed:
        return
    Response.model_validate(response)
    custom = [item for item in response["output"] if item["type"] == "custom_tool_call"]
    assert not custom
    assert (text_of(response), refusal_of(response)) == (content.text, content.refusal)
    assert reasoning_of(response) == content.reasoning
    assert citations_of(response) == content.citations
    own = [name for name, _ in content.calls]
    assert [call for call in calls_of(response) if call[0] in own] == content.calls
    assert response["usage"]["input_tokens"] == content.usage["prompt_tokens"]
    assert response["status"] == ("incomplete" if content.finish in ("length", "content_filter") else "completed")


@pytest.mark.parametrize("recording", WHOLE, ids=lambda recording: recording.id)
def test_recorded_answer_is_what_it_would_have_been_in_one_piece_of_a_stream(recording):
    value = orjson.loads(recording.body)
    whole = parse_response(recording.body, context_of())
    if isinstance(whole, Failure):
        return
    choice = value["choices"][0]
    streamed = {**value, "choices": [{**choice, "delta": choice.get("message")}]}
    translator = ChatTranslator(context_of())
    translator.feed(b"data: %b\n\ndata: [DONE]\n\n" % orjson.dumps(streamed))
    assert orjson.loads(translator.response) == whole


def test_whole_answer_is_what_its_stream_would_have_ended_in():
    calls = [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    message = {"reasoning": "Hm.", "content": "Hi.", "tool_calls": calls}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    whole = parse_response(body_of(message, "tool_calls", usage=usage, service_tier="on_demand"), context_of())
    chunk = {"model": "large-1", "choices": [{"index": 0, "delta": message, "finish_reason": "tool_calls"}]}
    translator = ChatTranslator(context_of())
    translator.feed(
        b"data: %b\n\ndata: [DONE]\n\n" % orjson.dumps({**chunk, "usage": usage, "service_tier": "default"})
    )
    assert whole == orjson.loads(translator.response)
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message", "function_call"]


def test_blanks_before_the_answer_are_nothing():
    assert text_of(parse_response(b"\n    \n" + body_of({"content": "x"}), context_of())) == "x"


def test_error_in_a_success_is_a_failure_with_its_own_status():
    body = b'{"error":{"message":"Filtered.","type":null,"param":"prompt","code":"content_filter","status":400}}'
    failure = parse_response(body, context_of())
    assert failure == Failure(400, "invalid_request_error", "content_filter", "Filtered.", "prompt")
    assert orjson.loads(failure.body())["error"]["code"] == "content_filter"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{"index":0}]}'])
def test_what_is_no_answer_is_a_bad_one(body):
    assert parse_response(body, context_of()).code == "upstream_bad_answer"


def test_answer_past_the_limit_is_a_failure():
    assert parse_response(body_of({"content": "x" * 5000}), context_of(limit=1000)).code == "response_too_large"


def test_filtered_answer_without_a_message_is_incomplete():
    response = parse_response(b'{"choices":[{"index":0,"finish_reason":"content_filter"}]}', context_of())
    assert (response["status"], response["output"]) == ("incomplete", [])
    assert response["incomplete_details"] == {"reason": "content_filter"}


def test_choice_that_failed_is_a_failure():
    body = b'{"choices":[{"message":{"content":""},"finish_reason":"error","error":{"message":"m","code":502}}]}'
    assert parse_response(body, context_of()) == Failure(502, "server_error", "server_error", "m")


def test_answer_that_contradicts_itself_is_a_bad_one():
    nameless = {"tool_calls": [{"id": "c", "function": {"arguments": "{}"}}]}
    assert parse_response(body_of(nameless), context_of()).code == "upstream_bad_answer"


@pytest.mark.parametrize("wrong", [[], {}, 5, True])
def test_value_of_the_wrong_type_is_passed_over(wrong):
    token = {"token": "a", "logprob": -1, "bytes": None, "top_logprobs": wrong}
    said = {"content": "a", "tool_calls": [{"index": wrong, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    choice = {"message": said, "finish_reason": wrong, "logprobs": {"content": [token]}}
    response = parse_response(orjson.dumps({"choices": [choice]}), context_of())
    assert (response["status"], text_of(response), calls_of(response)) == ("completed", "a", [("f", "{}")])
    chunk = orjson.dumps({"choices": [{**choice, "delta": said}]})
    stream = translate(ChatTranslator(context_of()), b"data: %b\n\ndata: [DONE]\n\n" % chunk, 1 << 20)
    assert calls_of(read_events(stream)[-1]["response"]) == [("f", "{}")]


def test_old_function_call_is_a_call():
    response = parse_response(body_of({"function_call": {"name": "f", "arguments": "{}"}}), context_of())
    assert calls_of(response) == [("f", "{}")]
    assert response["output"][0]["call_id"].startswith("call_")


@settings(max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "message",
                        "content",
                        "tool_calls",
                        "function",
                        "name",
                        "error",
                        "usage",
                        "finish_reason",
                        "reasoning_details",
                        "annotations",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    )
)
def test_no_json_raises(value):
    for body in (value, {"choices": [{"message": value}]}, {"choices": [{"message": {"tool_calls": value}}]}):
        try:
            written = orjson.dumps(body)
        except TypeError:
            continue
        parse_response(written, context_of())
