import pytest

from proxy.dialects.cohere_chat.assembly import PLAN, THINKING, Assembly, read_logprobs, text_in
from proxy.dialects.reasoning import unseal
from proxy.dialects.translator import Malformed
from tests.dialects.oracle import context_of, read_events

SOURCE = {"type": "tool", "id": "t"}


def assembled(make, reason=None):
    """Return the output of a message that `make` takes the parts of."""
    assembly = Assembly(context_of())
    assembly.writer.open()
    make(assembly)
    assembly.settle(reason)
    assembly.writer.finish(reason, None)
    return read_events(assembly.writer.take())[-1]["response"]["output"]


def test_item_ends_where_another_begins():
    def make(assembly):
        assembly.reflect(PLAN, "a")
        assembly.reflect(THINKING, "b")
        assembly.say("c")
        assembly.call(0, {"function": {"name": "f"}})
        assembly.say("d")

    kinds = [item["type"] for item in assembled(make)]
    assert kinds == ["reasoning", "reasoning", "message", "function_call", "message"]


def test_reasoning_is_sealed_as_what_it_was():
    def make(assembly):
        assembly.reflect(PLAN, "a")
        assembly.reflect(PLAN, "b")
        assembly.reflect(THINKING, "c")

    states = [unseal(item["encrypted_content"], "primary", "large") for item in assembled(make)]
    assert states == [{PLAN: "ab"}, {THINKING: "c"}]


def test_part_of_the_content_ends_where_another_begins():
    def make(assembly):
        for _ in range(2):
            assembly.begin_part()
            assembly.say("a")
        assembly.begin_part()

    (message,) = assembled(make)
    assert [part["text"] for part in message["content"]] == ["a", "a"]


def test_only_open_text_is_cited():
    def make(assembly):
        assembly.cite({"sources": [SOURCE]})
        assembly.say("a")
        assembly.cite({"start": 0, "end": 1, "sources": [SOURCE, SOURCE]})
        assembly.reflect(THINKING, "b")
        assembly.cite({"sources": [SOURCE]})

    message, _ = assembled(make)
    assert [annotation["index"] for annotation in message["content"][0]["annotations"]] == [1, 1]


def test_call_that_has_ended_says_nothing_new():
    def make(assembly):
        assembly.call(0, {"function": {"name": "f", "arguments": '{"a":1}'}})
        assembly.end_call(0)
        assembly.end_call(0)
        assembly.end_call(9)
        for repeated in ("", None, "null", '{"a":1}'):
            assembly.go_on(0, {"function": {"arguments": repeated}})
        with pytest.raises(Malformed):
            assembly.go_on(0, {"function": {"arguments": '{"a":2}'}})

    assert [item["arguments"] for item in assembled(make)] == ['{"a":1}']


def test_arguments_may_be_an_object():
    def make(assembly):
        assembly.call(None, {"function": {"name": "f", "arguments": {"a": [1]}}})

    assert [item["arguments"] for item in assembled(make)] == ['{"a":[1]}']


@pytest.mark.parametrize("call", [{}, {"function": None}, {"function": {}}, {"function": {"name": 3}}])
def test_call_without_a_name_is_none(call):
    with pytest.raises(Malformed):
        assembled(lambda assembly: assembly.call(0, call))


def test_text_is_only_text():
    assert [text_in(value) for value in ("a", "", None, 3, ["a"], {})] == ["a", "", "", "", "", ""]


def test_logprob_of_several_tokens_is_their_sum():
    assert read_logprobs({"text": "ab", "logprobs": [-1, -0.5]})[0]["logprob"] == -1.5
    assert [one["token"] for one in read_logprobs([{"text": "a", "logprobs": []}, {"text": "b"}, None])] == ["a"]
    for value in (None, 3, {}, [], {"logprobs": None}):
        assert read_logprobs(value) == []
    assert read_logprobs({"logprobs": [None, "x", True, -2]})[0] == {
        "token": "",
        "bytes": [],
        "logprob": -2.0,
        "top_logprobs": [],
    }
