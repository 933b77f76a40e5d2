import orjson
import pytest

from proxy.dialects.chat_completions.assembly import Assembly
from proxy.dialects.chat_completions.citations import Source
from proxy.dialects.reasoning import unseal
from proxy.dialects.translator import Malformed
from tests.dialects.oracle import context_of, messages_of, read_events, reasoning_of, text_of


def assemble(*deltas, reason=None):
    """Take deltas and return the final response, its stream checked."""
    assembly = Assembly(context_of())
    assembly.writer.open()
    for delta in deltas:
        assembly.take(delta)
    assembly.settle(reason)
    assembly.writer.finish(reason, None)
    return read_events(assembly.writer.take())[-1]["response"]


def states_of(response):
    sealed = [item["encrypted_content"] for item in response["output"] if item["type"] == "reasoning"]
    return [unseal(one, "primary", "large") for one in sealed]


def call(name, arguments="{}"):
    return {"tool_calls": [{"index": 0, "id": "c", "function": {"name": name, "arguments": arguments}}]}


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_carried_in_the_field_it_came_in(field):
    response = assemble({field: "Let me "}, {field: "see."}, {"content": "x"})
    assert reasoning_of(response) == "Let me see."
    assert states_of(response) == [{field: "Let me see."}]


def test_reasoning_told_twice_is_told_once():
    assert reasoning_of(assemble({"reasoning": "Hm.", "reasoning_content": "Hm."})) == "Hm."


def test_thinking_within_the_content_is_reasoning():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    response = assemble({"content": [thought]}, {"content": [thought]}, {"content": [{"type": "text", "text": "Hi"}]})
    assert (reasoning_of(response), text_of(response)) == ("Hm.Hm.", "Hi")
    assert states_of(response) == [{"thinking": "Hm.Hm."}]


def test_signature_of_thinking_is_carried_even_where_nothing_is_seen():
    thought = {"type": "thinking", "thinking": [], "signature": "s"}
    response = assemble({"content": [thought, {"type": "text", "text": "Hi"}]})
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert states_of(response) == [{"signature": "s"}]


def test_text_is_cited_before_its_message_ends():
    assembly = Assembly(context_of())
    assembly.writer.open()
    assembly.found([Source("https://a.example", "A")])
    for delta in ({"content": "a [1]"}, call("f"), {"content": "b [1]"}):
        assembly.take(delta)
    assembly.settle(None)
    assembly.writer.finish(None, None)
    response = read_events(assembly.writer.take())[-1]["response"]
    assert [note["start_index"] for item in messages_of(response) for note in item["content"][0]["annotations"]] == [
        2,
        2,
    ]


def test_details_in_pieces_are_carried_whole():
    def piece(**members):
        return {"reasoning_details": [{"type": "reasoning.text", "index": 0, "format": None, **members}]}

    response = assemble(
        piece(text="Let me "), piece(text="see.", format="anthropic"), piece(signature="sig"), {"content": "x"}
    )
    whole = {"type": "reasoning.text", "index": 0, "format": "anthropic", "text": "Let me see.", "signature": "sig"}
    assert states_of(response) == [{"reasoning_details": [whole]}]
    assert reasoning_of(response) == "Let me see."


def test_details_without_text_are_carried_too():
    detail = {"type": "reasoning.encrypted", "data": "x", "index": 0}
    response = assemble({"reasoning": None, "reasoning_details": [detail]}, call("f"))
    assert [item["type"] for item in response["output"]] == ["reasoning", "function_call"]
    assert states_of(response) == [{"reasoning_details": [detail]}]


def test_details_behind_the_text_do_not_cut_it():
    detail = {"type": "reasoning.encrypted", "data": "x", "index": 0}
    response = assemble({"content": "a"}, {"reasoning_details": [detail]}, {"content": "b"})
    assert [item["type"] for item in response["output"]] == ["message", "reasoning"]
    assert (text_of(response), states_of(response)) == ("ab", [{"reasoning_details": [detail]}])


def test_text_behind_a_call_is_another_message():
    response = assemble({"content": "a"}, call("f"), {"content": "b"})
    assert [item["type"] for item in response["output"]] == ["message", "function_call", "message"]


def test_arguments_given_as_an_object_are_written():
    response = assemble(call("f", {"a": 1}))
    assert orjson.loads(response["output"][0]["arguments"]) == {"a": 1}


def test_call_repeated_in_the_end_is_one():
    assert len(assemble(call("f", '{"a":1}'), {"content": "x"}, call("f", '{"a":1}'))["output"]) == 2


def test_call_without_a_name_is_a_contradiction():
    with pytest.raises(Malformed):
        assemble({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]})


def test_empty_message_is_no_item():
    assert (
        assemble({"content": "", "reasoning": None, "tool_calls": [], "refusal": "", "annotations": None})["output"]
        == []
    )


def test_annotation_of_another_kind_is_left_out():
    assert assemble({"content": "x", "annotations": [{"type": "file", "file": {}}, 3]})["status"] == "completed"
