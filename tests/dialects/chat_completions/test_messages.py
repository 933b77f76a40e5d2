import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter

from proxy.dialects.chat_completions.messages import fetches, render_messages
from proxy.dialects.chat_completions.profile import Media
from proxy.dialects.chat_completions.response import parse_response
from proxy.dialects.items import File, Image, read_input
from proxy.dialects.reasoning import seal
from proxy.errors import BadRequest
from tests.dialects.chat_completions.recorded import WHOLE, content_of
from tests.dialects.chat_completions.recorded_requests import (
    DIALOGUES,
    responses_items,
    shows_images_in_tools,
    simplified,
)
from tests.dialects.oracle import context_of

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
    assert render(user(*[{"type": "input_text", "text": "x"}] * 2))[0]["content"] == "x\n\nx"


def test_instructions_that_follow_each_other_are_one_message():
    said = [{"role": role, "content": role} for role in ("system", "developer", "user", "user", "developer")]
    assert [(message["role"], message["content"]) for message in render(said, Media())] == [
        ("system", "system\n\ndeveloper"),
        ("user", "user"),
        ("user", "user"),
        ("system", "developer"),
    ]
    assert [message["role"] for message in render(said)] == ["system", "developer", "user", "user", "developer"]


def test_replies_of_one_turn_are_paragraphs():
    replies = [{"role": "assistant", "content": text} for text in ("Let me see.", "", "It is 42.")]
    assert render(replies) == [{"role": "assistant", "content": "Let me see.\n\nIt is 42."}]


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


def test_images_of_a_tool_are_within_its_message_where_they_can_be():
    image = {"type": "input_image", "image_url": "https://a.example/b.png"}
    turns = read_input([call("a"), output("a", [{"type": "input_text", "text": "See"}, image])], "p", "m").turns
    _, answered = render_messages(turns, ALL._replace(in_tools=True))
    assert [part["type"] for part in answered["content"]] == ["text", "image_url"]


def test_call_ids_are_those_the_provider_accepts():
    turns = read_input([call("a"), output("a", [{"type": "input_image", "image_url": "u"}])], "p", "m").turns
    called, answered, shown = render_messages(turns, ALL, lambda call_id: f"id-of-{call_id}")
    assert called["tool_calls"][0]["id"] == answered["tool_call_id"] == "id-of-a"
    assert "id-of-a" in shown["content"][0]["text"]


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


def test_document_without_its_type_is_told_by_its_name():
    part = {"type": "input_file", "filename": "a.pdf", "file_data": "AAAA"}
    assert render(user(part))[0]["content"][0]["file"]["file_data"] == "data:application/pdf;base64,AAAA"


def test_document_may_have_another_form():
    part = {"type": "input_file", "file_url": "https://a.example/b.pdf"}
    turns = read_input(user(part), "p", "m").turns
    (message,) = render_messages(turns, ALL._replace(document="document_url"))
    assert message["content"] == [{"type": "document_url", "document_url": "https://a.example/b.pdf"}]


def test_document_is_fetched_where_its_address_means_nothing():
    elsewhere, here = File(None, "https://a.example/b", None, None, "p"), File("AAAA", None, None, None, "p")
    assert [fetches(elsewhere, media) for media in (Media(), ALL)] == [True, False]
    assert not fetches(here, Media())
    assert not fetches(Image("https://a.example/b.png", None, None, "p"), Media())


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


def thought(state):
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal("primary", "large", state)}


def test_signed_thinking_returns_with_its_signature():
    (message,) = render_messages(read_input([thought({"signature": "s"}), *SAID], "primary", "large").turns, ALL)
    signed = {"type": "thinking", "thinking": [], "signature": "s"}
    assert message["content"] == [signed, {"type": "text", "text": "Hi"}]


SAID = [{"role": "assistant", "content": "Hi"}]


@pytest.mark.parametrize(
    "state", [3, [], "x", {"reasoning": 3}, {"reasoning_details": 3}, {"thinking": ["x"], "signature": {}}]
)
def test_state_a_client_made_up_is_nothing(state):
    (message,) = render_messages(read_input([thought(state), *SAID], "primary", "large").turns, ALL)
    assert message == {"role": "assistant", "content": "Hi"}


def answers(response):
    return [output(item["call_id"]) for item in response["output"] if item["type"] == "function_call"]


@pytest.mark.parametrize("recording", DIALOGUES, ids=lambda recording: recording.id)
def test_recorded_dialogue_is_what_its_responses_input_renders_to(recording):
    messages = recording.request["messages"]
    media = ALL._replace(in_tools=shows_images_in_tools(messages))
    rendered = render_messages(read_input(responses_items(messages), "primary", "large").turns, media)
    assert simplified(rendered) == simplified(messages)


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


@settings(max_examples=100)
@given(st.lists(TURN, max_size=6))
def test_every_legal_history_renders_to_calls_with_their_answers_right_behind(turns):
    messages = render([*user({"type": "input_text", "text": "Hi"}), *(item for turn in turns for item in turn)])
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
