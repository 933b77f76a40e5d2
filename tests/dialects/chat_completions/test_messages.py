import base64
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter

from proxy.dialects.chat_completions.messages import Media, render_messages
from proxy.dialects.chat_completions.response import parse_response
from proxy.dialects.items import read_input
from proxy.errors import BadRequest
from tests.dialects.chat_completions.recorded import WHOLE, content_of
from tests.dialects.oracle import context_of
from tests.rig.replay import recordings

ALL = Media(developer=True, audio=True, files=True, file_urls=True)
FIELDS = ("reasoning", "reasoning_content", "reasoning_details")
MESSAGE = TypeAdapter(ChatCompletionMessageParam)


def render(items, media=ALL):
    messages = render_messages(read_input(items, "primary", "large").turns, media)
    for message in messages:
        MESSAGE.validate_python(message)
    return messages


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def call(call_id):
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": '{"a":1}'}


def output(call_id, value="done"):
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def called(*call_ids):
    function = {"name": "f", "arguments": '{"a":1}'}
    calls = [{"id": call_id, "type": "function", "function": function} for call_id in call_ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def test_developer_is_system_where_the_provider_lacks_it():
    items = [{"role": "developer", "content": "x"}]
    assert [render(items, media)[0]["role"] for media in (ALL, Media())] == ["developer", "system"]


def test_text_alone_is_a_string():
    assert render(user({"type": "input_text", "text": "x"}))[0]["content"] == "x"
    two = [{"type": "text", "text": "x"}] * 2
    assert render(user(*[{"type": "input_text", "text": "x"}] * 2))[0]["content"] == two


def test_calls_of_one_turn_share_a_message_and_are_answered_behind_it():
    items = [{"role": "assistant", "content": "Wait."}, call("a"), call("b"), output("b", "B"), output("a", "A")]
    assert render(items) == [
        {**called("a", "b"), "content": "Wait."},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "tool", "tool_call_id": "b", "content": "B"},
    ]


def test_call_without_arguments_has_an_empty_object():
    (message, _) = render([{**call("a"), "arguments": ""}, output("a")])
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


def test_images_of_a_tool_are_shown_behind_all_of_its_turn():
    image = {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "low"}
    messages = render([call("a"), call("b"), output("a", [{"type": "input_text", "text": "See"}, image]), output("b")])
    assert [message["role"] for message in messages] == ["assistant", "tool", "tool", "user"]
    assert messages[1]["content"] == "See"
    shown = messages[3]["content"][1]
    assert shown == {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}}


@pytest.mark.parametrize(
    "source", [{"file_data": "data:application/pdf;base64,AA=="}, {"file_url": "https://a.example/b"}]
)
def test_documents_go_where_they_can(source):
    part = {"type": "input_file", "filename": "a.pdf", **source}
    (rendered,) = render(user(part))[0]["content"]
    assert rendered == {"type": "file", "file": {"filename": "a.pdf", "file_data": next(iter(source.values()))}}
    with pytest.raises(BadRequest) as refused:
        render(user(part), Media())
    assert refused.value.param == "input[0].content[0]"


def test_document_of_text_is_text_everywhere():
    data = "data:text/plain;base64," + base64.b64encode("Grüße".encode()).decode()
    part = {"type": "input_file", "filename": "a.txt", "file_data": data}
    assert render(user(part), Media())[0]["content"] == [{"type": "text", "text": "a.txt:\nGrüße"}]


def test_document_that_is_no_text_after_all_is_a_document():
    part = {"type": "input_file", "file_data": "data:text/plain;base64,/w=="}
    assert render(user(part))[0]["content"][0]["type"] == "file"


def test_audio_goes_where_it_can():
    part = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
    assert render(user(part))[0]["content"] == [part]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "input_image", "image_url": "u"}, "input[0].content[0]"),
        ({"type": "input_image", "file_id": "f"}, "input[0].content[0].file_id"),
        ({"type": "input_file", "file_id": "f"}, "input[0].content[0].file_id"),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, "input"),
    ],
)
def test_content_without_a_place_is_refused(part, param):
    with pytest.raises(BadRequest) as refused:
        render(user(part), Media(images=False))
    assert refused.value.param == param


REASONED = [
    recording for recording in WHOLE if content_of(recording).reasoning and content_of(recording).finish != "length"
]


@pytest.mark.parametrize("recording", REASONED, ids=lambda recording: recording.id)
def test_recorded_reasoning_returns_to_the_upstream_it_came_from(recording):
    response = parse_response(recording.body, context_of())
    history = [*response["output"], *answers(response)]
    (own,) = [choice["message"] for choice in json.loads(recording.body)["choices"][:1]]
    assistant = render(history)[0]
    fields = [name for name in ("reasoning_details", "reasoning", "reasoning_content") if own.get(name)]
    for field in fields[:1] or ["content"]:
        assert assistant[field] == own[field]
    elsewhere = read_input(history, "another", "large")
    assert elsewhere.dropped == ("input.reasoning.encrypted_content",)
    assert not set(FIELDS) & set(render_messages(elsewhere.turns, ALL)[0])


def answers(response):
    return [output(item["call_id"]) for item in response["output"] if item["type"] == "function_call"]


def responses_items(messages):
    """Write a recorded request's messages as the Responses input they would have come from."""
    items = []
    for message in messages:
        content = message.get("content")
        if message["role"] == "tool":
            items.append(
                output(message["tool_call_id"], content if isinstance(content, str) else responses_parts(content))
            )
            continue
        if content or message["role"] != "assistant":
            items.append({"role": message["role"], "content": responses_parts(content)})
        calls = message.get("tool_calls") or []
        items.extend({"type": "function_call", "call_id": made["id"], **made["function"]} for made in calls)
    return items


def responses_parts(content):
    if not isinstance(content, list):
        return content or ""
    return [responses_part(part) for part in content]


def responses_part(part):
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    if part["type"] == "image_url":
        return {"type": "input_image", "image_url": part["image_url"]["url"]} | {
            name: part["image_url"][name] for name in ("detail",) if name in part["image_url"]
        }
    if part["type"] == "file":
        return {"type": "input_file", **part["file"]}
    return part


def simplified(messages):
    """Remove what says the same in two ways, and what belongs to no dialogue."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, list) and all(part["type"] == "text" for part in content):
            joint = "" if message["role"] == "assistant" else "\n"
            content = joint.join(part["text"] for part in content)
        if isinstance(content, list):
            content = [
                {name: part[name] for name in part if name != "cache_control" and part[name] is not None}
                for part in content
            ]
        calls = [
            {"id": made["id"], "name": made["function"]["name"], "arguments": made["function"]["arguments"] or "{}"}
            for made in message.get("tool_calls") or []
        ]
        yield {"role": message["role"], "content": content or None, "calls": calls, "id": message.get("tool_call_id")}


def equivalent(recording):
    """Tell whether the recorded dialogue is one the Responses API can have."""
    messages = (recording.request or {}).get("messages")
    if recording.status != 200 or not isinstance(messages, list) or not messages:
        return False
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    pairs = itertools.pairwise(messages)
    return (
        {part["type"] for part in parts} <= {"text", "image_url", "file", "input_audio"}
        and not any(part.get("file", {}).get("file_id") for part in parts)
        and not any(isinstance(part.get("input_audio"), str) or "prompt_cache_breakpoint" in part for part in parts)
        and not any(message["role"] == "tool" and "image_url" in str(message["content"]) for message in messages)
        and not any({one["role"], other["role"]} == {"assistant"} for one, other in pairs)
        and all(message["role"] in {"system", "developer", "user", "assistant", "tool"} for message in messages)
    )


DIALOGUES = [recording for recording in recordings(api="chat.completions") if equivalent(recording)]


@pytest.mark.parametrize("recording", DIALOGUES, ids=lambda recording: recording.id)
def test_recorded_dialogue_is_what_its_responses_input_renders_to(recording):
    messages = recording.request["messages"]
    assert list(simplified(render(responses_items(messages)))) == list(simplified(messages))


CALL_IDS = st.sampled_from(["a", "b", "c"])
TURN = st.one_of(
    st.sampled_from(["user", "developer", "system", "assistant"]).map(lambda role: [{"role": role, "content": role}]),
    st.lists(CALL_IDS, min_size=1, max_size=3, unique=True).flatmap(
        lambda ids: st.permutations(ids).map(lambda order: [*map(call, ids), *map(output, order)])
    ),
    st.lists(CALL_IDS, min_size=1, max_size=3, unique=True).map(
        lambda ids: [item for call_id in ids for item in (call(call_id), output(call_id))]
    ),
    st.just([{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "foreign"}]),
)


@settings(deadline=None, max_examples=100)
@given(st.lists(TURN, max_size=6))
def test_every_legal_history_renders_to_calls_with_their_answers_right_behind(turns):
    messages = render([item for turn in turns for item in turn])
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
            continue
        assert not waiting
        waiting = [made["id"] for made in message.get("tool_calls", [])]
    assert not waiting
    assert sum(message["role"] == "tool" for message in messages) == sum(
        item.get("type") == "function_call" for turn in turns for item in turn
    )
