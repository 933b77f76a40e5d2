import json
import re

import pytest

from proxy.dialects.cohere_chat.stream import CohereTranslator
from proxy.dialects.reasoning import unseal
from tests.dialects.cohere_chat.recorded import ANSWERS, STREAMS, content_of
from tests.dialects.cohere_chat.spoken import (
    DOCUMENT,
    PAGE,
    TOOL,
    annotations_of,
    answer,
    begin,
    call,
    cite,
    end,
    event,
    final,
    go_on,
    plan,
    text,
    thinking,
    types_of,
)
from tests.dialects.oracle import calls_of, context_of, messages_of, read_events, reasoning_of, text_of, translate
from tests.rig.client import split_events

BYTEWISE_UP_TO = 4000


def source_of(annotation, said):
    """Return the cited text as far as the annotation tells it, and the source's name."""
    if annotation["type"] == "url_citation":
        return said[annotation["start_index"] : annotation["end_index"]], annotation["url"]
    return said[: annotation["index"]], annotation["file_id"]


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.id)
def test_recorded_stream_says_what_the_provider_said(recording):
    body = recording.body
    whole = translate(CohereTranslator(context_of()), body, len(body))
    assert translate(CohereTranslator(context_of()), body, 7) == whole
    by_event = CohereTranslator(context_of())
    assert b"".join(by_event.feed(one) for one in re.split(rb"(?<=\n\n)", body)) + by_event.close() == whole
    if len(body) < BYTEWISE_UP_TO:
        assert translate(CohereTranslator(context_of()), body, 1) == whole
    check_content(read_events(whole)[-1]["response"], content_of(recording))


def check_content(response, content):
    """Compare a response with what is in the recording."""
    assert (text_of(response), reasoning_of(response)) == (content.text, content.plan + content.thinking)
    items = [item for item in response["output"] if item["type"] == "function_call"]
    assert [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in items] == content.calls
    incomplete = content.finish == "MAX_TOKENS"
    assert response["status"] == ("incomplete" if incomplete else "completed")
    assert response["incomplete_details"] == ({"reason": "max_output_tokens"} if incomplete else None)
    told = [source_of(annotation, content.text) for annotation in annotations_of(response)]
    assert [source for _, source in told] == [source for _, source in content.citations]
    assert all(cited.endswith(said) for (cited, _), (said, _) in zip(told, content.citations, strict=True))
    check_usage(response["usage"], content.usage)


def check_usage(told, recorded):
    tokens = recorded["tokens"]
    read = tokens["input_tokens"] + tokens.get("image_tokens", 0)
    assert (told["input_tokens"], told["output_tokens"]) == (read, tokens["output_tokens"])
    assert told["total_tokens"] == read + tokens["output_tokens"]
    assert told["input_tokens_details"]["cached_tokens"] == recorded.get("cached_tokens", 0)
    assert told["output_tokens_details"]["reasoning_tokens"] == tokens.get("reasoning_tokens", 0)


@pytest.mark.skipif(not ANSWERS, reason="no recorded traffic")
def test_recordings_cover_what_is_compared():
    contents = [content_of(recording) for recording in ANSWERS]
    for member in ("text", "thinking", "plan", "calls", "citations"):
        assert sum(bool(getattr(content, member)) for content in contents) >= 5, member
    assert {content.finish for content in contents} == {"COMPLETE", "STOP_SEQUENCE", "MAX_TOKENS", "TOOL_CALL"}


def test_text_passes_through_every_event_in_order():
    events = answer(
        event("message-start", role="assistant", content=[]),
        event("content-start", 0, content={"type": "text", "text": ""}),
        text("He"),
        text("llo"),
        event("content-end", 0),
        end(),
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
    assert (text_of(response), response["completed_at"]) == ("Hello", 1_700_000_009)


def test_first_byte_opens_the_response_and_the_end_is_told_at_once():
    translator = CohereTranslator(context_of())
    assert translator.feed(b"e").count(b"event: ") == 2
    translator.feed(b"vent: content-delta\n" + text("Hi"))
    frames = split_events(translator.feed(end().partition(b"data: [DONE]")[0]))
    assert frames[-1].name == "response.completed"
    assert (translator.finished, translator.feed(b"data: [DONE]\n\n"), translator.close()) == (True, b"", b"")


def test_content_may_begin_with_its_first_piece():
    response = final(event("content-start", 0, content={"type": "text", "text": "He"}), text("llo"), end())
    assert text_of(response) == "Hello"


def test_thinking_ends_where_the_text_begins_and_is_sealed():
    events = answer(
        event("content-start", 0, content={"type": "thinking", "thinking": ""}),
        thinking("Let me "),
        thinking("see."),
        event("content-end", 0),
        event("content-start", 1, content={"type": "text", "text": ""}),
        text("42", 1),
        end(),
    )
    names = types_of(events)
    assert names.index("output_item.done") < names.index("content_part.added")
    reasoning, message = events[-1]["response"]["output"]
    assert (reasoning["type"], reasoning["summary"][0]["text"]) == ("reasoning", "Let me see.")
    assert unseal(reasoning["encrypted_content"], "primary", "large") == {"thinking": "Let me see."}
    assert unseal(reasoning["encrypted_content"], "other", "large") is None
    assert message["type"] == "message"


def test_parts_of_the_content_stay_apart():
    parts = [
        event("content-start", at, content={"type": kind, kind: piece})
        for at, (kind, piece) in enumerate(
            [("thinking", "a"), ("thinking", "b"), ("text", "c"), ("text", "d"), ("thinking", "e"), ("text", "f")]
        )
    ]
    output = final(*parts, end())["output"]
    told = [[part["text"] for part in item.get("content") or item["summary"]] for item in output]
    assert told == [["a"], ["b"], ["c", "d"], ["e"], ["f"]]
    states = [unseal(item["encrypted_content"], "primary", "large") for item in output if item["type"] == "reasoning"]
    assert states == [{"thinking": "a"}, {"thinking": "b"}, {"thinking": "e"}]


def test_plan_is_reasoning_before_its_calls():
    response = final(plan("I will "), plan("look."), call(0, '{"a":1}'), end("TOOL_CALL"))
    assert [item["type"] for item in response["output"]] == ["reasoning", "function_call"]
    assert reasoning_of(response) == "I will look."
    assert unseal(response["output"][0]["encrypted_content"], "primary", "large") == {"tool_plan": "I will look."}
    assert response["status"] == "completed"


def test_calls_are_done_at_their_end():
    events = answer(call(0, '{"a":1}', call_id="a"), call(1, '{"b":2}', name="g", call_id="b"), end("TOOL_CALL"))
    assert calls_of(events[-1]["response"]) == [("f", '{"a":1}'), ("g", '{"b":2}')]
    names = types_of(events)
    assert names.index("output_item.done") < len(names) - 1 - names[::-1].index("output_item.added")
    assert [item["call_id"] for item in events[-1]["response"]["output"]] == ["a", "b"]


def test_call_without_its_end_is_done_when_another_begins():
    events = answer(begin(0, call_id="a"), go_on(0, "{}"), begin(1, call_id="b"), go_on(1, "{}"), end("TOOL_CALL"))
    names = types_of(events)
    assert names.index("output_item.done") < len(names) - 1 - names[::-1].index("output_item.added")


def test_calls_whose_pieces_interleave_are_kept_apart():
    response = final(
        begin(0, call_id="a"),
        begin(1, name="g", call_id="b"),
        go_on(0, '{"a":'),
        go_on(1, '{"b":2}'),
        go_on(0, "1}"),
        event("tool-call-end", 0),
        event("tool-call-end", 1),
        end("TOOL_CALL"),
    )
    assert calls_of(response) == [("f", '{"a":1}'), ("g", '{"b":2}')]


def test_calls_may_lack_what_tells_them_apart():
    response = final(call(None, '{"a":1}', call_id=""), call(None, '{"b":2}', call_id=""), end("TOOL_CALL"))
    assert calls_of(response) == [("f", '{"a":1}'), ("f", '{"b":2}')]
    assert len({item["call_id"] for item in response["output"]}) == 2
    assert all(item["call_id"].startswith("call_") for item in response["output"])


@pytest.mark.parametrize(
    "events",
    [
        [begin(0), event("tool-call-end", 0)],
        [begin(0, arguments=None), event("tool-call-end", 0)],
        [begin(0), go_on(0, None), event("tool-call-end", 0)],
        [begin(0), go_on(0, "null"), event("tool-call-end", 0)],
        [begin(0), go_on(0, "nu"), go_on(0, "ll")],
        [begin(0), event("tool-call-delta", 0, tool_calls={})],
        [begin(0, arguments={})],
        [event("tool-call-start", 0, tool_calls={"id": "c", "function": {"name": "f"}})],
    ],
)
def test_call_without_arguments_has_an_empty_object(events):
    assert calls_of(final(*events, end("TOOL_CALL"))) == [("f", "{}")]


def test_calls_may_come_as_a_list():
    listed = event("tool-call-start", 0, tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "{}"}}])
    assert calls_of(final(listed, end("TOOL_CALL"))) == [("f", "{}")]


@pytest.mark.parametrize("ended", [b"", event("tool-call-end", 0)])
def test_call_cut_short_is_incomplete_and_as_it_came(ended):
    response = final(begin(0), go_on(0, '{"a": "lo'), ended, end("MAX_TOKENS"))
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [(item["status"], item["arguments"]) for item in response["output"]] == [("incomplete", '{"a": "lo')]


def test_custom_and_namespaced_tools_come_back_under_their_own_names():
    tools = [
        {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "files", "description": "", "tools": [{"type": "function", "name": "open"}]},
    ]
    pieces = [call(0, '{"input": "*** Begin\\n"}', name="patch"), call(1, "{}", name="files__open", call_id="b")]
    custom, function = final(*pieces, end("TOOL_CALL"), body={"input": "x", "tools": tools})["output"]
    assert (custom["type"], custom["name"], custom["input"]) == ("custom_tool_call", "patch", "*** Begin\n")
    assert (function["name"], function["namespace"]) == ("open", "files")


def test_citations_become_annotations_of_their_text():
    events = answer(text("It is 20°C."), cite(6, 11, PAGE), cite(0, 2, TOOL, DOCUMENT), event("content-end", 0), end())
    told = [
        {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 6, "end_index": 11},
        {"type": "file_citation", "file_id": "f_1:0", "filename": "f_1:0", "index": 2},
        {"type": "file_citation", "file_id": "doc:1", "filename": "notes.txt", "index": 2},
    ]
    assert annotations_of(events[-1]["response"]) == told
    added = [one["annotation"] for one in events if one["type"] == "response.output_text.annotation.added"]
    assert added == told


def test_citations_may_come_behind_the_content():
    assert len(annotations_of(final(text("Hi"), event("content-end", 0), cite(0, 2, TOOL), end()))) == 1


@pytest.mark.parametrize(
    "cited",
    [
        cite(0, 2, TOOL, type="THINKING_CONTENT"),
        cite(0, 2, TOOL, type="PLAN"),
        cite(0, 2),
        cite(0, 2, "x", None),
        event("citation-start", 0, citations={"start": 0, "end": 2, "sources": None}),
        event("citation-start", 0),
    ],
)
def test_citation_of_nothing_that_can_be_annotated_is_none(cited):
    response = final(text("Hi"), cited, end())
    assert (annotations_of(response), text_of(response)) == ([], "Hi")
    assert final(cited, end())["output"] == []


@pytest.mark.parametrize("start", [None, -1, 1.5, "3", True])
def test_offsets_are_never_anything_but_offsets(start):
    (annotation,) = annotations_of(final(text("Hi"), cite(start, 2, PAGE), end()))
    assert annotation["start_index"] == 0


def test_logprobs_are_told_with_their_text():
    logprobs = {"text": "Hé", "token_ids": [5, 6], "logprobs": [-0.5, -0.25]}
    events = answer(text("Hé", logprobs=logprobs), text("!", logprobs=None), end())
    told = [{"token": "Hé", "bytes": [72, 195, 169], "logprob": -0.75, "top_logprobs": []}]
    assert next(one for one in events if one["type"] == "response.output_text.delta")["logprobs"] == told
    assert messages_of(events[-1]["response"])[0]["content"][0]["logprobs"] == told
