import orjson
import pytest

from proxy.dialects.events import OutputTooLong
from proxy.dialects.gemini_generate_content.assembly import Assembly
from proxy.dialects.reasoning import unseal
from proxy.dialects.translator import Malformed
from tests.dialects.oracle import calls_of, context_of, read_events, reasoning_of, text_of

SIGNED = {"thoughtSignature": "sig"}
CODE = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
RESULT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}}
SEARCH = {"toolCall": {"id": "t", "toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["q"]}}, **SIGNED}
FOUND = {"toolResponse": {"id": "t", "toolType": "GOOGLE_SEARCH_WEB", "response": {}}, **SIGNED}


def assemble(*parts, reason=None, candidate=None, body=None, **context):
    """Take parts and return the final response, its stream checked."""
    assembly = Assembly(context_of(body, **context))
    assembly.writer.open()
    for part in parts:
        assembly.take(part)
    assembly.ground(candidate or {})
    assembly.settle(reason)
    assembly.writer.finish(reason, None)
    return read_events(assembly.writer.take())[-1]["response"]


def call(name="f", **members):
    return {"functionCall": {"name": name, "args": {"a": 1}, **members}}


def types_of(response):
    return [item["type"] for item in response["output"]]


def states_of(response):
    """Return the states, None for reasoning without one."""
    sealed = [item["encrypted_content"] for item in response["output"] if item["type"] == "reasoning"]
    return [unseal(one, "primary", "large") for one in sealed]


def test_thoughts_are_a_summary():
    response = assemble({"text": "Let me ", "thought": True}, {"text": "see.", "thought": True}, {"text": "42"})
    assert (reasoning_of(response), text_of(response)) == ("Let me see.", "42")
    assert states_of(response) == [None]


def test_signature_on_the_first_text_is_in_the_reasoning_before_it():
    response = assemble({"text": "Hm.", "thought": True}, {"text": "Hel", **SIGNED}, {"text": "lo"})
    assert types_of(response) == ["reasoning", "message"]
    assert states_of(response) == [{"next": [[0, 3, "sig"]]}]


def test_signature_behind_the_text_is_in_the_reasoning_behind_it():
    response = assemble({"text": "Hel"}, {"text": "lo", **SIGNED}, {"text": "", **SIGNED})
    assert types_of(response) == ["message", "reasoning"]
    assert states_of(response) == [{"last": [[3, 2, "sig"], [5, 0, "sig"]]}]


def test_places_are_counted_within_each_message():
    response = assemble({"text": "abc"}, call(), {"text": "de"}, {"text": "f", **SIGNED})
    assert types_of(response) == ["message", "function_call", "message", "reasoning"]
    assert states_of(response) == [{"last": [[2, 1, "sig"]]}]


def test_signature_on_empty_text_alone_is_kept():
    assert states_of(assemble({"text": "", **SIGNED})) == [{"parts": [{"text": "", **SIGNED}]}]


def test_signed_thought_is_kept():
    thought = {"text": "Hm.", "thought": True, **SIGNED}
    response = assemble(thought, {"text": "x"})
    assert (reasoning_of(response), states_of(response)) == ("Hm.", [{"parts": [thought]}])


def test_signature_of_a_call_is_in_the_reasoning_before_it():
    response = assemble({"text": "Hm.", "thought": True}, {**call(), **SIGNED}, call("g"))
    assert types_of(response) == ["reasoning", "function_call", "function_call"]
    first, second = (item["call_id"] for item in response["output"][1:])
    assert first != second
    assert states_of(response) == [{"calls": {first: "sig"}}]


def test_signatures_of_text_and_of_the_call_behind_it_share_a_reasoning():
    response = assemble({"text": "Wait"}, {"text": ".", **SIGNED}, {**call(), **SIGNED})
    assert types_of(response) == ["message", "reasoning", "function_call"]
    (state,) = states_of(response)
    assert state["last"] == [[4, 1, "sig"]]
    assert list(state["calls"]) == [response["output"][2]["call_id"]]


def test_own_id_of_a_call_is_kept_unless_it_is_taken():
    first, second = assemble(call(id="x"), call(id="x"))["output"]
    assert first["call_id"] == "x"
    assert second["call_id"] not in ("x", "")


def test_call_without_arguments_has_an_empty_object():
    assert calls_of(assemble({"functionCall": {"name": "f"}})) == [("f", "{}")]


def test_call_of_a_custom_tool_is_one():
    body = {"model": "m", "input": "Hi", "tools": [{"type": "custom", "name": "exec"}]}
    (item,) = assemble({"functionCall": {"name": "exec", "args": {"input": "ls"}}}, body=body)["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "exec", "ls")


def test_call_in_pieces_is_put_together():
    parts = [
        {"functionCall": {"name": "f", "id": "x", "willContinue": True}, **SIGNED},
        {"functionCall": {"partialArgs": [{"jsonPath": "$.a", "stringValue": "b"}], "willContinue": True}},
        {"functionCall": {"partialArgs": [{"jsonPath": "$.a", "stringValue": "c"}], "willContinue": True}},
    ]
    for ended in ([*parts, {"functionCall": {}}], parts):
        response = assemble(*ended)
        assert calls_of(response) == [("f", '{"a":"bc"}')]
        assert states_of(response) == [{"calls": {"x": "sig"}}]


@pytest.mark.parametrize(
    "part",
    [
        {"functionCall": {}},
        {"functionCall": {"name": 3}},
        {"functionCall": {"name": "f", "args": []}},
        {"functionCall": {"name": "f", "partialArgs": [{}]}},
    ],
)
def test_call_that_is_none_is_a_contradiction(part):
    with pytest.raises(Malformed):
        assemble(part)


def test_too_deep_arguments_are_a_contradiction():
    deep = orjson.loads(b'{"a":' * 300 + b"1" + b"}" * 300)
    for part in ({"functionCall": {"name": "f", "args": deep}}, {"executableCode": deep}):
        with pytest.raises(Malformed):
            assemble(part)


def test_code_that_is_run_is_shown_and_kept():
    response = assemble({"text": "Let me."}, {**CODE, **SIGNED}, RESULT, {"text": "1."})
    assert types_of(response) == ["message", "code_interpreter_call", "reasoning", "message"]
    item = response["output"][1]
    assert (item["code"], item["outputs"]) == ("print(1)", [{"type": "logs", "logs": "1\n"}])
    assert states_of(response) == [{"parts": [{**CODE, **SIGNED}, RESULT]}]


@pytest.mark.parametrize(
    ("outcome", "status"), [("OUTCOME_FAILED", "completed"), ("OUTCOME_DEADLINE_EXCEEDED", "failed")]
)
def test_code_that_ended_in_an_error_was_run(outcome, status):
    assembly = Assembly(context_of())
    assembly.take(CODE)
    assembly.take({"codeExecutionResult": {"outcome": outcome, "output": "Traceback"}})
    assembly.writer.finish(None, None)
    (item,) = orjson.loads(assembly.writer.response)["output"]
    assert (item["status"], item["outputs"]) == (status, [{"type": "logs", "logs": "Traceback"}])


def test_result_of_no_code_is_kept_only():
    response = assemble(RESULT)
    assert (types_of(response), states_of(response)) == (["reasoning"], [{"parts": [RESULT]}])


def test_thoughts_before_code_end_before_it():
    response = assemble({"text": "Hm.", "thought": True}, CODE, RESULT, {"text": "1."})
    assert types_of(response) == ["reasoning", "code_interpreter_call", "reasoning", "message"]
    assert states_of(response) == [None, {"parts": [CODE, RESULT]}]


def test_search_is_shown_while_it_goes_on_and_told_its_sources_in_the_end():
    chunks = {"webSearchQueries": ["q"], "groundingChunks": [{"web": {"uri": "https://a.example"}}]}
    response = assemble(SEARCH, FOUND, {"text": "x"}, candidate={"groundingMetadata": chunks})
    assert types_of(response) == ["web_search_call", "reasoning", "message"]
    action = response["output"][0]["action"]
    assert (action["queries"], action["sources"]) == (["q"], [{"type": "url", "url": "https://a.example"}])
    assert states_of(response) == [{"parts": [SEARCH, FOUND]}]


def test_search_nobody_told_of_is_shown_in_the_end():
    supports = [{"segment": {"endIndex": 2, "text": "Hi"}, "groundingChunkIndices": [0]}]
    chunks = [{"web": {"uri": "https://a.example", "title": "A"}}]
    grounding = {"webSearchQueries": ["q"], "groundingChunks": chunks, "groundingSupports": supports}
    response = assemble({"text": "Hi."}, candidate={"groundingMetadata": grounding})
    assert types_of(response) == ["message", "web_search_call"]
    place = {"start_index": 0, "end_index": 2}
    cited = {"type": "url_citation", "url": "https://a.example", "title": "A", **place}
    assert response["output"][0]["content"][0]["annotations"] == [cited]


def test_strange_tool_calls_are_shown_as_far_as_they_are_one():
    assert types_of(assemble({"toolCall": {"toolType": "ODD"}})) == ["reasoning"]
    response = assemble({"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "args": 3}})
    assert response["output"][0]["action"]["queries"] == []


def test_image_is_shown():
    data = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    response = assemble({"text": "Here."}, data, {"text": "Fine?"})
    assert types_of(response) == ["message", "image_generation_call", "message"]
    image = response["output"][1]
    assert (image["status"], image["result"]) == ("completed", "AAAA")
    assert assemble({"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}})["output"] == []
    with pytest.raises(OutputTooLong):
        assemble({"inlineData": {"mimeType": "image/png", "data": "A" * 5000}}, limit=4000)


def test_empty_parts_are_no_items():
    strange = [{"functionCall": 3}, {"text": None}, {"inlineData": {}}, {"text": "", "thought": True}]
    assert assemble({"text": ""}, {}, *strange)["output"] == []


def test_whatever_is_kept_is_within_the_limit():
    many = [{"text": "", **SIGNED}, {"text": "x", **SIGNED}, {**call(), **SIGNED}, CODE, RESULT, SEARCH] * 40
    with pytest.raises(OutputTooLong):
        assemble(*many, limit=9000)
    large = {"thoughtSignature": "x" * 5000}
    for said, part in (("", {"text": "", **large}), ("a", {"text": "", **large}), ("a", {**call(), **large})):
        assembly = Assembly(context_of(limit=4000))
        assembly.take({"text": said})
        with pytest.raises(OutputTooLong):
            assembly.take(part)


def test_thoughts_cut_short_are_incomplete():
    (item,) = assemble({"text": "Hm", "thought": True}, reason="max_output_tokens")["output"]
    assert (item["type"], item["status"]) == ("reasoning", "incomplete")
