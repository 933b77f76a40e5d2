import json

import orjson
import pytest

from proxy.dialects.anthropic_messages.carried import unpack_blocks
from proxy.dialects.anthropic_messages.response import parse_response
from proxy.dialects.anthropic_messages.stream import MessagesTranslator
from proxy.dialects.reasoning import unseal
from tests.dialects.anthropic_messages.recorded import (
    STREAMS,
    blocks_of,
    content_of,
    is_spliced,
    payloads,
    stream_of,
)
from tests.dialects.anthropic_messages.written import (
    answer,
    block,
    end,
    event,
    final,
    items_of,
    start,
    text,
    thinking,
    tool,
    types_of,
)
from tests.dialects.oracle import calls_of, context_of, read_events, reasoning_of, refusal_of, text_of, translate

BYTEWISE_UP_TO = 4000
INCOMPLETE = {"max_tokens", "refusal", "model_context_window_exceeded"}
WHOLE_STREAMS = [recording for recording in STREAMS if not is_spliced(recording)]


def carried_in(response):
    """Return the blocks that reasoning items carry."""
    sealed = [item["encrypted_content"] for item in response["output"] if item["type"] == "reasoning"]
    return [inner for one in sealed if one for inner in unpack_blocks(unseal(one, "primary", "large"))]


@pytest.mark.parametrize("recording", WHOLE_STREAMS, ids=lambda recording: recording.id)
def test_recorded_stream_says_what_the_provider_said(recording):
    body, content = stream_of(recording), content_of(recording)
    whole = translate(MessagesTranslator(context_of()), body, len(body))
    assert translate(MessagesTranslator(context_of()), body, 7) == whole
    if len(body) < BYTEWISE_UP_TO:
        assert translate(MessagesTranslator(context_of()), body, 1) == whole
    response = read_events(whole)[-1]["response"]
    assert (text_of(response), reasoning_of(response)) == (content.text, content.reasoning)
    assert [(name, json.loads(arguments)) for name, arguments in calls_of(response)] == content.calls
    assert response["status"] == ("incomplete" if content.stop in INCOMPLETE else "completed")
    thoughts = [inner.get("signature") or inner.get("data") for inner in carried_in(response)]
    assert [signature for signature in thoughts if signature] == [mark for mark in content.signatures if mark]
    check_usage(response["usage"], content.usage)
    check_served(response, content)


def check_usage(told, recorded):
    cached, written = recorded.get("cache_read_input_tokens", 0), recorded.get("cache_creation_input_tokens", 0)
    assert told["input_tokens"] == recorded["input_tokens"] + cached + written
    assert told["input_tokens_details"] == {"cached_tokens": cached, "cache_write_tokens": written}
    assert told["output_tokens"] == recorded["output_tokens"]
    thought = recorded.get("output_tokens_details", {}).get("thinking_tokens", 0)
    assert told["output_tokens_details"]["reasoning_tokens"] == thought


def check_served(response, content):
    searched = [given.get("query") for name, given in content.served if name == "web_search"]
    items = [item["action"].get("query") for item in response["output"] if item["type"] == "web_search_call"]
    assert [query for query in items if query is not None] == searched
    ran = [name for name, _ in content.served if name.endswith("code_execution")]
    assert items_of(response).count("code_interpreter_call") == len(ran)
    cited = [note for item in response["output"] if item["type"] == "message" for note in notes_of(item)]
    assert cited == content.citations


def notes_of(message):
    """Return what each annotation cites, and the text it is about."""
    for part in message["content"]:
        for note in part.get("annotations", ()):
            if note["type"] == "url_citation":
                yield note["url"], part["text"][note["start_index"] : note["end_index"]]
            else:
                yield note["filename"], part["text"]


@pytest.mark.parametrize("recording", WHOLE_STREAMS, ids=lambda recording: recording.id)
def test_recorded_stream_ends_as_the_same_message_does_whole(recording):
    events = payloads(recording)
    streamed = final(stream_of(recording))
    ends = [event for event in events if event["type"] == "message_delta"]
    told = content_of(recording).usage
    message = {**events[0]["message"], **ends[-1]["delta"], "content": blocks_of(events), "usage": told}
    whole = parse_response(orjson.dumps(message), context_of())
    assert without_bytes(whole) == without_bytes(streamed)


def without_bytes(response):
    """Return a response without what carries JSON as it was written."""
    parsed = orjson.loads(orjson.dumps(response))
    for item in parsed["output"]:
        if item["type"] == "function_call":
            item["arguments"] = json.loads(item["arguments"])
        if item["type"] == "code_interpreter_call" and item["code"].startswith("{"):
            item["code"] = json.loads(item["code"])
    return parsed


@pytest.mark.parametrize("recording", [one for one in STREAMS if is_spliced(one)], ids=lambda recording: recording.id)
def test_second_attempt_within_a_stream_fails_it(recording):
    response = final(stream_of(recording))
    assert (response["status"], response["error"]["code"]) == ("failed", "upstream_bad_answer")


def test_text_passes_through_every_event_in_order():
    events = answer(start(), event("ping"), text(0, "He", "llo"), end())
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
    assert (text_of(response), response["model"], response["service_tier"]) == ("Hello", "claude-1", "default")


def test_first_byte_opens_the_response():
    translator = MessagesTranslator(context_of())
    assert translator.feed(b"e").count(b"event: ") == 2
    assert translator.feed(b"vent: ping\ndata: {}\n\n") == b""


def test_texts_that_follow_each_other_are_one():
    response = final(start(), text(0, "One "), text(1, "two."), end())
    (message,) = response["output"]
    assert [part["text"] for part in message["content"]] == ["One two."]


def test_items_come_in_the_order_of_their_blocks():
    events = answer(
        start(),
        thinking(0, "Let me ", "see."),
        text(1, "I look."),
        tool(2, "look", '{"at":', '"it"}'),
        tool(3, "now", "", call_id="toolu_2"),
        end("tool_use"),
    )
    response = events[-1]["response"]
    assert items_of(response) == ["reasoning", "message", "function_call", "function_call"]
    assert calls_of(response) == [("look", '{"at":"it"}'), ("now", "{}")]
    assert [item["call_id"] for item in response["output"][2:]] == ["toolu_1", "toolu_2"]
    assert carried_in(response) == [{"type": "thinking", "thinking": "Let me see.", "signature": "sig"}]


def test_call_is_done_as_soon_as_its_block_is():
    translator = MessagesTranslator(context_of())
    translator.feed(start())
    assert b"output_item.done" in translator.feed(tool(0, "look", '{"at":1}'))
    assert b"output_item.done" in translator.feed(thinking(1, "Hm."))


def test_input_that_comes_at_once_is_taken():
    assert calls_of(final(start(), tool(0, "f", input={"a": 1}), end("tool_use"))) == [("f", '{"a":1}')]
    prepared = {"type": "tool_use", "id": "toolu_0", "name": "f", "input": {"a": 1}}
    assert calls_of(final(start(content=[prepared]), end("tool_use"))) == [("f", '{"a":1}')]


def test_thought_without_words_is_carried():
    response = final(start(), thinking(0), block(1, "redacted_thinking", data="xyz"), text(2, "Hi"), end())
    assert [item.get("summary") for item in response["output"][:2]] == [[], []]
    assert [inner["type"] for inner in carried_in(response)] == ["thinking", "redacted_thinking"]


def test_thought_cut_short_cannot_be_given_back():
    response = final(start(), thinking(0, "Let me", signature=""), end("max_tokens"))
    (item,) = response["output"]
    assert (item["status"], item["encrypted_content"]) == ("incomplete", None)


@pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded"])
def test_answer_cut_short_is_incomplete(reason):
    response = final(start(), tool(0, "f", '{"a": "lo'), end(reason))
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [(item["status"], item["arguments"]) for item in response["output"]] == [("incomplete", '{"a": "lo')]


def test_search_cut_short_is_the_last_item():
    used = tool(0, "web_search", '{"query":"a"}', kind="server_tool_use", call_id="s1")
    found = block(1, "web_search_tool_result", tool_use_id="s1", content=[])
    cut = tool(2, "web_search", '{"que', kind="server_tool_use", call_id="s2")
    response = final(start(), used, found, cut, end("max_tokens"))
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


@pytest.mark.parametrize("reason", ["end_turn", "stop_sequence", "pause_turn", "tool_use", "something_new"])
def test_other_ends_complete_the_response(reason):
    assert final(start(), end(reason))["status"] == "completed"


def test_nothing_said_is_an_empty_output():
    response = final(start(), end())
    assert (response["output"], response["usage"]["output_tokens"]) == ([], 5)
    assert final(start(), block(0, "text", text=""), end())["output"] == []


def test_refusal_says_why():
    details = {"type": "refusal", "category": "cyber", "explanation": "Not that."}
    response = final(start(), end("refusal", stop_details=details))
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    assert refusal_of(response) == "Not that."
    behind = final(start(), text(0, "Well, "), end("refusal"))
    assert [part["type"] for part in behind["output"][0]["content"]] == ["output_text", "refusal"]


def test_custom_and_namespaced_tools_come_back_under_their_own_names():
    tools = [
        {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "files", "description": "", "tools": [{"type": "function", "name": "open"}]},
    ]
    custom, function = final(
        start(),
        tool(0, "patch", '{"input": "*** Begin', '\\n"}'),
        tool(1, "files__open", "{}", call_id="b"),
        end("tool_use"),
        body={"input": "x", "tools": tools},
    )["output"]
    assert (custom["type"], custom["name"], custom["input"]) == ("custom_tool_call", "patch", "*** Begin\n")
    assert (function["name"], function["namespace"]) == ("open", "files")


def test_citations_are_about_the_text_of_their_block():
    cited = {"type": "web_search_result_location", "url": "https://a.example", "title": "A", "cited_text": "x"}
    events = answer(
        start(),
        text(0, "So: "),
        block(1, "text", ("citations_delta", {"citation": cited}), ("text_delta", {"text": "it is."}), text=""),
        end(),
    )
    added = next(event["annotation"] for event in events if event["type"].endswith("annotation.added"))
    assert (added["url"], added["title"], added["start_index"], added["end_index"]) == ("https://a.example", "A", 4, 10)


def test_usage_is_merged_and_not_added():
    first = {"input_tokens": 3, "cache_read_input_tokens": 20, "cache_creation_input_tokens": None, "output_tokens": 1}
    for last in ({"output_tokens": 9}, {"output_tokens": 9, "input_tokens": 3, "cache_read_input_tokens": 20}):
        usage = final(start(usage=first), text(0, "x"), end(usage=last))["usage"]
        assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (23, 9, 32)


def test_error_in_the_stream_is_told_and_ends_it():
    overloaded = {"type": "overloaded_error", "message": "Overloaded"}
    events = answer(start(), text(0, "Hel", stopped=False), event("error", error=overloaded), text(1, "lo"), end())
    assert types_of(events)[-2:] == ["error", "failed"]
    assert (events[-2]["error"]["code"], events[-2]["error"]["message"]) == ("slow_down", "Overloaded")
    response = events[-1]["response"]
    assert (response["error"]["code"], text_of(response)) == ("slow_down", "Hel")
    assert response["usage"]["input_tokens"] == 10


def test_error_of_another_shape_fails_too():
    assert final(start(), b'data: {"error":{"message":"m"}}\n\n')["error"]["message"] == "m"


def test_start_said_twice_is_one():
    assert text_of(final(start(), start(), text(0, "Hi"), end())) == "Hi"


@pytest.mark.parametrize("cut", [b"", b'event: content_block_delta\ndata: {"type":"content_b'])
def test_stream_without_its_end_fails(cut):
    events = answer(start(), text(0, "Hel"), cut)
    assert events[-1]["response"]["error"]["code"] == "upstream_disconnected"
    assert "error" not in types_of(events)


def test_stream_may_end_behind_its_stop_reason():
    stop_only = end().partition(b"event: message_stop")[0]
    assert final(start(), text(0, "x"), stop_only)["status"] == "completed"
    assert final(start(), text(0, "x"), stop_only, b"data: [DONE]\n\n")["status"] == "completed"
    assert final(start(), text(0, "x"), b"data: [DONE]\n\n")["status"] == "failed"


def test_unknown_blocks_deltas_and_events_say_nothing():
    response = final(
        start(),
        block(0, "fallback", ("text_delta", {"text": "?"})),
        event("content_block_later", index=0),
        block(1, "text", ("future_delta", {"x": 1}), ("text_delta", {"text": "Hi"}), text=""),
        end(),
    )
    assert (items_of(response), text_of(response)) == (["message"], "Hi")


@pytest.mark.parametrize(
    "stray",
    [
        event("content_block_delta", index=7, delta={"type": "text_delta", "text": "x"}),
        event("content_block_start", index=0, content_block=None),
    ],
)
def test_contradiction_fails_rather_than_lose_anything(stray):
    assert final(start(), stray)["error"]["code"] == "upstream_bad_answer"


def test_index_used_again_ends_the_block_before():
    first = block(1, "text", ("text_delta", {"text": "a"}), stopped=False, text="")
    assert text_of(final(start(), first, text(1, "b"), end())) == "ab"


@pytest.mark.parametrize("kind", ["tool_use", "server_tool_use", "web_search_tool_result"])
def test_depth_no_encoder_writes_fails_the_response(kind):
    deep = block(0, kind, id="a", name="web_search", input={"a": "?"}, tool_use_id="b", content={"a": "?"})
    assert final(start(), deep.replace(b'"?"', b"[" * 500 + b"]" * 500), end())["status"] == "failed"


def test_output_past_the_limit_fails_and_is_not_kept():
    response = final(start(), text(0, *["x" * 100] * 50), end(), limit=2000)
    assert response["error"]["code"] == "response_too_large"
    assert len(text_of(response)) < 2000


@pytest.mark.parametrize(
    "growing",
    [
        [thinking(at, "", signature="s" * 1000) for at in range(50)],
        [block(at, "redacted_thinking", data="d" * 1000) for at in range(50)],
        [tool(at, "web_search", "x" * 1000, kind="server_tool_use") for at in range(50)],
        [block(at, "web_fetch_tool_result", tool_use_id="x", content="c" * 1000) for at in range(50)],
        [tool(at, "f", "{}", call_id=f"c{at}") for at in range(1000)],
    ],
    ids=["signatures", "hidden thoughts", "searches", "results", "calls"],
)
def test_everything_that_grows_is_bounded(growing):
    assert final(start(), *growing, end(), limit=20_000)["error"]["code"] == "response_too_large"


def test_outside_failure_ends_the_response_once():
    translator = MessagesTranslator(context_of())
    fed = translator.feed(start() + text(0, "x"))
    events = read_events(fed + translator.fail("upstream_idle_timeout", "Too slow."))
    assert events[-1]["response"]["error"] == {"code": "upstream_idle_timeout", "message": "Too slow."}
    assert (translator.feed(end()), translator.close(), translator.fail("c", "m")) == (b"", b"", b"")


@pytest.mark.parametrize(
    "written",
    [
        b'data: {"type":"content_block_delta",\ndata: "delta":{"type":"text_delta","text":"x"}}\n\n',
        b'event: a\ndata: {"type":"content_block_delta",\ndata: "delta":{"type":"text_delta","text":"x"}}\n\n',
        b'event: a\r\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}\r\n\r\n',
        b'event: a\nid: 1\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}\n\n',
        b'event:a\ndata:{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}\n\n',
    ],
)
def test_events_may_be_written_as_the_standard_has_them(written):
    opened = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    assert text_of(final(start(), opened, written, end())) == "x"
