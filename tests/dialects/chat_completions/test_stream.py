import json
import re

import orjson
import pytest

from proxy.dialects.chat_completions.stream import ChatTranslator
from tests.dialects.chat_completions.recorded import STREAMS, content_of
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

BYTEWISE_UP_TO = 4000


def chunk(delta=None, finish=None, **members):
    """Return an event of the stream."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return b"data: %b\n\n" % orjson.dumps({"id": "c", "model": "large-1", "choices": [choice], **members})


def call(index, name=None, arguments="", call_id=None, **members):
    """Return a piece of a tool call."""
    function = {"arguments": arguments} | ({} if name is None else {"name": name})
    return {"index": index, "function": function, **({} if call_id is None else {"id": call_id}), **members}


def answer(*events, body=None, done=True, **context):
    """Translate events, and return those that come out."""
    stream = b"".join(events) + (b"data: [DONE]\n\n" if done else b"")
    return read_events(translate(ChatTranslator(context_of(body, **context)), stream, len(stream) or 1))


def final(*events, **options):
    """Return the final response."""
    return answer(*events, **options)[-1]["response"]


def types_of(events):
    return [event["type"].removeprefix("response.") for event in events]


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.id)
def test_recorded_stream_says_what_the_provider_said(recording):
    body = recording.body
    whole = translate(ChatTranslator(context_of()), body, len(body))
    assert translate(ChatTranslator(context_of()), body, 7) == whole
    assert by_event(ChatTranslator(context_of()), body) == whole
    if len(body) < BYTEWISE_UP_TO:
        assert translate(ChatTranslator(context_of()), body, 1) == whole
    response, content = read_events(whole)[-1]["response"], content_of(recording)
    said = (text_of(response), refusal_of(response), reasoning_of(response))
    assert said == (content.text, content.refusal, content.reasoning)
    assert calls_of(response) == content.calls
    check_usage(response["usage"], content.usage)
    assert citations_of(response) == content.citations
    assert response["status"] == (
        "failed" if content.failed else "incomplete" if content.finish in ("length", "content_filter") else "completed"
    )


def by_event(translator, body):
    """Feed a body event by event."""
    fed = [translator.feed(event) for event in re.split(rb"(?<=\n\n)", body) if event]
    return b"".join([*fed, translator.close()])


def check_usage(told, recorded):
    if recorded is None:
        assert told is None
    else:
        assert told["input_tokens"] == recorded["prompt_tokens"]
        assert told["output_tokens"] >= recorded["completion_tokens"]
        assert told["total_tokens"] >= recorded["total_tokens"]


def test_text_passes_through_every_event_in_order():
    events = answer(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "He"}),
        chunk({"content": "llo"}),
        chunk({}, "stop"),
    )
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
    assert (text_of(response), response["model"], response["completed_at"]) == ("Hello", "large-1", 1_700_000_009)


def test_first_byte_opens_the_response():
    translator = ChatTranslator(context_of())
    assert translator.feed(b":").count(b"event: ") == 2
    assert translator.feed(b" still busy\n\n") == b""


def test_reasoning_ends_where_the_text_begins():
    events = answer(
        chunk({"reasoning": "Let me "}),
        chunk({"reasoning": "see."}),
        chunk({"content": "42"}, "stop"),
    )
    names = types_of(events)
    assert names.index("output_item.done") < names.index("content_part.added")
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message"]
    assert reasoning_of(events[-1]["response"]) == "Let me see."


def test_calls_whose_pieces_interleave_are_kept_apart():
    response = final(
        chunk({"tool_calls": [call(0, "first", "", "call_a")]}),
        chunk({"tool_calls": [call(1, "second", "", "call_b")]}),
        chunk({"tool_calls": [call(0, arguments='{"a":'), call(1, arguments='{"b":')]}),
        chunk({"tool_calls": [call(1, arguments="2}"), call(0, arguments="1}")]}, "tool_calls"),
    )
    assert calls_of(response) == [("first", '{"a":1}'), ("second", '{"b":2}')]
    assert [item["call_id"] for item in response["output"]] == ["call_a", "call_b"]


def test_call_is_done_when_the_next_begins():
    events = answer(
        chunk({"tool_calls": [call(0, "first", "{}x"[:2], "call_a")]}),
        chunk({"tool_calls": [call(1, "second", "{}", "call_b")]}),
        chunk({}, "tool_calls"),
    )
    names = types_of(events)
    assert names.index("output_item.done") < len(names) - 1 - names[::-1].index("output_item.added")


@pytest.mark.parametrize(
    "pieces",
    [
        [call(0, "f", '{"a":1}', "x"), call(0, "f", '{"a":2}', "y")],
        [call(None, "f", '{"a":1}'), call(None, "f", '{"a":2}')],
        [call(0, "f", '{"a":1}', "same"), call(1, "f", '{"a":2}', "same")],
    ],
    ids=["one index", "no index", "one id"],
)
def test_calls_get_ids_of_their_own(pieces):
    response = final(chunk({"tool_calls": pieces}, "tool_calls"))
    assert calls_of(response) == [("f", '{"a":1}'), ("f", '{"a":2}')]
    assert len({item["call_id"] for item in response["output"]}) == 2


@pytest.mark.parametrize("written", ["", "null", " ", "nul|l"])
def test_call_without_arguments_has_an_empty_object(written):
    pieces = [chunk({"tool_calls": [call(0, arguments=piece)]}) for piece in written.split("|")]
    response = final(chunk({"tool_calls": [call(0, "now", "", "c")]}), *pieces, chunk({}, "tool_calls"))
    assert calls_of(response) == [("now", "{}")]


def test_call_cut_short_is_incomplete_and_as_it_came():
    assert calls_of(final(chunk({"tool_calls": [call(0, "f", "", "c")]}, "length"))) == [("f", "")]
    response = final(chunk({"tool_calls": [call(0, "f", '{"a": "lo', "c")]}, "length"))
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [(item["status"], item["arguments"]) for item in response["output"]] == [("incomplete", '{"a": "lo')]


def test_custom_and_namespaced_tools_come_back_under_their_own_names():
    tools = [
        {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}},
        {
            "type": "namespace",
            "name": "files",
            "description": "Files.",
            "tools": [{"type": "function", "name": "open"}],
        },
    ]
    pieces = [
        call(0, "patch", '{"input": "*** Begin', "a"),
        call(0, arguments='\\n"}'),
        call(1, "files__open", "{}", "b"),
    ]
    events = answer(
        *(chunk({"tool_calls": [piece]}) for piece in pieces),
        chunk({}, "tool_calls"),
        body={"input": "x", "tools": tools},
    )
    custom, function = events[-1]["response"]["output"]
    assert (custom["type"], custom["name"], custom["input"]) == ("custom_tool_call", "patch", "*** Begin\n")
    assert (function["name"], function["namespace"]) == ("open", "files")
    assert "custom_tool_call_input.delta" in types_of(events)


def test_refusal_is_a_part_of_its_own():
    response = final(chunk({"content": "Well, "}), chunk({"refusal": "I can"}), chunk({"refusal": "not."}, "stop"))
    (message,) = response["output"]
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal"]
    assert refusal_of(response) == "I cannot."


def test_logprobs_are_told_with_their_text():
    token = {"token": "Hi", "bytes": [72, 105], "logprob": -0.5}
    logprobs = {"content": [{**token, "top_logprobs": [token]}], "refusal": None}
    data = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": logprobs, "finish_reason": "stop"}]}
    events = answer(b"data: %b\n\n" % orjson.dumps(data))
    delta = next(event for event in events if event["type"] == "response.output_text.delta")
    (message,) = events[-1]["response"]["output"]
    assert delta["logprobs"] == message["content"][0]["logprobs"] == [{**token, "top_logprobs": [token]}]


def test_citations_become_annotations():
    cited = {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2, "content": "…"}
    annotation = {"type": "url_citation", "url_citation": cited}
    events = answer(chunk({"content": "Hi"}), chunk({"annotations": [annotation]}, "stop"))
    added = next(event for event in events if event["type"] == "response.output_text.annotation.added")
    (message,) = events[-1]["response"]["output"]
    assert message["content"][0]["annotations"] == [added["annotation"]]
    assert (added["annotation"]["url"], added["annotation"]["end_index"]) == ("https://a.example", 2)


def test_sources_beside_the_choices_become_annotations_where_the_text_refers_to_them():
    sources = {"citations": ["https://a.example", "https://b.example"]}
    pieces = chunk({"content": "Yes [2"}, **sources), chunk({"content": "]."}, **sources), chunk({}, "stop")
    events = answer(*pieces)
    (message,) = events[-1]["response"]["output"]
    (part,) = message["content"]
    cited = {"type": "url_citation", "url": "https://b.example", "title": "", "start_index": 4, "end_index": 7}
    assert (part["text"], part["annotations"]) == ("Yes [2].", [cited])
    assert types_of(events)[-5:-3] == ["output_text.annotation.added", "output_text.done"]


def test_usage_counts_wherever_it_comes():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    with_text = chunk({"content": "x"}, "stop")
    last = b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": usage})
    groq = chunk({}, None, x_groq={"usage": usage})
    for events in ([with_text, last], [chunk({"content": "x"}, "stop", usage=usage)], [groq, with_text]):
        assert final(*events)["usage"]["total_tokens"] == 5


def test_error_in_the_stream_is_told_and_ends_it():
    error = {"error": {"message": "No more.", "code": 429}}
    events = answer(chunk({"content": "Hel"}), b"data: %b\n\n" % orjson.dumps(error), chunk({"content": "lo"}, "stop"))
    assert types_of(events)[-2:] == ["error", "failed"]
    detail = {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": "No more.", "param": None}
    assert events[-2]["error"] == detail
    response = events[-1]["response"]
    assert response["error"] == {"code": "rate_limit_exceeded", "message": "No more."}
    assert [(item["status"], text_of(response)) for item in response["output"]] == [("incomplete", "Hel")]


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error","error":{"message":"m","code":502}}]}\n\n',
        b'data: {"x_groq":{"error":"m"},"choices":[{"index":0,"delta":{"content":"y"}}]}\n\n',
        b'data: {"x_groq":0,"error":{"message":"m"}}\n\n',
        b'data: {"object":"error","message":"m"}\n\n',
        b'event: error\ndata: {"error":"m"}\n\n',
    ],
)
def test_errors_of_every_shape_fail_the_response(event):
    assert final(chunk({"content": "x"}), event)["error"]["message"] == "m"


def test_lines_may_end_as_the_standard_has_them():
    event = chunk({"content": "x"}, "stop").rstrip(b"\n")
    for behind in (b"\r\r", b"\r\n\r\n", b"\rid: 1\n\n"):
        assert text_of(final(event + behind)) == "x"


@pytest.mark.parametrize("cut", [b"", b'data: {"choices":[{"index":0,"delta":{"con'])
def test_stream_without_its_end_fails(cut):
    events = answer(chunk({"content": "Hel"}), cut, done=False)
    assert types_of(events)[-1] == "failed"
    assert "error" not in types_of(events)
    assert events[-1]["response"]["error"]["code"] == "upstream_disconnected"


def test_marked_end_may_lack_its_blank_line():
    assert final(chunk({"content": "x"}), b"data: [DONE]", done=False)["status"] == "completed"


@pytest.mark.parametrize("cut", [b"", b"\n", b"\n\n"])
def test_stream_may_end_behind_its_finish_reason(cut):
    events = chunk({"content": "x"}), chunk({}, "stop").rstrip(b"\n") + cut
    assert final(*events, done=False)["status"] == "completed"


def test_outside_failure_ends_the_response_once():
    translator = ChatTranslator(context_of())
    fed = translator.feed(chunk({"content": "x"}))
    events = read_events(fed + translator.fail("upstream_idle_timeout", "Too slow."))
    assert events[-1]["response"]["error"] == {"code": "upstream_idle_timeout", "message": "Too slow."}
    assert translator.finished
    assert json.loads(translator.response) == events[-1]["response"]
    assert (translator.feed(b"data: x\n\n"), translator.close(), translator.fail("c", "m")) == (b"", b"", b"")


def test_output_past_the_limit_fails_and_is_not_kept():
    events = answer(*[chunk({"content": "x" * 100})] * 50, limit=2000)
    assert events[-1]["response"]["error"]["code"] == "response_too_large"
    assert len(text_of(events[-1]["response"])) < 2000


def test_event_past_the_limit_fails():
    translator, event = ChatTranslator(context_of(limit=1000)), chunk({"content": "x" * 3000})
    events = read_events(translator.feed(event[:2000]) + translator.feed(event[2000:]) + translator.close())
    assert events[-1]["response"]["error"]["code"] == "upstream_bad_answer"


def test_calls_without_end_are_bounded():
    pieces = [call(at, "f", "{}", f"c{at}") for at in range(1000)]
    assert final(chunk({"tool_calls": pieces}), limit=50_000)["error"]["code"] == "response_too_large"


def test_only_the_first_choice_is_the_answer():
    other = {"index": 1, "delta": {"content": "No"}, "finish_reason": "stop"}
    both = b"data: %b\n\n" % orjson.dumps({"choices": [other]})
    assert text_of(final(chunk({"content": "Yes"}), both, chunk({}, "stop"))) == "Yes"


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": [call(0, None, "{}")]},
        {"tool_calls": [call(0, "f", "{}", "c"), call(1, "g", "{}", "d"), call(0, None, "x")]},
    ],
)
def test_contradiction_fails_rather_than_lose_anything(delta):
    assert final(chunk(delta))["error"]["code"] == "upstream_bad_answer"


@pytest.mark.parametrize(
    "value",
    [
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"function": {"name": "f", "arguments": "?"}}]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"custom": {"name": "f", "input": "?"}}]}}]},
        {"choices": [{"index": 0, "delta": {"reasoning_details": [{"type": "x", "data": "?"}]}}]},
        {"error": {"detail": "?"}},
        {"error": "?"},
    ],
)
def test_depth_no_encoder_writes_fails_the_response(value):
    data = orjson.dumps(value).replace(b'"?"', b"[" * 500 + b"]" * 500)
    assert final(b"data: %b\n\n" % data)["status"] == "failed"


def test_counts_no_encoder_writes_are_bounded():
    usage = {"prompt_tokens": 2**64 - 1, "completion_tokens": 2**64 - 1, "total_tokens": 2**64 - 1}
    assert final(chunk({"content": "x"}, "stop", usage=usage))["usage"]["total_tokens"] < 2**63
