import json

import orjson
import pytest

from proxy.dialects.bedrock_converse.outcome import CUT_SHORT
from proxy.dialects.bedrock_converse.stream import ConverseTranslator
from proxy.dialects.reasoning import unseal
from tests.dialects.bedrock_converse.recorded import STREAMS, content_of
from tests.dialects.bedrock_converse.wire import (
    arguments,
    block_stop,
    event,
    exception,
    frame,
    split_frames,
    start,
    stop,
    text,
    thought,
    usage,
    use,
)
from tests.dialects.oracle import calls_of, context_of, read_events, reasoning_of, text_of, translate

BYTEWISE_UP_TO = 4000


def answer(*frames, body=None, size=None, **context):
    """Translate frames, and return the events that come out."""
    stream = b"".join(frames)
    return read_events(translate(ConverseTranslator(context_of(body, **context)), stream, size or len(stream) or 1))


def final(*frames, **options):
    """Return the final response."""
    return answer(*frames, **options)[-1]["response"]


def types_of(events):
    return [event["type"].removeprefix("response.") for event in events]


def check_content(response, content):
    """Compare a final response with what was recorded."""
    output = response["output"]
    assert [item["type"] for item in output] == content.kinds
    assert (text_of(response), reasoning_of(response)) == (content.text, content.reasoning)
    calls = [item for item in output if item["type"] == "function_call"]
    assert [(item["name"], json.loads(item["arguments"]), item["call_id"]) for item in calls] == content.calls
    code = [item for item in output if item["type"] == "code_interpreter_call"]
    assert [(item["code"], item["outputs"][0]["logs"]) for item in code] == content.code
    sealed = [unseal(item.get("encrypted_content"), "primary", "large") for item in output]
    states = [state for state in sealed if state is not None]
    assert [state.get("redacted") or state["signature"] for state in states] == content.signatures
    annotations = [note for item in output for part in item.get("content", ()) for note in part.get("annotations", ())]
    assert [note.get("title", note.get("filename")) for note in annotations] == [
        citation["title"] for citation in content.citations
    ]
    reason = CUT_SHORT.get(content.stop)
    assert response["status"] == ("completed" if reason is None else "incomplete")
    assert response["incomplete_details"] == (reason and {"reason": reason})
    check_usage(response["usage"], content.usage)


def check_usage(told, recorded):
    if recorded is None:
        assert told is None
        return
    cached, written = recorded.get("cacheReadInputTokens", 0), recorded.get("cacheWriteInputTokens", 0)
    assert told["input_tokens"] == recorded["inputTokens"] + cached + written
    assert told["input_tokens_details"] == {"cached_tokens": cached, "cache_write_tokens": written}
    assert told["output_tokens"] == recorded["outputTokens"]
    assert told["total_tokens"] == recorded["totalTokens"]


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.id)
def test_recorded_stream_says_what_the_provider_said(recording):
    body = recording.body
    whole = translate(ConverseTranslator(context_of()), body, len(body))
    assert translate(ConverseTranslator(context_of()), body, 7) == whole
    if len(body) < BYTEWISE_UP_TO:
        assert translate(ConverseTranslator(context_of()), body, 1) == whole
    by_event = ConverseTranslator(context_of())
    assert b"".join([*map(by_event.feed, split_frames(body)), by_event.close()]) == whole
    check_content(read_events(whole)[-1]["response"], content_of(recording))


def test_text_passes_through_every_event_in_order():
    events = answer(start(), text("He"), text("llo"), block_stop(), stop(), usage())
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
    assert (text_of(response), response["model"], response["completed_at"]) == ("Hello", "large", 1_700_000_009)


def test_first_byte_opens_the_response():
    translator = ConverseTranslator(context_of())
    assert translator.feed(start()[:1]).count(b"event: ") == 2
    assert translator.feed(start()[1:]) == b""


def test_text_goes_on_as_soon_as_its_message_is_whole():
    translator, raw = ConverseTranslator(context_of()), text("Hello")
    assert b"delta" not in translator.feed(start() + raw[:-1])
    assert b'"delta":"Hello"' in translator.feed(raw[-1:])


def test_response_ends_with_the_usage_and_does_not_wait_for_more():
    translator = ConverseTranslator(context_of())
    translator.feed(start() + text("x") + block_stop() + stop())
    assert not translator.finished
    assert b"response.completed" in translator.feed(usage() + text("y"))
    assert (translator.finished, translator.feed(text("z")), translator.close()) == (True, b"", b"")
    translator = ConverseTranslator(context_of())
    assert b"response.completed" in translator.feed(text("x") + usage() + stop())


def test_usage_may_come_first_or_not_at_all():
    assert final(text("x"), usage(), stop())["usage"]["total_tokens"] == 5
    assert final(text("x"), stop())["usage"] is None
    assert final(text("x"), stop())["status"] == "completed"


def test_blocks_need_neither_start_nor_stop():
    response = final(thought(0, text="Hm."), text("Hi", 1), stop(), usage())
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert (reasoning_of(response), text_of(response)) == ("Hm.", "Hi")


def test_message_without_content_is_an_empty_output():
    assert final(start(), text(""), block_stop(), stop(), usage())["output"] == []


def test_calls_come_one_after_the_other():
    events = answer(
        start(),
        use(0, "first", "call_a"),
        arguments(0, ""),
        arguments(0, '{"a"'),
        arguments(0, ":1}"),
        block_stop(0),
        use(1, "second", "call_b"),
        arguments(1, '{"b":2}'),
        block_stop(1),
        stop("tool_use"),
        usage(),
    )
    response = events[-1]["response"]
    assert calls_of(response) == [("first", '{"a":1}'), ("second", '{"b":2}')]
    assert [item["call_id"] for item in response["output"]] == ["call_a", "call_b"]
    names = types_of(events)
    assert names.index("output_item.done") < len(names) - 1 - names[::-1].index("output_item.added")


def test_call_without_arguments_has_an_empty_object():
    assert calls_of(final(use(0, "now", "c"), block_stop(0), stop("tool_use"))) == [("now", "{}")]


def test_call_cut_short_is_incomplete_and_as_it_came():
    response = final(use(0, "f", "c"), arguments(0, '{"a": "lo'), block_stop(0), stop("max_tokens"), usage())
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [(item["status"], item["arguments"]) for item in response["output"]] == [("incomplete", '{"a": "lo')]


def test_custom_and_namespaced_tools_come_back_under_their_own_names():
    inner = {"type": "function", "name": "open"}
    tools = [
        {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "files", "description": "Files.", "tools": [inner]},
    ]
    response = final(
        use(0, "patch", "a"),
        arguments(0, '{"input": "*** Begin'),
        arguments(0, '\\n"}'),
        block_stop(0),
        use(1, "files__open", "b"),
        block_stop(1),
        stop("tool_use"),
        body={"input": "x", "tools": tools},
    )
    custom, function = response["output"]
    assert (custom["type"], custom["name"], custom["input"]) == ("custom_tool_call", "patch", "*** Begin\n")
    assert (function["name"], function["namespace"]) == ("open", "files")


@pytest.mark.parametrize("kind", ["malformed_model_output", "malformed_tool_use"])
def test_answer_the_model_spoiled_fails(kind):
    for frames in ((stop(kind), usage()), (usage(), stop(kind)), (stop(kind),)):
        events = answer(text("Hel"), *frames)
        assert types_of(events)[-2:] == ["error", "failed"]
        assert kind in events[-1]["response"]["error"]["message"]
        assert [item["status"] for item in events[-1]["response"]["output"]] == ["incomplete"]


def test_exception_in_the_stream_is_told_and_ends_it():
    events = answer(text("Hel"), exception("throttlingException", {"message": "Too many."}), text("lo"), stop())
    assert types_of(events)[-2:] == ["error", "failed"]
    detail = {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": "Too many.", "param": None}
    assert events[-2]["error"] == detail
    response = events[-1]["response"]
    assert response["error"] == {"code": "rate_limit_exceeded", "message": "Too many."}
    assert [(item["status"], text_of(response)) for item in response["output"]] == [("incomplete", "Hel")]


def test_error_in_the_stream_is_told_and_ends_it():
    raw = frame(b"", message_type="error", error_code="InternalFailure", error_message="Broken.")
    events = answer(text("Hel"), usage(), raw)
    assert types_of(events)[-2:] == ["error", "failed"]
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "Broken."}
    assert events[-1]["response"]["usage"]["total_tokens"] == 5


@pytest.mark.parametrize("cut", [b"", text("lo")[:30], stop()[:-1]])
def test_stream_without_its_end_fails(cut):
    events = answer(text("Hel"), cut)
    assert "error" not in types_of(events)
    assert events[-1]["response"]["error"]["code"] == "upstream_disconnected"


def test_stream_cut_within_its_usage_fails():
    assert final(text("x"), stop(), usage()[:-1])["error"]["code"] == "upstream_disconnected"


DAMAGED = bytearray(text("lo"))
DAMAGED[-6] ^= 1


@pytest.mark.parametrize(
    "raw",
    [
        bytes(DAMAGED),
        b"<html>",
        b'{"message":"m"}',
        event("contentBlockDelta", b"{"),
        event("contentBlockDelta", b"[]"),
        arguments(7, "{}"),
        text("x", "0"),
        use(0, "f", "c"),
        use(3, "", "c"),
    ],
)
def test_what_is_no_stream_of_this_kind_fails(raw):
    response = final(text("Hel"), raw)
    assert response["error"]["code"] == "upstream_bad_answer"
    assert text_of(response) == "Hel"


def test_events_of_new_kinds_are_passed_over():
    new = event("somethingNew", b"?"), event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"new": 1}})
    assert text_of(final(start(), *new, text("x"), stop(), usage())) == "x"


def test_outside_failure_ends_the_response_once():
    translator = ConverseTranslator(context_of())
    fed = translator.feed(text("x"))
    events = read_events(fed + translator.fail("upstream_idle_timeout", "Too slow."))
    assert events[-1]["response"]["error"] == {"code": "upstream_idle_timeout", "message": "Too slow."}
    assert translator.finished
    assert orjson.loads(translator.response) == events[-1]["response"]
    assert (translator.feed(text("x")), translator.close(), translator.fail("c", "m")) == (b"", b"", b"")


def test_output_past_the_limit_fails_and_is_not_kept():
    response = final(*[text("x" * 100)] * 50, limit=2000)
    assert response["error"]["code"] == "response_too_large"
    assert len(text_of(response)) < 2000


def test_message_past_the_limit_fails():
    assert final(text("x" * 3000), limit=1000)["error"]["code"] == "upstream_bad_answer"


@pytest.mark.parametrize(
    "frames",
    [
        [text("", index) for index in range(2000)],
        [use(index, "f", f"c{index}") for index in range(1000)],
        [use(0, "nova_code_interpreter", "c", type="server_tool_use"), *[arguments(0, "x" * 100)] * 1000],
        [thought(0, signature="x" * 100)] * 1000,
        [thought(0, redactedContent="AAAA" * 25)] * 1000,
        [event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"citation": {"title": "x" * 100}}})] * 1000,
    ],
    ids=["blocks", "calls", "code", "signature", "redacted", "citations"],
)
def test_everything_that_grows_is_bounded(frames):
    assert final(*frames, limit=50_000)["error"]["code"] == "response_too_large"


def test_service_tier_is_told():
    told = event("metadata", {"usage": {"inputTokens": 1}, "serviceTier": {"type": "flex"}})
    assert final(text("x"), stop(), told)["service_tier"] == "flex"
