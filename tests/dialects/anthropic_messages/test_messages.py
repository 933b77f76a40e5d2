from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.anthropic_messages.messages import is_thoughtless_loop
from proxy.dialects.anthropic_messages.request import render_request
from proxy.errors import BadRequest
from tests.dialects.anthropic_messages.official import check_request
from tests.dialects.anthropic_messages.rendering import (
    ANTHROPIC,
    LATEST,
    NEW,
    OLD,
    call,
    carried,
    create,
    kinds,
    messages,
    output,
    render,
    said,
    text,
    thought,
    user,
)

USE = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
SEARCH = [{"type": "web_search"}]


def refused(*items, **body):
    with pytest.raises(BadRequest) as raised:
        messages(*items, **body)
    return raised.value


# The system prompt


def test_leading_instructions_are_the_system_prompt():
    body, _ = render(input=[said("B", "developer"), said("C", "system"), user()], instructions="A")
    assert body["system"] == [text("A"), text("B"), text("C")]
    assert body["messages"] == [{"role": "user", "content": [text("Go.")]}]


def test_instructions_alone_are_what_there_is_to_answer():
    body, _ = render(input=[said("Say hi.", "developer")], instructions="Be brief.")
    assert body["system"] == [text("Be brief.")]
    assert body["messages"] == [{"role": "user", "content": [text("Say hi.")]}]


@pytest.mark.parametrize(
    ("items", "roles"),
    [
        ((user(), said("S", "system")), ["user", "system"]),
        ((user(), said("S", "system"), user("More.")), ["user", "system"]),
        ((user(), said("Hi"), user(), said("S", "developer")), ["user", "assistant", "user", "system"]),
        ((user(), said("Hi"), said("S", "system"), user()), ["user", "assistant", "user", "system"]),
        ((user(), call(), output(), said("S", "system")), ["user", "assistant", "user", "system"]),
        ((user(), said("S", "system"), said("Hi"), user()), ["user", "system", "assistant", "user"]),
    ],
)  # fmt: skip
def test_later_instructions_stand_behind_the_user_where_the_model_takes_them(items, roles):
    assert [message["role"] for message in messages(*items, model=NEW)] == roles


def test_later_instructions_that_follow_each_other_are_one_message():
    told = messages(user(), said("S", "system"), said("T", "developer"), model=NEW)
    assert told[-1] == {"role": "system", "content": [text("S"), text("T")]}


def test_later_instructions_are_told_the_user_s_way_otherwise():
    told = messages(user(), said("S", "system"))
    assert told == [{"role": "user", "content": [text("Go."), text("<system-reminder>\nS\n</system-reminder>")]}]
    # A system message has no place behind the model's.
    told = messages(user(), said("Hi"), said("S", "system"), model=NEW)
    assert [message["role"] for message in told] == ["user", "assistant", "user"]


@pytest.mark.parametrize("model", [OLD, NEW])
@pytest.mark.parametrize("leading", [True, False])
def test_system_message_holds_text_only(leading, model):
    image = {"type": "input_image", "image_url": "https://a.example/b.png"}
    items = [said([image], "system"), user()] if leading else [user(), said([image], "system")]
    assert refused(*items, model=model).param == f"input[{0 if leading else 1}].content[0]"


# Turns


def test_messages_of_one_role_are_one_and_blank_texts_are_none():
    told = messages(user("A"), user([{"type": "input_text", "text": " \n"}]), user("B"), said(""), user("C"))
    assert told == [{"role": "user", "content": [text("A"), text("B"), text("C")]}]


def test_calls_and_results_stand_together():
    told = messages(
        user(), said("I look."), call("c1"), call("c2"), output("c2", "two"), output("c1", "one"), user("Well?")
    )
    assert [message["role"] for message in told] == ["user", "assistant", "user"]
    assert kinds(told[1]) == ["text", "tool_use", "tool_use"]
    results = [(block["tool_use_id"], block["content"]) for block in told[2]["content"][:2]]
    assert results == [("c1", "one"), ("c2", "two")]
    assert told[2]["content"][2] == text("Well?")


def test_call_without_its_output_is_refused():
    assert "c1" in refused(user(), call("c1"), user()).message
    assert refused(user(), call("c1"), call("c2"), output("c2")).param == "input"


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ('{"a": 1.0}', {"a": 1.0}),
        ("", {}),
        ("null", {}),
        ("[1]", {"arguments": "[1]"}),
        ('{"a": "lo', {"arguments": '{"a": "lo'}),
    ],
)
def test_input_of_a_tool_is_an_object(arguments, given):
    assert messages(user(), call(arguments=arguments), output())[1]["content"][0]["input"] == given


def test_arguments_return_to_the_letter():
    written = '{"n":12345678901234567890123, "n":1.50, "deep":' + "[" * 300 + "]" * 300 + "}"
    rendered = render_request(create(input=[user(), call(arguments=written), output()]), ANTHROPIC)
    assert written.encode() in rendered.body


@pytest.mark.parametrize(
    ("given", "kept"), [("call_1", True), ("toolu_01-x", True), ("fc|1", False), ("", False), ("x" * 200, False)]
)
def test_call_ids_are_kept_where_the_format_allows_them(given, kept):
    told = messages(user(), call(given), output(given))
    own = told[1]["content"][0]["id"]
    assert own == told[2]["content"][0]["tool_use_id"]
    assert (own == given) is kept
    assert own.replace("_", "").replace("-", "").isalnum()
    assert len(own) <= 128


def test_call_ids_that_come_again_are_told_apart():
    told = messages(user(), call("c"), call("c"), output("c", "1"), output("c", "2"), call("c"), output("c", "3"))
    uses = [block["id"] for message in told for block in message["content"] if block["type"] == "tool_use"]
    results = [
        (block["tool_use_id"], block["content"])
        for message in told
        for block in message["content"]
        if block["type"] == "tool_result"
    ]
    assert uses == ["c", "c_2", "c_3"]
    assert results == [("c", "1"), ("c_2", "2"), ("c_3", "3")]


def test_result_may_be_nothing_text_images_and_documents():
    image = {"type": "input_image", "image_url": "data:image/png;base64,aaaa"}
    file = {"type": "input_file", "file_data": "data:application/pdf;base64,aaaa", "filename": "a.pdf"}
    parts = [{"type": "input_text", "text": "See:"}, image, file]
    told = messages(user(), call("a"), call("b"), output("a", ""), output("b", parts))
    empty, full = told[2]["content"]
    assert empty == {"type": "tool_result", "tool_use_id": "a"}
    assert kinds(full) == ["text", "image", "document"]


def test_refusal_of_the_model_is_its_text():
    told = messages(user(), said([{"type": "refusal", "refusal": "No."}]), user())
    assert told[1]["content"] == [text("No.")]


# What is carried


def test_thoughts_return_where_they_stood():
    told = messages(user(), thought("a"), said("I look."), call(), output(), thought("b"), call("c2"), output("c2"))
    assert [kinds(message) for message in told] == [
        ["text"],
        ["thinking", "text", "tool_use"],
        ["tool_result"],
        ["thinking", "tool_use"],
        ["tool_result"],
    ]
    assert [told[at]["content"][0]["signature"] for at in (1, 3)] == ["a", "b"]


@pytest.mark.parametrize("items", [[thought(model="another")], [thought()], [said("Hi"), thought()]])
def test_thought_of_another_model_or_without_a_sequel_is_left_out(items):
    told = messages(user(), *items, user())
    assert "thinking" not in [kind for message in told for kind in kinds(message)]


def test_thoughts_are_left_out_where_there_are_to_be_none():
    assert kinds(messages(user(), thought(), said("Hi"), user(), reasoning={"effort": "none"})[1]) == ["text"]


def test_tools_of_the_provider_return_with_the_tool():
    history = [user(), carried(USE, FOUND), said("So."), user()]
    assert kinds(messages(*history, tools=SEARCH)[1]) == ["server_tool_use", "web_search_tool_result", "text"]
    assert kinds(messages(*history)[1]) == ["text"]


@pytest.mark.parametrize(
    ("items", "returned"),
    [
        ([carried(USE)], ["server_tool_use"]),
        ([carried(USE), call(), output()], ["server_tool_use", "tool_use"]),
        ([carried(USE), call(), output(), user()], ["server_tool_use", "tool_use"]),
        ([carried(USE), call(), output(), said("So."), user()], ["tool_use"]),
        ([carried(USE), said("So."), user()], ["text"]),
        ([carried(FOUND), said("So."), user()], ["text"]),
        ([carried(USE, FOUND, FOUND), said("So."), user()], ["server_tool_use", "web_search_tool_result", "text"]),
        ([carried({**FOUND, "tool_use_id": ["s1"]}), said("So."), user()], ["text"]),
    ],
)
def test_use_and_result_return_both_or_none_unless_the_use_is_pending(items, returned):
    assert kinds(messages(user(), *items, tools=SEARCH)[1]) == returned


def test_late_result_returns_behind_its_use():
    told = messages(user(), carried(USE), call(), output(), carried(FOUND), said("So."), user(), tools=SEARCH)
    assert kinds(told[3]) == ["web_search_tool_result", "text"]


# The end


def test_message_of_the_model_that_comes_last_is_gone_on_with():
    assert messages(user(), said("{ \n"))[-1] == {"role": "assistant", "content": [text("{")]}


@pytest.mark.parametrize(
    "asked",
    [
        {"model": NEW},
        {"reasoning": {"effort": "high"}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}},
    ],
)
def test_it_is_answered_where_it_cannot_be_gone_on_with(asked):
    assert messages(user(), said("{"), **asked)[-1] == {"role": "user", "content": [text("Continue.")]}


def test_paused_use_is_gone_on_with():
    assert messages(user(), carried(USE), model=OLD, tools=SEARCH)[-1]["role"] == "assistant"
    pending = carried(USE, model=LATEST)
    assert messages(user(), pending, model=LATEST, tools=SEARCH)[-1]["role"] == "assistant"


@pytest.mark.parametrize(
    ("items", "thoughtless"),
    [
        ([user(), call(), output()], True),
        ([user(), thought(), call(), output()], False),
        ([user(), thought(), call(), output(), call("c2"), output("c2")], True),
        ([user(), call(), output(), said("Hi"), user()], False),
        ([user(), call(), output(), said("S", "system")], True),
        ([user(), said("Hi"), user()], False),
        ([user(), carried(USE, FOUND), call(), output()], True),
    ],
)
def test_loop_of_calls_needs_the_thoughts_it_began_with(items, thoughtless):
    assert is_thoughtless_loop(create(input=items).turns) is thoughtless


PARTS = st.lists(
    st.sampled_from(
        [
            {"type": "input_text", "text": "Hi"},
            {"type": "input_text", "text": ""},
            {"type": "input_image", "image_url": "https://a.example/b.png"},
            {"type": "input_file", "file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"},
        ]
    ),
    max_size=3,
)
ROUNDS = st.lists(st.sampled_from(["a", "b", "c|d", "a"]), min_size=1, max_size=3).flatmap(
    lambda ids: st.tuples(
        st.just([call(one) for one in ids]), st.permutations([output(one) for one in ids]), PARTS
    ).map(lambda round_: [*round_[0], *({**one, "output": round_[2] or "ok"} for one in round_[1])])
)
LEGAL = st.lists(
    st.one_of(
        PARTS.map(lambda parts: [user(parts)]),
        st.sampled_from(["system", "developer", "assistant"]).map(lambda role: [said("Text.", role)]),
        ROUNDS,
        st.sampled_from([[thought()], [thought(model=NEW)], [carried(USE, FOUND)], [carried(USE)], [carried(FOUND)]]),
    ),
    min_size=1,
    max_size=8,
).map(lambda runs: [item for run in runs for item in run])
SPOKEN = st.sampled_from(["user", "assistant"]).map(lambda role: [said("Text.", role)])
HISTORY = st.tuples(LEGAL, SPOKEN, st.booleans()).map(lambda one: one[1] + one[0] if one[2] else one[0] + one[1])
"""One in which there is something to answer."""


@settings(max_examples=50)
@given(HISTORY, st.sampled_from([OLD, NEW, LATEST]), st.sampled_from([None, "none", "high"]))
def test_any_legal_history_is_one_the_format_accepts(items, model, effort):
    asked = create(model, input=items, reasoning={"effort": effort}, tools=SEARCH)
    rendered = render_request(asked, ANTHROPIC)
    told = check_request(rendered, beta=b"block_binding" in rendered.body)["messages"]
    roles = [message["role"] for message in told]
    assert not any(one == other for one, other in pairwise(roles))
    awaited: list[str] = []
    for message in told:
        results = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        assert results == awaited
        assert kinds(message)[: len(results)] == ["tool_result"] * len(results)
        awaited = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
        assert len(set(awaited)) == len(awaited)
        assert kinds(message)[-1] not in ("thinking", "redacted_thinking")
    assert not awaited
    for at, role in enumerate(roles):
        if role == "system":
            assert roles[at - 1] == "user"
            assert roles[at + 1 : at + 2] in ([], ["assistant"])
