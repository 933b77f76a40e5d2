import orjson
import pytest
from hypothesis import given, settings
from openai.types.responses import Response

from proxy.dialects.base import Failure
from proxy.dialects.cohere_chat.response import parse_response
from proxy.dialects.cohere_chat.stream import CohereTranslator
from tests.dialects.cohere_chat.recorded import STREAMS, WHOLE, content_of, unfold, whole_of
from tests.dialects.cohere_chat.spoken import annotations_of
from tests.dialects.cohere_chat.test_stream import check_content
from tests.dialects.cohere_chat.test_stream_cut import JSON
from tests.dialects.oracle import calls_of, context_of, messages_of, read_events, text_of, translate

TOKENS = {"billed_units": {"input_tokens": 1, "output_tokens": 2}, "tokens": {"input_tokens": 9, "output_tokens": 4}}


def parse(content=(), finish="COMPLETE", context=None, **members):
    """Parse an answer; `members` are the message's."""
    message = {"role": "assistant", "content": list(content), **members}
    value = {"id": "x", "message": message, "finish_reason": finish, "usage": TOKENS}
    return parse_response(orjson.dumps(value), context or context_of())


def part(kind, text):
    return {"type": kind, kind: text}


def streamed(stream):
    """Return the final response of a stream."""
    return read_events(translate(CohereTranslator(context_of()), stream, len(stream)))[-1]["response"]


@pytest.mark.parametrize("recording", WHOLE, ids=lambda recording: recording.id)
def test_recorded_answer_becomes_what_its_stream_would_have(recording):
    response = parse_response(recording.body, context_of())
    Response.model_validate(response)
    check_content(response, content_of(recording))
    assert response == streamed(unfold(whole_of(recording)))


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.id)
def test_recorded_stream_ends_in_what_it_would_have_been_whole(recording):
    assert parse_response(orjson.dumps(whole_of(recording)), context_of()) == streamed(recording.body)


def test_parts_come_in_their_order():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    response = parse([part("thinking", "Hm."), part("text", "Hi.")], tool_plan="Call f.", tool_calls=[call])
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "reasoning", "function_call"]
    assert (calls_of(response), response["output"][3]["call_id"]) == ([("f", '{"a":1}')], "c")


@pytest.mark.parametrize("content", ["Hi.", [part("text", "Hi.")], [part("text", ""), part("text", "Hi.")]])
def test_content_may_be_a_string_or_parts(content):
    value = {"message": {"content": content}, "finish_reason": "COMPLETE"}
    assert text_of(parse_response(orjson.dumps(value), context_of())) == "Hi."


def test_answer_may_be_empty():
    for content in (None, [], [part("text", "")]):
        response = parse_response(orjson.dumps({"message": {"content": content}}), context_of())
        assert (response["status"], response["output"], response["usage"]) == ("completed", [], None)


def test_citations_belong_to_the_part_they_name():
    cited = {"start": 0, "end": 1, "text": "", "sources": [{"type": "tool", "id": "t", "tool_output": {}}]}
    content = [part("text", "a"), part("thinking", "-"), part("text", "b")]

    def annotated(**members):
        response = parse(content, citations=[{**cited, **members}])
        return [len(message["content"][0]["annotations"]) for message in messages_of(response)]

    assert annotated(content_index=0) == [1, 0]
    assert annotated(content_index=1) == [0, 0]
    assert annotated(content_index=2) == annotated() == [0, 1]
    assert annotations_of(parse([], citations=[cited])) == []


def test_logprobs_are_those_of_the_text():
    def item(token):
        return {"text": token, "token_ids": [1], "logprobs": [-0.5]}

    message = {"content": [part("thinking", "Hm"), part("text", "Hi!")]}
    value = {"message": message, "logprobs": [item("Hm"), item("Hi"), item("!")]}
    response = parse_response(orjson.dumps(value), context_of())
    logprobs = messages_of(response)[0]["content"][0]["logprobs"]
    assert [(one["token"], one["logprob"]) for one in logprobs] == [("Hi", -0.5), ("!", -0.5)]


def test_logprobs_are_those_of_the_last_text():
    message = {"content": [part("text", "a"), part("text", "b")]}
    value = {"message": message, "logprobs": [{"text": "b", "logprobs": [-1]}]}
    first, last = messages_of(parse_response(orjson.dumps(value), context_of()))[0]["content"]
    assert (first["logprobs"], len(last["logprobs"])) == ([], 1)


def test_length_is_the_reason_of_an_incomplete_answer():
    response = parse([part("text", "Hi")], "MAX_TOKENS")
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(("finish", "status"), [("ERROR", 502), ("TIMEOUT", 504)])
def test_answer_that_failed_is_a_failure(finish, status):
    failure = parse([part("text", "Hi")], finish)
    assert failure == Failure(
        status, "server_error", "server_error", f"The provider ended its answer with {finish}.", None
    )


def test_error_in_a_success_is_a_failure():
    failure = parse_response(b'{"id":"x","message":"No more."}', context_of())
    assert failure == Failure(502, "server_error", "server_error", "No more.", None)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null", b'{"message":null}', b'{"message":[]}'])
def test_what_is_no_answer_is_a_bad_one(body):
    assert parse_response(body, context_of()).code == "upstream_bad_answer"


def test_answer_that_contradicts_itself_is_a_bad_one():
    assert parse(tool_calls=[{"id": "c", "function": {"arguments": "{}"}}]).code == "upstream_bad_answer"


def test_answer_past_the_limit_is_a_failure():
    assert parse([part("text", "x" * 5000)], context=context_of(limit=1000)).code == "response_too_large"


@settings(max_examples=50)
@given(JSON)
def test_no_json_raises(value):
    for body in (value, {"message": value}, {"message": {"content": value}}, {"message": {"tool_calls": value}}):
        found = parse_response(orjson.dumps(body), context_of())
        if not isinstance(found, Failure):
            Response.model_validate(found)
