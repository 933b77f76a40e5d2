import itertools
import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.create import read_create
from proxy.dialects.gemini_generate_content.messages import UNSIGNED
from proxy.dialects.reasoning import seal
from tests.dialects.gemini_generate_content.official import DIALECTS, GEMINI, check_body, render
from tests.dialects.gemini_generate_content.recorded import EXCHANGES
from tests.dialects.gemini_generate_content.resent import (
    body_of,
    camel,
    declarations_of,
    model_of,
    plain_contents,
    system_of,
)

SECOND, THIRD = "gemini-2.5-flash", "gemini-3-flash-preview"
PNG = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
SHOWN = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
REFUSED = {"vertex-generatecontent-6f823627dc", "vertex-generatecontent-8688926f43"}
"""Requests the provider refused and the API has no equal of: a role that is none, a temperature out of range."""
RECORDED = [
    recording
    for recording in EXCHANGES
    # Of some the request was not kept.
    if "contents" in (recording.request or {}) and recording.id not in REFUSED
]


def contents(*items, model=SECOND, dialect=GEMINI):
    return render(dialect, model, input=list(items))[0]["contents"]


def user(text="Go on."):
    return {"role": "user", "content": text}


def call(call_id, arguments='{"a":1}'):
    return {"type": "function_call", "call_id": call_id, "name": f"f_{call_id}", "arguments": arguments}


def output(call_id, value="done"):
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def reasoning(model, **state):
    return {"type": "reasoning", "summary": [], "encrypted_content": seal("primary", model, state)}


def said(*parts):
    return {"role": "user", "parts": list(parts)}


def responded(call_id, text="done", **members):
    response = {"id": call_id, "name": f"f_{call_id}", "response": {"output": text}}
    return {"functionResponse": {**response, **members}}


def called(call_id, **members):
    return {"functionCall": {"id": call_id, "name": f"f_{call_id}", "args": {"a": 1}}, **members}


@pytest.mark.parametrize("recording", RECORDED, ids=lambda recording: recording.id)
def test_recorded_request_is_reproduced(recording):
    recorded, dialect = camel(recording.request), DIALECTS[recording.provider]
    sent, _ = render_as(recording, dialect)
    assert plain_contents(sent["contents"]) == plain_contents(recorded["contents"])
    system = "\n".join(part["text"] for part in system_of(recorded))
    assert "".join(part["text"] for part in system_of(sent)) == system
    for own, known in itertools.zip_longest(declarations_of(sent), declarations_of(recorded)):
        assert (own["name"], own.get("description", "")) == (known["name"], known.get("description", ""))
    check_config(sent.get("generationConfig", {}), recorded.get("generationConfig") or {})


def render_as(recording, dialect):
    """Render with the provider's own name, under which the dialogue's reasoning is sealed."""
    create = read_create(body_of(recording), recording.provider, model_of(recording), hosted=dialect.hosted)
    rendered = dialect.render_request(create)
    sent = orjson.loads(rendered.body)
    check_body(sent)
    return sent, rendered


def check_config(sent, recorded):
    for name in ("temperature", "topP", "maxOutputTokens", "responseLogprobs", "logprobs"):
        assert sent.get(name) == recorded.get(name)


def test_instructions_come_before_the_dialogue():
    body, _ = render(
        instructions="A", input=[{"role": "developer", "content": "B"}, {"role": "system", "content": "C"}, user()]
    )
    assert body["systemInstruction"] == {"parts": [{"text": "A"}, {"text": "B"}, {"text": "C"}]}
    assert body["contents"] == [said({"text": "Go on."})]


def test_instruction_in_the_midst_of_the_dialogue_keeps_its_place():
    body, _ = render(input=[user("a"), {"role": "developer", "content": "b"}, user("c")])
    assert body["contents"] == [said({"text": "a"}), said({"text": "b"}), said({"text": "c"})]
    assert "systemInstruction" not in body


def test_instructions_alone_are_what_is_said():
    body, _ = render(instructions="A", input=[])
    assert body == {"contents": [said({"text": "A"})]}


def test_message_that_says_nothing_is_one_all_the_same():
    assert contents(user("")) == [said({"text": ""})]


def test_replies_are_the_models():
    refusal = {"type": "refusal", "refusal": "No."}
    reply = {"role": "assistant", "content": [{"type": "output_text", "text": "Well."}, refusal]}
    assert contents(user(), reply)[1] == {"role": "model", "parts": [{"text": "Well.No."}]}


def test_calls_of_one_turn_are_answered_behind_it_in_their_order():
    dialogue = contents(user(), call("a"), call("b"), output("b", "B"), output("a", "A"))
    assert dialogue[1:] == [
        {"role": "model", "parts": [called("a"), called("b")]},
        said(responded("a", "A"), responded("b", "B")),
    ]


@pytest.mark.parametrize(
    ("arguments", "args"),
    [("", {}), ('{"a": 12345678901234567890123}', None), ("[1]", {"arguments": "[1]"}), ('{"a', {"arguments": '{"a'})],
)
def test_arguments_are_an_object(arguments, args):
    create_input = [user(), call("a", arguments), output("a")]
    body = render(input=create_input)[1].body
    if args is None:
        assert arguments.encode() in body
    else:
        assert orjson.loads(body)["contents"][1]["parts"][0]["functionCall"]["args"] == args


def test_deep_arguments_are_no_obstacle():
    assert contents(user(), call("a", '{"a":' * 400 + "1" + "}" * 400), output("a"))


def test_output_may_show_images_where_the_model_sees_them():
    items = [user(), call("a"), call("b"), output("a", [{"type": "input_text", "text": "See"}, PNG]), output("b")]
    within = contents(*items, model=THIRD)
    assert within[2:] == [said(responded("a", "See", parts=[SHOWN]), responded("b"))]
    behind = contents(*items)
    note = {"text": "This is what the tool call a returned beside text:"}
    assert behind[2:] == [said(responded("a", "See"), responded("b")), said(note, SHOWN)]


def test_output_without_text_points_at_what_is_shown_below():
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    dialogue = contents(user(), call("a"), output("a", [PNG, audio]), model=THIRD)
    assert dialogue[2] == said(responded("a", "What this call returned is shown below.", parts=[SHOWN]))
    assert dialogue[3]["parts"][1]["inlineData"]["mimeType"] == "audio/wav"


def test_signature_returns_on_its_call():
    items = [user(), reasoning(THIRD, calls={"a": "c2ln"}), call("a"), call("b"), output("a"), output("b")]
    parts = contents(*items, model=THIRD)[1]["parts"]
    assert parts == [called("a", thoughtSignature="c2ln"), called("b")]


def test_first_call_from_elsewhere_is_excused_where_it_has_to_be():
    items = [user(), call("a"), call("b"), output("a"), output("b"), call("c"), output("c")]
    turns = [content["parts"] for content in contents(*items, model=THIRD) if content["role"] == "model"]
    excused = {"thoughtSignature": UNSIGNED}
    assert turns == [[called("a", **excused), called("b")], [called("c", **excused)]]
    assert UNSIGNED not in json.dumps(contents(*items))


def test_signatures_of_another_model_are_not_sent():
    items = [user(), reasoning("gemini-3-pro", calls={"a": "c2ln"}), call("a"), output("a")]
    body, rendered = render(model=THIRD, input=items)
    assert body["contents"][1]["parts"] == [called("a", thoughtSignature=UNSIGNED)]
    assert rendered.dropped == ("input.reasoning.encrypted_content",)


def test_signatures_return_on_their_text():
    reply = {"role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
    before, behind = reasoning(SECOND, next=[[0, 2, "YQ=="]]), reasoning(SECOND, last=[[5, 0, "Yg=="]])
    (_, answer) = contents(user(), before, reply, behind)
    signed = {"text": "He", "thoughtSignature": "YQ=="}, {"text": "llo"}, {"text": "", "thoughtSignature": "Yg=="}
    assert answer["parts"] == list(signed)


def test_signatures_are_of_the_nearest_text():
    replies = [{"role": "assistant", "content": text} for text in ("ab", "cd", "ef")]
    around = reasoning(SECOND, next=[[0, 1, "YQ=="]], last=[[1, 1, "Yg=="]])
    (_, answer) = contents(user(), replies[0], replies[1], around, replies[2], reasoning(SECOND, calls={"x": "YQ=="}))
    signed = [(part["text"], part.get("thoughtSignature")) for part in answer["parts"]]
    assert signed == [("ab", None), ("c", None), ("d", "Yg=="), ("e", "YQ=="), ("f", None)]
    (_, answer) = contents(user(), around, replies[0], replies[1])
    assert [part["text"] for part in answer["parts"]] == ["", "a", "b", "cd"]


def test_signatures_of_a_text_that_is_gone_return_where_they_were():
    (_, answer) = contents(user(), reasoning(SECOND, next=[[0, 2, "YQ=="]], last=[[0, 2, "Yg=="]]))
    assert [part["thoughtSignature"] for part in answer["parts"]] == ["Yg==", "YQ=="]


def test_parts_there_is_no_item_for_return_in_their_place():
    code = {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "YQ=="}
    run = {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "container_id": "x", "outputs": None}
    reply = {"role": "assistant", "content": "Well."}
    body, rendered = render(input=[user(), run, reasoning(SECOND, parts=[code]), reply])
    assert body["contents"][1]["parts"] == [code, {"text": "Well."}]
    assert rendered.dropped == ("input.code_interpreter_call",)


def test_reasoning_alone_says_nothing():
    foreign = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    assert contents(user(), foreign) == [said({"text": "Go on."})]


@pytest.mark.parametrize("state", [3, [], {"calls": 3, "next": 3, "last": [3], "parts": [3]}, {"calls": {"a": None}}])
def test_strange_states_are_nothing(state):
    strange = {"type": "reasoning", "summary": [], "encrypted_content": seal("primary", SECOND, state)}
    assert contents(user(), strange, call("a"), output("a"))[1]["parts"] == [called("a")]


TURNS = st.lists(
    st.one_of(
        st.tuples(st.just("user"), st.text(max_size=3)),
        st.tuples(st.just("developer"), st.text(max_size=3)),
        st.tuples(st.just("assistant"), st.text(max_size=3)),
        st.tuples(st.just("calls"), st.integers(1, 3)),
        st.tuples(st.just("reasoning"), st.integers(0, 3)),
    ),
    max_size=8,
)


@settings(max_examples=50)
@given(TURNS, st.sampled_from([SECOND, THIRD]), st.randoms(use_true_random=False))
def test_any_history_keeps_calls_and_outputs_paired(turns, model, random):
    items, number = [user()], 0
    for kind, value in turns:
        if kind == "calls":
            ids = [f"c{number + at}" for at in range(value)]
            number += value
            items += [call(call_id) for call_id in ids]
            items += [output(call_id) for call_id in random.sample(ids, len(ids))]
        elif kind == "reasoning":
            marks = [[0, value, "YQ=="]]
            items.append(reasoning(model, calls={f"c{number}": "YQ=="}, next=marks, last=marks))
        else:
            items.append({"role": kind, "content": value})
    contents(*items, model=model)
