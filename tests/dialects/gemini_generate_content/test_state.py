import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.gemini_generate_content.state import Mark, State, read_state, sign_text


def signed(text, signature):
    return {"text": text, "thoughtSignature": signature}


def test_state_comes_back_as_it_was():
    state = State()
    state.calls["call_1"] = "a"
    state.next.append(Mark(0, 3, "b"))
    state.last.append(Mark(3, 0, "c"))
    state.parts.append({"toolCall": {"id": "1"}, "thoughtSignature": "d"})
    back = read_state(orjson.loads(orjson.dumps(state.render())))
    assert (back.calls, back.next, back.last) == (state.calls, state.next, state.last)
    assert orjson.loads(orjson.dumps(back.parts)) == state.parts


def test_empty_state_is_none():
    assert State().render() is None


DEEP: list = []
for _ in range(300):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {"calls": [], "next": {}, "last": "x", "parts": {}},
        {
            "calls": {"a": 1},
            "next": [[0, 1]],
            "last": [[-1, 0, "s"], [0, True, "s"], [0, 1, None], 3],
            "parts": [3, {}],
        },
        {"parts": [{"fileData": {"fileUri": "gs://a/b"}}, {"text": "x", "functionCall": {}}]},
        {"parts": [{"text": DEEP}]},
    ],
)
def test_what_is_no_state_is_left_out(value):
    back = read_state(value)
    assert (back.calls, back.next, back.last, back.parts) == ({}, [], [], [])


@pytest.mark.parametrize(
    ("marks", "parts"),
    [
        ([], [{"text": "Hello"}]),
        ([Mark(0, 5, "a")], [signed("Hello", "a")]),
        ([Mark(5, 0, "a")], [{"text": "Hello"}, signed("", "a")]),
        ([Mark(0, 2, "a")], [signed("He", "a"), {"text": "llo"}]),
        ([Mark(3, 2, "b"), Mark(0, 2, "a")], [signed("He", "a"), {"text": "l"}, signed("lo", "b")]),
        ([Mark(0, 0, "a"), Mark(0, 5, "b")], [signed("", "a"), signed("Hello", "b")]),
        ([Mark(4, 2, "a")], [{"text": "Hello"}, signed("", "a")]),
        ([Mark(0, 3, "a"), Mark(2, 2, "b")], [signed("Hel", "a"), {"text": "lo"}, signed("", "b")]),
    ],
)
def test_signature_is_on_the_part_it_came_with(marks, parts):
    assert sign_text("Hello", marks) == parts


def test_signature_without_its_text_is_kept():
    assert sign_text("", [Mark(0, 5, "a")]) == [signed("", "a")]
    assert sign_text("", []) == []


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(max_size=4), st.booleans()), max_size=6))
def test_any_parts_come_back_as_they_were(pieces):
    marks, at = [], 0
    for number, (text, has_signature) in enumerate(pieces):
        if has_signature:
            marks.append(Mark(at, len(text), f"{number:02}"))
        at += len(text)
    parts = sign_text("".join(text for text, _ in pieces), marks)
    assert "".join(part["text"] for part in parts) == "".join(text for text, _ in pieces)
    own = [(part["text"], part["thoughtSignature"]) for part in parts if "thoughtSignature" in part]
    assert own == [(text, f"{number:02}") for number, (text, has) in enumerate(pieces) if has]
