"""What a client may say is the same in front of every dialect, and so is what it may not."""

import pytest

from tests.dialects.spoken import SPOKEN, refusal, send

EACH_DIALECT = pytest.mark.parametrize("dialect", SPOKEN)
USER = {"role": "user", "content": "Hi"}
REPLY = {"role": "assistant", "content": "Yes."}
DEVELOPER = {"role": "developer", "content": "Be brief."}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "done"}
CUSTOM = {"type": "custom_tool_call", "call_id": "p", "name": "patch", "input": "x"}
PATCHED = {"type": "custom_tool_call_output", "call_id": "p", "output": "ok"}
PIXEL = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
PHASED = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
    "content": [{"type": "output_text", "text": "Yes.", "annotations": [], "logprobs": []}],
}
REFUSAL = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}

TAKEN = {
    "one message": [USER],
    "instructions only": [DEVELOPER],
    "users in a row": [USER, USER],
    "replies in a row": [USER, REPLY, REPLY, USER],
    "reply first": [REPLY, USER],
    "reply last": [USER, REPLY],
    "empty reply": [USER, {"role": "assistant", "content": ""}, USER],
    "refusal": [USER, REFUSAL, USER],
    "phase and status": [USER, PHASED, USER],
    "developer amid": [USER, REPLY, DEVELOPER, USER],
    "developer between call and output": [USER, CALL, DEVELOPER, OUTPUT],
    "user between call and output": [USER, CALL, USER, OUTPUT],
    "reasoning of another": [USER, {**THOUGHT, "encrypted_content": "gAAAA"}, CALL, OUTPUT],
    "reasoning last": [USER, THOUGHT],
    "parallel calls": [USER, CALL, CUSTOM, PATCHED, OUTPUT],
    "calls one by one": [USER, CALL, OUTPUT, CUSTOM, PATCHED],
    "call ids used again": [USER, CALL, OUTPUT, USER, CALL, OUTPUT],
    "no output at all": [USER, CALL, {**OUTPUT, "output": ""}],
    "output of no parts": [USER, CALL, {**OUTPUT, "output": []}],
    "output of a picture": [USER, CALL, {**OUTPUT, "output": [PIXEL]}],
    "broken arguments": [USER, {**CALL, "arguments": '{"a'}, OUTPUT],
    "no arguments": [USER, {**CALL, "arguments": ""}, OUTPUT],
    "odd call id": [USER, {**CALL, "call_id": "c|1/ü"}, {**OUTPUT, "call_id": "c|1/ü"}],
}
REFUSED = {
    "nothing": ([], "input"),
    "reasoning alone": ([THOUGHT], "input"),
    "reply of nothing alone": ([{"role": "assistant", "content": ""}], "input"),
    "call without output": ([USER, CALL], "input"),
    "call without output amid": ([USER, CALL, USER], "input"),
    "output without call": ([USER, OUTPUT], "input"),
    "picture of the assistant's": ([{"role": "assistant", "content": [PIXEL]}, USER], "input[0].content[0]"),
    "unknown part": ([{"role": "user", "content": [{"type": "video"}]}], "input[0].content[0].type"),
    "unknown role": ([{"role": "critic", "content": "x"}], "input[0].role"),
    "reference": ([USER, {"type": "item_reference", "id": "msg_1"}], "input[1]"),
    "compaction": ([USER, {"type": "compaction", "encrypted_content": "x"}], "input[1]"),
}


@EACH_DIALECT
@pytest.mark.parametrize("case", TAKEN)
def test_dialogue_is_taken(dialect, case):
    """Nothing of it is reported but what only another provider could have read."""
    _, dropped = send(dialect, input=TAKEN[case])
    assert dropped == (("input.reasoning.encrypted_content",) if case == "reasoning of another" else ())


@EACH_DIALECT
@pytest.mark.parametrize("case", REFUSED)
def test_dialogue_is_refused(dialect, case):
    items, param = REFUSED[case]
    error = refusal(dialect, input=items)
    assert error is not None
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize("dialect", [name for name in SPOKEN if name != "chat_completions"])
@pytest.mark.parametrize("role", ["system", "developer"])
def test_picture_in_instructions_is_refused_where_they_are_text(dialect, role):
    error = refusal(dialect, input=[{"role": role, "content": [PIXEL]}, USER])
    assert error is not None
    assert error.param == "input[0].content[0]"


@EACH_DIALECT
def test_items_nobody_knows_are_reported(dialect):
    items = [USER, {"type": "mcp_call", "id": "m"}, {"type": "thing"}]
    assert send(dialect, input=items)[1] == ("input.mcp_call", "input.thing")
