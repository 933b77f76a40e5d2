import base64
import itertools

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.cohere_chat.messages import fetches, render_messages
from proxy.dialects.items import File, Image, read_input
from proxy.dialects.reasoning import seal
from proxy.errors import BadRequest
from tests.dialects.cohere_chat.official import check

PIXEL = "data:image/png;base64,AAEC"
IMAGE = {"type": "input_image", "image_url": PIXEL}
NOTES = {"type": "input_file", "filename": "notes.txt", "file_data": "data:text/plain;base64,w6k="}
PDF = {"type": "input_file", "filename": "a.pdf", "file_data": base64.b64encode(b"%PDF-1.7").decode()}


def render(items):
    messages = render_messages(read_input(items, "primary", "large").turns)
    check({"model": "large", "messages": messages})
    return messages


def say(text):
    return {"type": "input_text", "text": text}


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def call(call_id, arguments='{"a":1}'):
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}


def output(call_id, value="done"):
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def thought(state, provider="primary", model="large"):
    summary = [{"type": "summary_text", "text": "…"}]
    return {"type": "reasoning", "summary": summary, "encrypted_content": seal(provider, model, state)}


def called(*call_ids):
    function = {"name": "f", "arguments": '{"a":1}'}
    return [{"id": call_id, "type": "function", "function": function} for call_id in call_ids]


def refused(items):
    with pytest.raises(BadRequest) as raised:
        render(items)
    return raised.value.param


def test_roles_are_those_there_are():
    items = [{"role": role, "content": role} for role in ("system", "developer", "user", "assistant")]
    assert [message["role"] for message in render(items)] == ["system", "system", "user", "assistant"]


def test_text_alone_is_a_string():
    assert render(user(say("x")))[0]["content"] == "x"
    assert render(user(say("x"), say("y")))[0]["content"] == [
        {"type": "text", "text": "x"},
        {"type": "text", "text": "y"},
    ]
    assert render([{"role": "developer", "content": [say("x"), say("y")]}])[0]["content"] == "x\ny"


def test_history_as_clients_resend_it():
    items = [
        {"type": "message", "role": "user", "content": [say("What is it?")]},
        {"id": "rs_1", "status": "completed", **thought({"thinking": "Hm."})},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "It is ", "annotations": []},
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {"id": "fc_1", "status": "completed", **call("a")},
        {"id": "fco_1", "status": "completed", **output("a")},
    ]
    assert render(items) == [
        {"role": "user", "content": "What is it?"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "It is no"}],
            "tool_calls": called("a"),
        },
        {"role": "tool", "tool_call_id": "a", "content": "done"},
    ]


def test_plan_returns_to_the_message_it_came_from():
    items = [*user(say("x")), thought({"tool_plan": "I will look."}), call("a"), output("a")]
    assert render(items)[1] == {"role": "assistant", "tool_plan": "I will look.", "tool_calls": called("a")}


@pytest.mark.parametrize(
    "reasoning",
    [
        thought({"thinking": "x"}, provider="other"),
        thought({"thinking": "x"}, model="small"),
        thought(["x"]),
        thought({"thinking": ""}),
        thought({"signature": "x"}),
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}]},
    ],
)
def test_reasoning_from_elsewhere_is_not_sent(reasoning):
    items = [*user(say("x")), reasoning, {"role": "assistant", "content": "y"}]
    assert render(items)[1] == {"role": "assistant", "content": "y"}


@pytest.mark.parametrize("state", [{"thinking": "y"}, {"tool_plan": "y"}, {"thinking": 3}])
@pytest.mark.parametrize("text", [[], [{"role": "assistant", "content": ""}]])
def test_reasoning_without_an_act_is_nothing(state, text):
    assert len(render([*user(say("x")), thought(state), *text])) == 1
    assert len(render([*user(say("x")), thought(state), *text, call("a"), output("a")])) == 3


def test_reasoning_and_text_keep_their_order():
    items = [thought({"thinking": "a"}), {"role": "assistant", "content": "b"}, thought({"thinking": "c"}), call("x")]
    message, _ = render([*items, output("x")])
    assert [part["type"] for part in message["content"]] == ["thinking", "text", "thinking"]


def test_calls_of_one_turn_share_a_message_and_are_answered_behind_it():
    items = [{"role": "assistant", "content": "Wait."}, call("a"), call("b"), output("b", "B"), output("a", "A")]
    assert render(items) == [
        {"role": "assistant", "content": "Wait.", "tool_calls": called("a", "b")},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "tool", "tool_call_id": "b", "content": "B"},
    ]


def test_call_without_arguments_has_an_empty_object():
    assert render([call("a", ""), output("a")])[0]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_custom_call_is_one_of_its_function():
    item = {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": "x"}
    returned = {"type": "custom_tool_call_output", "call_id": "a", "output": "y"}
    message, answered = render([item, returned])
    assert message["tool_calls"][0]["function"] == {"name": "patch", "arguments": '{"input":"x"}'}
    assert answered["content"] == "y"


@pytest.mark.parametrize(
    ("image", "url"),
    [
        ({"image_url": PIXEL}, {"url": PIXEL}),
        ({"image_url": "data:image/PNG;base64,AA\nEC"}, {"url": PIXEL}),
        ({"image_url": "data:image/png,%00%01%02"}, {"url": PIXEL}),
        ({"image_url": "https://a.example/b.png"}, {"url": "https://a.example/b.png"}),
        ({"image_url": PIXEL, "detail": "low"}, {"url": PIXEL, "detail": "low"}),
        ({"image_url": PIXEL, "detail": "original"}, {"url": PIXEL}),
    ],
)
def test_images_are_sent_or_named(image, url):
    content = render(user(say("x"), {"type": "input_image", **image}))[0]["content"]
    assert content == [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": url}]


def test_documents_are_text_in_their_place():
    content = render(user(say("Before."), NOTES, {**NOTES, "filename": None}, say("After.")))[0]["content"]
    assert [part["text"] for part in content] == ["Before.", "notes.txt:\né", "é", "After."]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (PDF, "input[0].content[0]"),
        ({"type": "input_file", "file_url": "https://a.example/b.txt"}, "input[0].content[0]"),
        ({"type": "input_file", "file_data": "data:text/plain;base64,/w=="}, "input[0].content[0]"),
        ({"type": "input_file", "file_data": "?"}, "input[0].content[0].file_data"),
        ({"type": "input_file", "file_id": "file_1"}, "input[0].content[0].file_id"),
        ({"type": "input_image", "file_id": "file_1"}, "input[0].content[0].file_id"),
        ({"type": "input_image", "image_url": "data:image/png;base64,?"}, "input[0].content[0].image_url"),
        ({"type": "input_audio", "input_audio": {"data": "AAEC", "format": "wav"}}, "input"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_field(part, param):
    assert refused(user(part)) == param


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_images_have_a_place_with_the_user_only(role):
    assert refused([{"role": role, "content": [say("x"), IMAGE]}]) == "input[0].content[1]"


def test_documents_have_a_place_in_instructions_too():
    for role in ("system", "developer"):
        assert render([{"role": role, "content": [NOTES]}])[0]["content"] == "notes.txt:\né"


def test_outputs_are_text_or_documents():
    parts = [say("See"), NOTES, {**NOTES, "filename": None}]
    assert render([call("a"), output("a", parts)])[1]["content"] == [
        {"type": "text", "text": "See"},
        {"type": "document", "document": {"data": {"text": "é", "title": "notes.txt"}}},
        {"type": "document", "document": {"data": {"text": "é"}}},
    ]
    assert render([call("a"), output("a", [say("x"), say("y")])])[1]["content"] == "x\ny"
    assert render([call("a"), output("a", [])])[1]["content"] == ""
    assert refused([call("a"), output("a", [PDF])]) == "input[1].output[0]"


def test_images_of_a_tool_are_shown_behind_all_of_its_turn():
    messages = render([call("a"), call("b"), output("a", [say("See"), IMAGE]), output("b", [IMAGE])])
    assert [message["role"] for message in messages] == ["assistant", "tool", "tool", "user", "user"]
    assert [message["content"] for message in messages[1:3]] == ["See", "What this call returned is shown below."]
    note, shown = messages[3]["content"]
    assert (note["text"], shown["type"]) == ("This is what the tool call a returned beside text:", "image_url")


def test_only_remote_documents_are_fetched():
    assert fetches(File(None, "https://a.example/b.txt", None, None, "p"))
    assert not fetches(File("x", None, None, None, "p"))
    assert not fetches(File(None, None, "file_1", None, "p"))
    assert not fetches(Image("https://a.example/b.png", None, None, "p"))


TEXT = st.text(max_size=6)
PARTS = st.lists(TEXT.map(say) | st.sampled_from([IMAGE, NOTES]), max_size=3)
PLAIN = st.lists(TEXT.map(say) | st.just(NOTES), max_size=3)
STATES = st.fixed_dictionaries({}, optional={"thinking": TEXT, "tool_plan": TEXT})


@st.composite
def histories(draw):
    """Generate histories as clients resend them: some calls have not been answered yet."""
    ids, items = itertools.count(), []
    for _ in range(draw(st.integers(1, 4))):
        role = draw(st.sampled_from(["user", "developer", "system"]))
        items.append({"role": role, "content": draw(PARTS if role == "user" else PLAIN)})
        if draw(st.booleans()):
            items.append(thought(draw(STATES), provider=draw(st.sampled_from(["primary", "other"]))))
        if draw(st.booleans()):
            items.append({"role": "assistant", "content": draw(TEXT)})
        calls = [
            call(f"c{next(ids)}", draw(st.sampled_from(["", "{}", '{"a":1}']))) for _ in range(draw(st.integers(0, 3)))
        ]
        outputs = [output(one["call_id"], draw(TEXT | PARTS)) for one in calls]
        items += [*calls, *draw(st.permutations(outputs))]
    return items


@settings(max_examples=50)
@given(histories())
def test_any_history_renders_to_what_the_official_types_know(items):
    messages = render(items)
    calls = [one["id"] for message in messages for one in message.get("tool_calls", ())]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert calls == [item["call_id"] for item in items if item.get("type") == "function_call"]
    assert sorted(answered) == sorted(item["call_id"] for item in items if item.get("type") == "function_call_output")
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            asked = next(one for one in reversed(messages[:at]) if one["role"] == "assistant")
            assert message["tool_call_id"] in [one["id"] for one in asked["tool_calls"]]
            assert messages[at - 1]["role"] in ("assistant", "tool")
    assert orjson.dumps(messages)
