"""What Groq's Responses API, which refuses every field it does not list, is asked."""

import pytest

from proxy.errors import BadRequest
from proxy.providers.groq import fit_request

USER = {"role": "user", "content": "Hi"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}
OUTPUT = {"type": "function_call_output", "id": "fco_1", "call_id": "c"}
TEXTS = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
REPLY = [{"type": "output_text", "text": "No", "annotations": []}, {"type": "refusal", "refusal": "way."}]


def test_history_goes_without_ids_and_as_text():
    items = [USER, CALL, {**OUTPUT, "output": TEXTS}, {"role": "assistant", "id": "msg_1", "content": REPLY}]
    fitted, dropped = fit_request({"model": "m", "input": items})
    assert fitted["input"] == [
        USER,
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "a\nb"},
        {"role": "assistant", "content": "No\nway."},
    ]
    assert dropped == ()


def test_what_groq_does_not_list_is_named():
    asked = {
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low"},
        "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}],
        "include": ["reasoning.encrypted_content"],
        "top_logprobs": 2,
    }
    items = [USER, {"type": "reasoning", "summary": []}]
    fitted, dropped = fit_request({"model": "m", "input": items, **asked})
    assert fitted == {
        "model": "m",
        "input": [USER],
        "reasoning": {"effort": "low"},
        "text": {},
        "tools": [{"type": "function", "name": "f"}],
    }
    lost = ["include", "input.reasoning", "reasoning.summary", "text.verbosity", "tools.custom", "top_logprobs"]
    assert sorted(dropped) == lost


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"input": [USER, CALL, {**OUTPUT, "output": [{"type": "input_image", "image_url": "u"}]}]}, "input"),
        ({"input": [{"role": "assistant", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input"),
    ],
)
def test_what_the_answer_would_be_another_without_is_refused(asked, param):
    with pytest.raises(BadRequest) as refused:
        fit_request({"model": "m", "input": "Hi", **asked})
    assert refused.value.param == param
