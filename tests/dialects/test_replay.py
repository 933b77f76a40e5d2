"""A finished response as a stream: legal by the strict judge, the same in the end, and cut behind any event."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.chat_completions.stream import ChatTranslator
from proxy.dialects.replay import after, render_replay, replay, unfinished
from proxy.sse import encode
from tests.dialects.chat_completions.recorded import STREAMS
from tests.dialects.oracle import RESPONSE_ID, check_items, context_of, drive_sdk, read_events, translate
from tests.rig.client import split_events
from tests.rig.replay import recordings

TEXT = 'Grüß Gott, "you"\n\n\x00'
ANNOTATION = {"type": "url_citation", "url": "https://a.test", "title": "A", "start_index": 0, "end_index": 2}
LOGPROB = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}


def part(text=TEXT, **members):
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **members}


def item(kind, **members):
    return {"id": f"{kind}_1", "type": kind, "status": "completed", **members}


def message(*parts):
    return item("message", role="assistant", content=list(parts))


ITEMS = {
    "text": message(part(annotations=[ANNOTATION, ANNOTATION], logprobs=[LOGPROB])),
    "nothing": message(part("")),
    "no part": message(),
    "refusal": message({"type": "refusal", "refusal": TEXT}),
    "parts": message(part("a"), {"type": "refusal", "refusal": "b"}, part("c")),
    "reasoning": item(
        "reasoning",
        summary=[{"type": "summary_text", "text": text} for text in ("a", TEXT)],
        content=[{"type": "reasoning_text", "text": TEXT}],
        encrypted_content="sealed",
    ),
    "sealed reasoning": item("reasoning", summary=[], encrypted_content="sealed"),
    "call": item("function_call", call_id="call_1", name="f", arguments='{"a":1}'),
    "call of nothing": item("function_call", call_id="call_1", name="f", arguments=""),
    "custom call": item("custom_tool_call", call_id="call_1", name="c", input=TEXT),
    "search": item("web_search_call", action={"type": "search", "query": "q", "queries": ["q"], "sources": []}),
    "code": item(
        "code_interpreter_call", code="print(1)", container_id="auto", outputs=[{"type": "logs", "logs": "1"}]
    ),
    "file search": item("file_search_call", queries=["q"], results=None),
    "image": item("image_generation_call", result="aGk="),
    "unknown": item("mcp_list_tools", server_label="s", tools=[]),
}


def respond(*output, status="completed", **members):
    given = [{**one, "id": f"{one['id']}{at}"} for at, one in enumerate(output)]
    return {
        **context_opened(),
        "status": status,
        "completed_at": 1_700_000_009,
        "output": given,
        "usage": None,
        **members,
    }


def context_opened():
    translator = ChatTranslator(context_of())
    return split_events(translator.feed(b": hi\n\n"))[0].json()["response"]


@pytest.mark.parametrize("name", ITEMS)
def test_stream_of_every_item_is_legal_and_ends_in_the_response(name):
    response = respond(ITEMS[name])
    events = read_events(render_replay(response))
    assert events[-1]["response"] == response
    assert events[0]["response"] == unfinished(response, "in_progress")
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == response["output"]


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        (
            "text",
            [
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.annotation.added",
                "response.output_text.annotation.added",
                "response.output_text.done",
                "response.content_part.done",
            ],
        ),
        ("call of nothing", ["response.function_call_arguments.done"]),
        (
            "search",
            [
                "response.web_search_call.in_progress",
                "response.web_search_call.searching",
                "response.web_search_call.completed",
            ],
        ),
        (
            "code",
            [
                "response.code_interpreter_call.in_progress",
                "response.code_interpreter_call_code.delta",
                "response.code_interpreter_call_code.done",
                "response.code_interpreter_call.interpreting",
                "response.code_interpreter_call.completed",
            ],
        ),
        ("unknown", []),
    ],
)
def test_item_has_the_events_of_its_kind(name, inside):
    assert [event["type"] for event in replay(respond(ITEMS[name]))][3:-2] == inside


def test_item_is_added_without_what_comes_later():
    added = [event["item"] for event in replay(respond(*ITEMS.values())) if event["type"].endswith("item.added")]
    by_kind = {one["type"]: one for one in added}
    assert {one["status"] for one in added} == {"in_progress"}
    assert by_kind["message"]["content"] == by_kind["reasoning"]["summary"] == []
    assert by_kind["reasoning"]["encrypted_content"] is None
    assert by_kind["function_call"]["arguments"] == by_kind["custom_tool_call"]["input"] == ""
    assert by_kind["code_interpreter_call"]["outputs"] is None


def test_delta_carries_the_log_probabilities_of_the_whole_text():
    events = list(replay(respond(ITEMS["text"])))
    assert [event["logprobs"] for event in events if "logprobs" in event] == [[LOGPROB]] * 2


def test_text_is_cut_as_asked():
    events = list(replay(respond(ITEMS["call"]), list))
    assert [event["delta"] for event in events if "delta" in event] == list('{"a":1}')


def test_incomplete_response_ends_as_such():
    last = {**ITEMS["text"], "status": "incomplete"}
    cut = respond(ITEMS["call"], last, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    events = read_events(render_replay(cut))
    assert (events[-1]["type"], events[-1]["response"]) == ("response.incomplete", cut)


def test_failed_response_tells_what_there_was_but_not_that_it_is_done():
    last = {**ITEMS["text"], "status": "incomplete"}
    error = {"code": "server_error", "message": "Sorry."}
    events = read_events(render_replay(respond(ITEMS["call"], last, status="failed", error=error)))
    assert events[-1]["response"]["error"] == error
    assert events[0]["response"]["error"] is None
    done = [event["item"]["type"] for event in events if event["type"] == "response.output_item.done"]
    assert done == ["function_call"]
    ended = [event["output_index"] for event in events if event["type"].endswith(".done")]
    assert set(ended) == {0}
    assert [event["delta"] for event in events if event["type"] == "response.output_text.delta"] == [TEXT]


def test_cancelled_response_ends_as_incomplete():
    assert [event["type"] for event in replay(respond(status="cancelled"))][-1] == "response.incomplete"


def test_background_response_was_queued_first():
    events = list(replay(respond(background=True)))
    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert events[1]["response"]["status"] == "queued"


@settings(max_examples=60)
@given(st.lists(st.sampled_from(sorted(ITEMS)), max_size=6), st.sampled_from(["completed", "failed"]))
def test_any_output_replays_legally(names, status):
    output = [
        {**ITEMS[name], **({"call_id": f"call_{at}"} if "call_id" in ITEMS[name] else {})}
        for at, name in enumerate(names)
    ]
    response = respond(*output, status=status)
    assert read_events(render_replay(response))[-1]["response"] == response


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "id", "status", "content", "summary", "text", "code", "arguments", "annotations"]),
            st.sampled_from(["message", "reasoning", "output_text", "function_call", "web_search_call"]) | inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["output", "status", "background", "id"]), JSON, max_size=4))
def test_anything_that_is_kept_replays_to_its_end(response):
    events = [frame.json() for frame in split_events(render_replay(response))]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"] == response


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.id)
def test_response_of_a_recorded_stream_replays_to_itself(recording):
    translator = ChatTranslator(context_of())
    translate(translator, recording.body, len(recording.body))
    response = orjson.loads(translator.response)
    assert read_events(render_replay(response))[-1]["response"] == response


RESPONSES = [
    recording
    for recording in recordings("responses", "openai")
    if recording.status == 200 and not recording.streamed and orjson.loads(recording.body).get("status") == "completed"
]


@pytest.mark.parametrize("recording", RESPONSES, ids=lambda recording: recording.id)
def test_recorded_response_replays_as_the_client_accepts_it(recording):
    # Some were recorded before usage had all its members.
    drive_sdk(list(replay({**orjson.loads(recording.body), "usage": None})))


# Cut behind an event

FRAMES = render_replay(respond(ITEMS["text"], ITEMS["call"]))


@pytest.mark.parametrize("number", [-1, 0, 1, 5, 11, 12, 13, 10**18])
def test_stream_goes_on_behind_a_sequence_number(number):
    rest = after(FRAMES, number)
    assert FRAMES.endswith(rest)
    assert split_events(rest) == [event for event in split_events(FRAMES) if event.json()["sequence_number"] > number]


def test_number_inside_an_event_is_not_taken_for_its_own():
    inner = {"metadata": {"sequence_number": 7}, "text": '"sequence_number":9,'}
    frames = b"".join(
        encode("x", orjson.dumps(event))
        for event in (
            {"inner": inner, "type": "x", "sequence_number": 0},
            {"type": "x", "sequence_number": 1, "inner": inner},
        )
    )
    assert split_events(after(frames, 0))[0].json()["sequence_number"] == 1
    assert after(frames, 1) == b""


def test_what_has_no_number_goes_with_what_is_before_it():
    frames = b": hello\n\n" + encode("a", b'{"type":"a","sequence_number":0}') + b": there\n\ndata: x\n\ndata: [1]\n\n"
    last = encode("a", b'{"type":"a","sequence_number":1}') + b": bye\n\n"
    assert after(frames + last, -1) == (frames + last)[len(b": hello\n\n") :]
    assert after(frames + last, 0) == last
    assert after(frames + last, 1) == b""


@given(st.integers(-3, 40), st.integers(-3, 40))
def test_cutting_twice_is_cutting_behind_the_later(one, other):
    assert after(after(FRAMES, one), other) == after(FRAMES, max(one, other))


def test_items_are_checked():
    """The judge of these tests judges."""
    events = list(replay(respond(ITEMS["text"])))
    assert events[0]["response"]["id"] == RESPONSE_ID
    events[-2]["item"] = {**events[-2]["item"], "id": "other"}
    with pytest.raises(AssertionError):
        check_items(events)
