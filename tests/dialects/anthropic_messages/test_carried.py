import pytest
from hypothesis import given, settings

from proxy.dialects.anthropic_messages.carried import encode, keep_block, pack_blocks, runs, unpack_blocks
from proxy.dialects.translator import Malformed
from tests.dialects.anthropic_messages.test_stream_cut import JSON

USE = {"type": "server_tool_use", "id": "a", "name": "web_search", "input": {}}


def test_block_is_kept_without_what_says_nothing():
    result = {
        "type": "code_execution_tool_result",
        "tool_use_id": "a",
        "content": {"stdout": "x", "abort_reason": None},
    }
    kept = keep_block({**result, "caller": None, "citations": []})
    assert kept == {**result, "content": {"stdout": "x"}}


def test_blocks_come_out_as_they_went_in():
    thought = {"type": "thinking", "thinking": "", "signature": "s"}
    assert unpack_blocks(pack_blocks([USE, thought])) == [USE, thought]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": "x"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": ["thinking"]},
        {**USE, "cache_control": {"type": "ephemeral"}},
        "thinking",
        None,
    ],
)
def test_nothing_else_comes_out(block):
    assert unpack_blocks({"blocks": [block, USE]}) == [USE]


@settings(max_examples=50)
@given(JSON)
def test_any_state_is_read(value):
    for state in (value, {"blocks": value}, {"blocks": [value]}):
        assert isinstance(unpack_blocks(state), list)


def test_depth_that_could_not_be_sent_back_is_refused():
    deep = []
    for _ in range(252):
        deep = [deep]
    with pytest.raises(Malformed):
        encode(deep)
    assert unpack_blocks({"blocks": [{**USE, "input": deep}]}) == []


def test_code_tool_brings_its_own_tools_along():
    assert runs("bash_code_execution", frozenset({"code_execution"}))
    assert runs("web_search", frozenset({"web_search"}))
    assert not runs("bash_code_execution", frozenset({"web_search"}))
    assert not runs("web_search", frozenset({"code_execution"}))
