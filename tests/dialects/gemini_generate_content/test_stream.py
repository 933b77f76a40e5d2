import json

import orjson
import pytest

from proxy.dialects.gemini_generate_content.response import parse_response
from proxy.dialects.gemini_generate_content.stream import GeminiTranslator
from tests.dialects.gemini_generate_content.recorded import STREAMS, content_of, values_of
from tests.dialects.gemini_generate_content.test_response import check_content
from tests.dialects.oracle import context_of, read_events, reasoning_of, text_of, translate

BYTEWISE_UP_TO = 4000


def chunk(*parts, finish=None, **members):
    """Return an event of the stream, with the line ends it really has."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return b"data: %b\r\n\r\n" % orjson.dumps({"candidates": [candidate], "modelVersion": "gemini-x", **members})


def answer(*events, body=None, **context):
    """Translate events, and return those that come out."""
    stream = b"".join(events)
    return read_events(translate(GeminiTranslator(context_of(body, **context)), stream, len(stream) or 1))


def final(*events, **options):
    """Return the final response."""
    return answer(*events, **options)[-1]["response"]


def types_of(events):
    return [event["type"].removeprefix("response.") for event in events]


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.id)
def test_recorded_stream_says_what_the_provider_said(recording):
    body = recording.body
    whole = translate(GeminiTranslator(context_of()), body, len(body))
    assert translate(GeminiTranslator(context_of()), body, 7) == whole
    assert translate_by_event(body) == whole
    if len(body) < BYTEWISE_UP_TO:
        assert translate(GeminiTranslator(context_of()), body, 1) == whole
    response = read_events(whole)[-1]["response"]
    check_content(response, content_of(recording))
    assert response == parse_response(json.dumps(values_of(recording)).encode(), context_of())


def translate_by_event(body):
    translator = GeminiTranslator(context_of())
    events = [event + b"\r\n\r\n" for event in body.split(b"\r\n\r\n")[:-1]] if b"\r" in body else [body]
    return b"".join([*map(translator.feed, events), translator.close()])


def test_text_passes_through_every_event_in_order():
    events = answer(chunk({"text": "He"}), chunk({"text": "llo"}, finish="STOP"))
    assert types_of(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    response = events[-1]["response"]
    assert (text_of(response), response["model"], response["completed_at"]) == ("Hello", "gemini-x", 1_700_000_009)


def test_first_byte_opens_the_response():
    translator = GeminiTranslator(context_of())
    assert translator.feed(b"d").count(b"event: ") == 2
    assert translator.feed(b"ata: {}\r\n\r\n") == b""


def test_text_comes_out_as_it_comes_in():
    translator = GeminiTranslator(context_of())
    assert b'"delta":"He"' in translator.feed(chunk({"text": "He"}))
    assert b'"delta":"llo"' in translator.feed(chunk({"text": "llo"}))


def test_finish_reason_is_not_the_end():
    response = final(chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}, finish="STOP"))
    assert (text_of(response), response["status"]) == ("ab", "completed")


def test_answer_without_a_finish_reason_is_cut_off():
    events = answer(chunk({"text": "a"}, usageMetadata={"promptTokenCount": 3}))
    assert types_of(events)[-1] == "failed"
    assert events[-1]["response"]["error"]["code"] == "upstream_disconnected"
    assert events[-1]["response"]["usage"]["input_tokens"] == 3


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("MAX_TOKENS", "max_output_tokens"), ("SAFETY", "content_filter"), ("MODEL_ARMOR", "content_filter")],
)
def test_answer_cut_short_is_incomplete(finish, reason):
    response = final(chunk({"text": "a"}), chunk(finish=finish), chunk(finish="STOP"))
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert response["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize("finish", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "ANYTHING_NEW"])
def test_answer_that_went_wrong_has_failed(finish):
    events = answer(
        chunk({"text": "a"}), chunk(finish=finish, usageMetadata={"promptTokenCount": 3}), chunk({"text": "b"})
    )
    assert types_of(events)[-2:] == ["error", "failed"]
    response = events[-1]["response"]
    assert (response["error"]["code"], response["usage"]["input_tokens"]) == (finish.lower(), 3)
    assert text_of(response) == "a"


def test_error_within_the_stream_fails_the_response():
    error = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
    events = answer(chunk({"text": "a"}), b"data: %b\n\n" % orjson.dumps(error))
    told = {"type": "server_error", "code": "server_error", "message": "Overloaded.", "param": None}
    assert events[-2]["error"] == told
    assert events[-1]["response"]["status"] == "failed"


def test_thoughts_end_where_the_text_begins():
    events = answer(chunk({"text": "Hm.", "thought": True}), chunk({"text": "42"}, finish="STOP"))
    names = types_of(events)
    assert names.index("output_item.done") < names.index("content_part.added")
    assert reasoning_of(events[-1]["response"]) == "Hm."


def test_list_instead_of_events_fails_the_response():
    whole = b"[%b]" % chunk({"text": "a"}, finish="STOP")[6:].rstrip()
    response = final(whole)
    assert (response["status"], response["error"]["code"]) == ("failed", "upstream_disconnected")


def test_answer_past_the_limit_fails():
    response = final(*[chunk({"text": "x" * 400})] * 5, limit=1000)
    assert (response["status"], response["error"]["code"]) == ("failed", "response_too_large")


@pytest.mark.parametrize(
    "data", [b"data: {", b"data: <html>", b'data: {"candidates":[{"content":{"parts":[{"functionCall":{}}]}}]}']
)
def test_what_is_no_answer_fails_the_response(data):
    response = final(chunk({"text": "a"}), data + b"\n\n", chunk(finish="STOP"))
    assert (response["status"], response["error"]["code"]) == ("failed", "upstream_bad_answer")


@pytest.mark.parametrize("data", [b"data: []", b"data: 3", b"data: {}", b": comment", b"event: x"])
def test_what_says_nothing_is_nothing(data):
    assert final(data + b"\n\n", chunk({"text": "a"}, finish="STOP"))["status"] == "completed"
