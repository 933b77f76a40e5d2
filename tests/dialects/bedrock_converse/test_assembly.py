import base64

import pytest

from proxy.dialects.bedrock_converse.assembly import Assembly
from proxy.dialects.bedrock_converse.toolconfig import PLACEHOLDER
from proxy.dialects.reasoning import unseal
from proxy.dialects.translator import Malformed
from tests.dialects.oracle import context_of, read_events, reasoning_of, text_of


def assemble(*blocks, reason=None):
    """Take blocks, each a start and its deltas, and return the final response, its stream checked."""
    assembly = Assembly(context_of())
    assembly.writer.open()
    for index, (start, *deltas) in enumerate(blocks):
        assembly.start(index, start)
        for delta in deltas:
            assembly.delta(index, delta)
        assembly.stop(index)
    assembly.settle(reason)
    assembly.writer.finish(reason, None)
    return read_events(assembly.writer.take())[-1]["response"]


def thought(**members):
    return {"reasoningContent": members}


def use(name, call_id="c", **members):
    return {"toolUse": {"name": name, "toolUseId": call_id, **members}}


def states_of(response):
    sealed = [item["encrypted_content"] for item in response["output"] if item["type"] == "reasoning"]
    return [unseal(one, "primary", "large") for one in sealed]


def annotations_of(response):
    return [note for item in response["output"] for part in item["content"] for note in part["annotations"]]


def cite(title):
    return {"citation": {"title": title, "location": {"web": {"url": f"https://{title}.example"}}}}


def test_consecutive_text_is_one_message():
    response = assemble(({}, {"text": "a"}), ({}, {"text": ""}), ({}, {"text": "b"}))
    assert [len(item["content"]) for item in response["output"]] == [1]
    assert text_of(response) == "ab"


def test_signed_reasoning_is_kept_for_its_way_back():
    response = assemble(
        (None, thought(text="Let me "), thought(text="see."), thought(signature="sig")), (None, {"text": "x"})
    )
    assert reasoning_of(response) == "Let me see."
    assert states_of(response) == [{"text": "Let me see.", "signature": "sig"}]


def test_signature_may_stand_alone():
    response = assemble((None, thought(text="", signature="sig")))
    assert states_of(response) == [{"text": "", "signature": "sig"}]
    assert response["output"][0]["summary"] == []


def test_encrypted_reasoning_in_pieces_is_kept_whole():
    pieces = [base64.b64encode(piece).decode() for piece in (b"ab", b"cde")]
    response = assemble((None, *(thought(redactedContent=piece) for piece in pieces)))
    assert states_of(response) == [{"redacted": base64.b64encode(b"abcde").decode()}]
    with pytest.raises(Malformed):
        assemble((None, thought(redactedContent="?"), thought(redactedContent="?")))


def test_reasoning_nobody_signed_is_told_only():
    response = assemble((None, thought(text="Hm.")))
    assert (reasoning_of(response), states_of(response)) == ("Hm.", [None])


def test_every_block_of_reasoning_is_an_item():
    response = assemble((None, thought(redactedContent="AA==")), (None, thought(redactedContent="AQ==")))
    assert states_of(response) == [{"redacted": "AA=="}, {"redacted": "AQ=="}]


def test_citations_are_about_the_text_of_their_block():
    response = assemble(
        (None, {"text": "So: "}),
        (None, cite("a"), {"text": "cited"}, {"text": "."}),
        (None, {"text": " More."}, cite("b"), cite("c")),
    )
    places = [(note["title"], note["start_index"], note["end_index"]) for note in annotations_of(response)]
    assert places == [("a", 4, 10), ("b", 10, 16), ("c", 10, 16)]
    assert text_of(response)[4:10] == "cited."


def test_citation_of_another_message_counts_from_its_start():
    response = assemble(
        (None, {"text": "long"}), (use("f"), {"toolUse": {"input": "{}"}}), (None, cite("a"), {"text": "x"})
    )
    messages = [item for item in response["output"] if item["type"] == "message"]
    (note,) = messages[1]["content"][0]["annotations"]
    assert (note["start_index"], note["end_index"]) == (0, 1)


def test_citation_of_nothing_is_left_out():
    assert assemble((None, cite("a")))["output"] == []
    assert annotations_of(assemble((None, {"text": "x"}, {"citation": 3}))) == []


RAN = {"json": {"stdOut": "42", "stdErr": "!", "exitCode": 1, "isError": True}}


def run(*, snippet='{"snippet":"6*7"}', results=(RAN,)):
    kind = {"type": "server_tool_use"}
    result = {"toolResult": {"toolUseId": "r", "type": "nova_code_interpreter_result"}}
    return (
        (use("nova_code_interpreter", "r", **kind), {"toolUse": {"input": snippet}}),
        (result, {"toolResult": list(results)}),
    )


def test_code_the_model_ran_is_told_with_what_it_printed():
    (item,) = assemble(*run())["output"]
    assert (item["type"], item["status"], item["code"]) == ("code_interpreter_call", "failed", "6*7")
    assert item["outputs"] == [{"type": "logs", "logs": "42!"}]


def test_code_may_be_no_object_and_its_result_text():
    (item,) = assemble(*run(snippet="6*7", results=({"text": "42"}, 3)))["output"]
    assert (item["status"], item["code"], item["outputs"]) == ("completed", "6*7", [{"type": "logs", "logs": "42"}])


def test_code_without_a_result_ends_with_the_message():
    (item,) = assemble(run()[0])["output"]
    assert (item["status"], item["outputs"]) == ("completed", None)


def test_result_of_nothing_that_ran_is_left_out():
    assert assemble(run()[1])["output"] == []


@pytest.mark.parametrize("unasked", [use(PLACEHOLDER), use("nova_grounding", type="server_tool_use")])
def test_call_of_a_tool_the_client_does_not_have_is_left_out(unasked):
    response = assemble((unasked, {"toolUse": {"input": "{}"}}), (None, {"text": "x"}))
    assert [item["type"] for item in response["output"]] == ["message"]


def test_blocks_that_are_none_are_left_out():
    assert assemble((3, 4, {"toolResult": []}), ({"toolUse": 1},), ({"image": {}}, {"image": {}}))["output"] == []


@pytest.mark.parametrize("index", [None, "0", True, [], 1.0])
def test_block_without_an_index_is_a_contradiction(index):
    assembly = Assembly(context_of())
    with pytest.raises(Malformed):
        assembly.delta(index, {"text": "x"})


def test_block_that_begins_twice_is_a_contradiction():
    assembly = Assembly(context_of())
    assembly.start(0, use("f"))
    with pytest.raises(Malformed):
        assembly.start(0, use("f"))
