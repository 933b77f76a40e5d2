import base64

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.bedrock_converse.families import Profile, profile_of
from proxy.dialects.bedrock_converse.messages import render_messages
from proxy.dialects.items import read_input
from proxy.dialects.reasoning import seal
from proxy.errors import BadRequest
from tests.dialects.bedrock_converse.service import check_request

OTHER = Profile()
CLAUDE = profile_of("anthropic.claude-sonnet-4-5-20250929-v1:0")
MISTRAL = profile_of("us.mistral.pixtral-large-2502-v1:0")
LLAMA = profile_of("us.meta.llama4-maverick-17b-instruct-v1:0")
FAMILIES = pytest.mark.parametrize("profile", [OTHER, CLAUDE, MISTRAL, LLAMA])

DATA = base64.b64encode(b"content").decode()
IMAGE = {"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"}
PDF = {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{DATA}"}
AUDIO = {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}
SEE = {"type": "input_text", "text": "See"}


def render(items, profile=OTHER, *, whole=False):
    """Render, hold the result to the service's model, and return the messages, or the system too."""
    rendered = render_messages(read_input(items, "primary", "large").turns, profile)
    system, messages = orjson.loads(orjson.dumps(rendered))
    check_request("Converse", {"messages": messages, "system": system})
    return (system, messages) if whole else messages


def user(*parts):
    return {"role": "user", "content": list(parts)}


def said(role, *texts):
    return {"role": role, "content": [{"text": text} for text in texts]}


def call(call_id, arguments='{"a":1}'):
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments}


def output(call_id, value="done"):
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def use(call_id):
    return {"toolUse": {"toolUseId": call_id, "name": "f", "input": {"a": 1}}}


def result(call_id, *content):
    return {"toolResult": {"toolUseId": call_id, "content": list(content or ({"text": "done"},))}}


def test_what_developers_say_is_the_system_in_its_order():
    items = [
        {"role": "system", "content": "a"},
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": [{"type": "input_text", "text": "b"}, {"type": "input_text", "text": " "}]},
    ]
    assert render(items, whole=True) == ([{"text": "a"}, {"text": "b"}], [said("user", "Hi")])


def test_system_alone_is_what_the_user_says():
    items = [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]
    assert render(items, whole=True) == ([{"text": "a"}], [said("user", "b")])


def test_one_side_says_one_message_at_a_time():
    items = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "d"}]},
    ]
    assert render(items) == [said("user", "a", "b"), said("assistant", "c", "d")]


def test_blank_text_is_left_out():
    items = [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": " \n"}]
    assert render(items) == [said("user", "a")]
    with pytest.raises(BadRequest) as refused:
        render([{"role": "user", "content": ""}])
    assert refused.value.param == "input"


def test_dialogue_begins_with_the_user_where_it_has_to():
    items = [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    assert render(items) == [said("user", "."), said("assistant", "a"), said("user", "b")]
    assert render(items, CLAUDE) == [said("assistant", "a"), said("user", "b")]


def test_answer_begun_for_the_model_has_no_blanks_behind():
    items = [{"role": "user", "content": "a \n"}, {"role": "assistant", "content": "b \n"}]
    assert render(items) == [said("user", "a \n"), said("assistant", "b")]


def test_calls_are_answered_in_the_next_message():
    items = [{"role": "user", "content": "Hi"}, call("a"), call("b"), output("b", "B"), output("a", "A")]
    assert render(items) == [
        said("user", "Hi"),
        {"role": "assistant", "content": [use("a"), use("b")]},
        {"role": "user", "content": [result("a", {"text": "A"}), result("b", {"text": "B"})]},
    ]


@pytest.mark.parametrize(
    ("arguments", "rendered"),
    [
        ("", {}),
        ("{}", {}),
        ('{"a": [1.5, null]}', {"a": [1.5, None]}),
        ('{"a": "lo', {"arguments": '{"a": "lo'}),
        ("[1]", {"arguments": "[1]"}),
    ],
)
def test_arguments_are_an_object(arguments, rendered):
    items = [{"role": "user", "content": "Hi"}, call("a", arguments), output("a")]
    assert render(items)[1]["content"][0]["toolUse"]["input"] == rendered


@pytest.mark.parametrize(
    "arguments", ['{"n": 123456789012345678901234567890.10}', '{"a":' + "[" * 600 + "]" * 600 + "}"]
)
def test_arguments_are_sent_to_the_letter(arguments):
    turns = read_input([call("a", arguments), output("a")], "primary", "large").turns
    assert arguments.encode() in orjson.dumps(render_messages(turns, OTHER))


@pytest.mark.parametrize("empty", ["", [], [{"type": "input_text", "text": " "}]])
def test_call_that_returned_nothing_says_so(empty):
    assert render([call("a"), output("a", empty)])[2]["content"] == [result("a", {"text": "(no output)"})]


@FAMILIES
@pytest.mark.parametrize("call_id", ["call_1", "getphoto1", "functions.f:0", "with space", "", "x" * 65, "ü"])
def test_ids_are_legal_and_the_same_for_call_and_output(profile, call_id):
    *_, called, answered = render([call(call_id), output(call_id)], profile)
    own = called["content"][0]["toolUse"]["toolUseId"]
    assert answered["content"][0]["toolResult"]["toolUseId"] == own
    if profile.short_ids:
        assert (len(own), own.isalnum()) == (9, True)


def test_legal_ids_stay():
    kept = ["call_1", "tooluse_a-B", "functions.f:0"]
    assert [render([call(one), output(one)])[1]["content"][0]["toolUse"]["toolUseId"] for one in kept] == kept
    assert render([call("getphoto1"), output("getphoto1")], MISTRAL)[1]["content"][0] == use("getphoto1")


PICTURE = {"image": {"format": "png", "source": {"bytes": DATA}}}
PAPER = {"document": {"format": "pdf", "name": "Document 1", "source": {"bytes": DATA}}}
SHOWN = {"text": "This is what the tool call a returned beside text:"}
BELOW = {"text": "What this call returned is shown below."}
FILLER = said("assistant", ".")


@pytest.mark.parametrize(
    ("profile", "parts", "behind"),
    [
        (CLAUDE, [SEE, IMAGE, PDF], [{"role": "user", "content": [result("a", {"text": "See"}, PICTURE, PAPER)]}]),
        (OTHER, [IMAGE], [{"role": "user", "content": [result("a", PICTURE)]}]),
        (OTHER, [SEE, PDF], [{"role": "user", "content": [result("a", {"text": "See"}), SHOWN, PAPER]}]),
        (OTHER, [PDF], [{"role": "user", "content": [result("a", BELOW), SHOWN, PAPER]}]),
        (LLAMA, [PDF], [{"role": "user", "content": [result("a", PAPER)]}]),
        (
            MISTRAL,
            [SEE, IMAGE],
            [
                {"role": "user", "content": [result("a", {"text": "See"})]},
                FILLER,
                {"role": "user", "content": [SHOWN, PICTURE]},
            ],
        ),
    ],
)
def test_what_a_tool_returned_is_where_the_model_takes_it(profile, parts, behind):
    rendered = render([{"role": "user", "content": "Hi"}, call("a"), output("a", parts)], profile)
    for message in rendered[2:]:
        for block in message["content"]:
            if "toolResult" in block:
                block["toolResult"]["toolUseId"] = "a"
    assert rendered[2:] == behind


@pytest.mark.parametrize(
    ("profile", "part", "apart"),
    [
        (OTHER, PDF, False),
        (CLAUDE, SEE, False),
        (CLAUDE, IMAGE, False),
        (CLAUDE, PDF, True),
        (LLAMA, SEE, True),
        (MISTRAL, SEE, True),
    ],
)
def test_what_must_not_stand_beside_results_stands_apart(profile, part, apart):
    items = [{"role": "user", "content": "Hi"}, call("a"), output("a"), user(part)]
    roles = [message["role"] for message in render(items, profile)]
    assert roles == ["user", "assistant", "user", *(["assistant", "user"] if apart else [])]


def test_documents_have_text_beside_them():
    assert render([user(PDF)]) == [{"role": "user", "content": [{"text": "See the attached documents."}, PAPER]}]
    assert render([user(PDF, SEE)]) == [{"role": "user", "content": [PAPER, {"text": "See"}]}]


def test_images_and_sound_stand_in_their_place():
    blocks = render([user(SEE, IMAGE, AUDIO)])[0]["content"]
    assert [next(iter(block)) for block in blocks] == ["text", "image", "audio"]


@pytest.mark.parametrize(("role", "part"), [("developer", IMAGE), ("assistant", PDF), ("assistant", AUDIO)])
def test_only_users_show_images_and_documents(role, part):
    with pytest.raises(BadRequest) as refused:
        render([{"role": role, "content": [part]}])
    assert refused.value.param.startswith("input")


def reasoning(state, provider="primary"):
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal(provider, "large", state)}


SIGNED = {"text": "Hm.", "signature": "sig"}


def test_own_reasoning_returns_as_it_was():
    items = [
        {"role": "user", "content": "Hi"},
        reasoning(SIGNED),
        reasoning({"redacted": "AA=="}),
        call("a"),
        output("a"),
    ]
    assert render(items)[1]["content"] == [
        {"reasoningContent": {"reasoningText": SIGNED}},
        {"reasoningContent": {"redactedContent": "AA=="}},
        use("a"),
    ]


@pytest.mark.parametrize(
    "item",
    [
        reasoning(SIGNED, "another"),
        reasoning({"text": "Hm."}),
        reasoning({"text": 1, "signature": []}),
        reasoning([1]),
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
    ],
)
def test_reasoning_of_others_is_not_sent(item):
    assert render([{"role": "user", "content": "Hi"}, item, call("a"), output("a")])[1]["content"] == [use("a")]


CALL_IDS = st.sampled_from(["a", "call_b", "with space"])
PARTS = st.lists(st.sampled_from([SEE, IMAGE, PDF, {"type": "input_text", "text": ""}]), max_size=3)
TURN = st.one_of(
    PARTS.map(lambda parts: [user(*parts)]),
    st.sampled_from(["user", "developer", "assistant"]).map(lambda role: [{"role": role, "content": role}]),
    st.tuples(st.lists(CALL_IDS, min_size=1, max_size=3, unique=True), PARTS).flatmap(
        lambda made: st.permutations(made[0]).map(
            lambda order: [*map(call, made[0]), *(output(call_id, made[1]) for call_id in order)]
        )
    ),
    st.just([{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "foreign"}]),
    st.just([reasoning(SIGNED)]),
)


@FAMILIES
@settings(max_examples=25)
@given(st.lists(TURN, max_size=6))
def test_every_legal_history_renders_to_calls_with_their_answers_right_behind(profile, turns):
    items = [{"role": "user", "content": "Hi"}, *(item for turn in turns for item in turn)]
    messages = render(items, profile)
    assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"] * (
        len(messages) % 2
    )
    waiting: list[str] = []
    for message in messages:
        answered = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        assert answered == waiting
        waiting = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        if answered:
            others = {next(iter(block)) for block in message["content"]} - {"toolResult"}
            assert others <= profile.beside_results
    assert not waiting
    names = [block["document"]["name"] for message in messages for block in message["content"] if "document" in block]
    assert len(set(names)) == len(names)
