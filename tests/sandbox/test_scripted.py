"""What the sandbox says: refusals in OpenAI's words, deterministic answers, streams that follow from them."""

import orjson
import pytest

from proxy.errors import BadRequest
from proxy.sandbox import scripted

TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
OTHER = {**TOOL, "name": "get_time"}


def answer(prompt="one two three", context=(), **fields):
    body = {"model": "m", "input": prompt, **fields}
    wish = scripted.check(body)
    items = scripted.parse_items(prompt)
    return scripted.answer(body, items, list(context), words=wish.words, now=1)


def text(response):
    return response["output"][0]["content"][0]["text"]


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": None}, "missing_required_parameter", "model"),
        ({"model": 1}, "invalid_type", "model"),
        ({"stream": 1}, "invalid_type", "stream"),
        ({"max_output_tokens": True}, "invalid_type", "max_output_tokens"),
        ({"max_output_tokens": 0}, "integer_below_min_value", "max_output_tokens"),
        ({"temperature": 3}, "decimal_above_max_value", "temperature"),
        ({"top_p": -1}, "decimal_below_min_value", "top_p"),
        ({"text": {"format": []}}, "invalid_type", "text.format"),
        ({"metadata": []}, "invalid_type", "metadata"),
        ({"metadata": {"words": "0"}}, "decimal_below_min_value", "metadata.words"),
        ({"metadata": {"words": "100001"}}, "decimal_above_max_value", "metadata.words"),
        ({"metadata": {"words": "nan"}}, "decimal_above_max_value", "metadata.words"),
        ({"metadata": {"words": []}}, "invalid_type", "metadata.words"),
        ({"metadata": {"events_per_second": "-1"}}, "decimal_below_min_value", "metadata.events_per_second"),
        ({"metadata": {"silence": "-1"}}, "decimal_below_min_value", "metadata.silence"),
        ({"metadata": {"silence": "soon"}}, "invalid_type", "metadata.silence"),
        ({"metadata": {"status": "200"}}, "decimal_below_min_value", "metadata.status"),
        ({"metadata": {"status": "600"}}, "decimal_above_max_value", "metadata.status"),
    ],
)
def test_check_refuses_in_openais_words(fields, code, param):
    with pytest.raises(BadRequest) as raised:
        scripted.check({"model": "m", "input": "x", **fields})
    assert (raised.value.code, raised.value.param) == (code, param)


@pytest.mark.parametrize("value", [7, {}, ["x"], [{"type": 7}], [{"id": 7}], [{"role": []}]])
def test_parse_items_refuses_what_is_no_item(value):
    with pytest.raises(BadRequest) as raised:
        scripted.parse_items(value)
    assert (raised.value.code, raised.value.param) == ("invalid_type", "input")


def test_parse_items_keeps_the_ids_clients_made():
    items = scripted.parse_items([{"id": "mine", "role": "user", "content": "x"}, {"role": "user", "content": "y"}])
    assert items[0]["id"] == "mine"
    assert items[1]["id"].startswith("msg_")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "You said: one two three"),
        ({"prompt": []}, "You said nothing."),
        ({"metadata": {"words": "7"}}, "You said: one two three You said:"),
        ({"max_output_tokens": 3}, "You said: one"),
        ({"max_output_tokens": 5}, "You said: one two three"),
        ({"text": {"format": {"type": "json_object"}}}, '{"answer":"You said: one two three"}'),
        ({"text": {"format": {"type": "json_schema", "schema": {"type": "integer"}}}}, "0"),
        ({"prompt": "x" * 1000}, "You said: " + "x" * 400),
        ({"prompt": [{"role": "user", "content": [{"type": "input_image"}, {"text": " a "}]}]}, "You said: a"),
        ({"prompt": [{"role": "user", "content": {"odd": 1}}]}, "You said:"),
    ],
)
def test_answer_is_what_the_request_decides(fields, said):
    assert text(answer(**fields)) == said


@pytest.mark.parametrize(
    ("fields", "called"),
    [
        ({}, ["get_weather", "get_time"]),
        ({"parallel_tool_calls": False}, ["get_weather"]),
        ({"tool_choice": "none"}, []),
        ({"prompt": "hello"}, []),
        ({"prompt": "hello", "tool_choice": "required"}, ["get_weather"]),
        ({"prompt": "hello", "tool_choice": {"type": "function", "name": "get_time"}}, ["get_time"]),
        ({"tools": ["odd", {"type": "function"}, {"type": "web_search"}]}, []),
    ],
)
def test_answer_calls_the_tools_that_are_named_or_insisted_on(fields, called):
    response = answer(**{"prompt": "get_time, get_weather", "tools": [TOOL, OTHER], **fields})
    assert [item["name"] for item in response["output"] if item["type"] == "function_call"] == called


def test_answer_reports_a_tool_result_instead_of_calling_again():
    call = answer("get_weather", tools=[TOOL])["output"][0]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": [{"text": "sunny"}]}
    response = answer([{"role": "user", "content": "get_weather"}, call, result], tools=[TOOL])
    assert text(response) == "The tool answered: sunny"


def test_answer_refuses_an_output_without_its_call():
    with pytest.raises(BadRequest, match="No tool call found for function call output with call_id None"):
        answer([{"type": "function_call_output", "output": "x"}])


@pytest.mark.parametrize(
    "fields", [{}, {"max_output_tokens": 2}, {"background": True}, {"prompt": "get_time", "tools": [OTHER]}]
)
def test_events_add_up_to_the_response(fields):
    response = answer(**fields)
    events = list(scripted.events(response))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1] == {**events[-1], "type": f"response.{response['status']}", "response": response}
    item = response["output"][0]
    whole = item["arguments"] if item["type"] == "function_call" else text(response)
    assert "".join(event["delta"] for event in events if event["type"].endswith(".delta")) == whole
    assert [e["item"] for e in events if e["type"] == "response.output_item.done"] == response["output"]


def test_render_refuses_what_is_nested_too_deeply():
    deep = orjson.loads(b"[" * 500 + b"]" * 500)
    with pytest.raises(BadRequest, match="nested too deeply"):
        scripted.render(deep)
