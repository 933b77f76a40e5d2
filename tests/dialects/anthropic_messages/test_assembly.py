import pytest

from proxy.dialects.anthropic_messages.assembly import Assembly
from proxy.dialects.translator import Malformed
from tests.dialects.anthropic_messages.test_stream import carried_in
from tests.dialects.anthropic_messages.written import items_of, whole
from tests.dialects.oracle import context_of, text_of

SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"type": "web_search_result", "url": "u"}]}
SAID = {"type": "text", "text": "Hi"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}


def test_blocks_of_a_kind_that_is_not_text_are_items_of_their_own():
    hidden = {"type": "redacted_thinking", "data": "d"}
    assert items_of(whole(THOUGHT, hidden, SAID, SAID)) == ["reasoning", "reasoning", "message"]
    assert items_of(whole(SAID, THOUGHT, SAID)) == ["message", "reasoning", "message"]


def test_tools_of_the_provider_are_carried_behind_their_own_items():
    response = whole(SEARCH, FOUND, SAID)
    assert items_of(response) == ["web_search_call", "reasoning", "message"]
    assert carried_in(response) == [SEARCH, FOUND]


def test_runs_of_uses_and_results_keep_their_order():
    again, found = {**SEARCH, "id": "s2"}, {**FOUND, "tool_use_id": "s2"}
    response = whole(SEARCH, again, FOUND, found)
    assert items_of(response) == ["web_search_call", "web_search_call", "reasoning"]
    assert carried_in(response) == [SEARCH, again, FOUND, found]


def test_pending_use_is_carried_so_that_it_can_go_on():
    assert carried_in(whole(SEARCH, reason="pause_turn")) == [SEARCH]


def test_positions_of_citations_begin_anew_with_each_message():
    cited = {"type": "web_search_result_location", "url": "u", "title": "t"}
    quoted = {"type": "text", "text": "ab", "citations": [cited]}
    response = whole(SAID, quoted, THOUGHT, quoted)
    spans = [
        (note["start_index"], note["end_index"])
        for item in response["output"]
        for part in item.get("content", ())
        for note in part["annotations"]
    ]
    assert spans == [(2, 4), (0, 2)]
    assert text_of(response) == "Hiabab"


def test_citations_of_nothing_are_left_out():
    assert whole({"type": "text", "text": "", "citations": [{"type": "char_location"}]})["output"] == []


def test_unsigned_thought_is_told_and_not_carried():
    response = whole({"type": "thinking", "thinking": "Hm."}, SAID)
    assert response["output"][0]["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert response["output"][0]["encrypted_content"] is None


def test_delta_needs_a_block():
    assembly = Assembly(context_of())
    with pytest.raises(Malformed):
        assembly.take(0, {"type": "text_delta", "text": "x"})


def test_call_that_is_over_does_not_go_on():
    assembly = Assembly(context_of())
    assembly.start(0, {"type": "tool_use", "id": "a", "name": "f", "input": {}})
    assembly.start(1, {"type": "tool_use", "id": "b", "name": "g", "input": {}})
    with pytest.raises(Malformed):
        assembly.take(0, {"type": "input_json_delta", "partial_json": "{}"})
