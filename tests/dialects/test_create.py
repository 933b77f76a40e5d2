import pytest

from proxy.dialects.create import Format, read_create
from proxy.dialects.items import Said, Text
from proxy.errors import BadRequest

USER = {"role": "user", "content": "Hi"}


def read(**body):
    return read_create({"model": "m", "input": "Hi", **body}, "primary", "large")


def test_instructions_come_first():
    assert read(instructions="Be brief.").turns == (
        Said("developer", (Text("Be brief."),)),
        Said("user", (Text("Hi"),)),
    )


def test_history_comes_before_what_is_new():
    create = read_create({"input": "Now"}, "p", "m", history=[{"role": "user", "content": "Then"}])
    assert [turn.parts[0].text for turn in create.turns] == ["Then", "Now"]


def test_settings_are_those_that_were_set():
    create = read(temperature=1, top_p=None, reasoning={"effort": "low"}, text={"verbosity": "low"}, stream=True)
    assert create.settings == {"temperature": 1, "reasoning.effort": "low", "text.verbosity": "low"}
    assert create.stream
    assert create.dropped == ()


def test_former_name_of_a_setting_stands_for_it():
    assert read(reasoning={"generate_summary": "auto"}).settings == {"reasoning.summary": "auto"}
    both = {"generate_summary": "auto", "summary": "detailed"}
    assert read(reasoning=both).settings == {"reasoning.summary": "detailed"}


def test_settings_that_ask_for_nothing_are_none():
    nothing = {"truncation": "disabled", "service_tier": "auto", "background": False, "store": True, "include": []}
    nothing |= {"reasoning": {"context": "auto", "mode": "standard"}, "text": {"verbosity": "medium"}}
    create = read(**nothing, previous_response_id="resp_1", stream_options={"include_obfuscation": False})
    assert create.settings == {}
    assert create.dropped == ()


def test_fields_nobody_knows_are_reported():
    create = read(client_metadata={"a": "b"}, stop=["x"], reasoning={"depth": 3})
    assert create.dropped == ("client_metadata", "stop", "reasoning.depth")


def test_what_cannot_be_included_is_reported():
    """What can be is in every response that has it: only log probabilities have to be asked for."""
    assert read(include=["reasoning.encrypted_content", "message.output_text.logprobs"]).dropped == ()
    assert read(include=["reasoning.encrypted_content", "the.moon", {}]).dropped == ("include",)


def test_included_logprobs_are_asked_for():
    assert read(include=["message.output_text.logprobs"]).settings == {"top_logprobs": 0}
    assert read(include=["message.output_text.logprobs"], top_logprobs=3).settings == {"top_logprobs": 3}


def test_formats_are_read():
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": None}
    assert read(text={"format": schema}).format == Format("json_schema", "n", {"type": "object"}, strict=True)
    assert read(text={"format": {"type": "json_object"}}).format == Format("json_object")
    assert read().format == Format("text")


def test_tools_of_the_input_are_offered():
    item = {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "f"}]}
    create = read_create({"input": [item, USER], "tools": [{"type": "function", "name": "g"}]}, "p", "m")
    assert [tool.name for tool in create.tools.functions] == ["g", "f"]


def test_configuration_in_the_input_overrides_the_request():
    item = {"type": "configuration_update", "reasoning": {"effort": "high"}}
    create = read_create({"input": [item, USER], "reasoning": {"effort": "low", "summary": "auto"}}, "p", "m")
    assert create.settings == {"reasoning.effort": "high", "reasoning.summary": "auto"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm"),
        ({"instructions": ["x"]}, "instructions"),
        ({"tools": {}}, "tools"),
        ({"include": 5}, "include"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a": "b" * 513}}, "metadata"),
        ({"metadata": {"a" * 65: "b"}}, "metadata"),
        ({"metadata": {str(at): "b" for at in range(17)}}, "metadata"),
        ({"include": "message.output_text.logprobs"}, "include"),
        ({"input": [{"type": "reasoning", "summary": 5}]}, "input[0].summary"),
        ({"input": [{"type": "reasoning", "summary": [], "content": True}]}, "input[0].content"),
        ({"text": "x"}, "text"),
        ({"reasoning": "low"}, "reasoning"),
        ({"temperature": "1"}, "temperature"),
        ({"max_output_tokens": True}, "max_output_tokens"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format"),
        ({"text": {"format": "json"}}, "text.format"),
    ],
)
def test_what_cannot_be_honoured_is_refused(body, param):
    with pytest.raises(BadRequest) as refused:
        read(**body)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"temperature": 2.1}, "decimal_above_max_value"),
        ({"temperature": -1}, "decimal_below_min_value"),
        ({"top_p": 1.01}, "decimal_above_max_value"),
        ({"top_logprobs": 21}, "integer_above_max_value"),
        ({"top_logprobs": -1}, "integer_below_min_value"),
        ({"max_output_tokens": 0}, "integer_below_min_value"),
        ({"max_tool_calls": 0}, "integer_below_min_value"),
    ],
)
def test_setting_outside_its_range_is_refused(body, code):
    """Also where the provider would not be told of it: nobody else would say."""
    with pytest.raises(BadRequest) as refused:
        read(**body)
    assert (refused.value.code, [refused.value.param]) == (code, list(body))


@pytest.mark.parametrize(
    "body", [{"temperature": 0}, {"temperature": 2}, {"top_p": 1}, {"top_logprobs": 20}, {"max_output_tokens": 1}]
)
def test_setting_at_the_end_of_its_range_is_taken(body):
    assert read(**body).settings == body


@pytest.mark.parametrize("nothing", [None, [], [{"type": "web_search_call", "id": "ws_1"}]])
def test_request_without_anything_to_answer_is_refused(nothing):
    """Providers say so in their own ways, or answer something."""
    with pytest.raises(BadRequest) as refused:
        read(input=nothing)
    assert (refused.value.code, refused.value.param) == ("missing_required_parameter", "input")


def test_history_or_instructions_are_something_to_answer():
    assert read_create({}, "p", "m", history=[USER]).turns
    assert read(input=None, instructions="Say hello.").turns


def test_effort_nobody_knows_is_refused():
    """Some providers have a nearest one to each they lack; of a word that says nothing there is none."""
    with pytest.raises(BadRequest) as refused:
        read(reasoning={"effort": "immense"})
    assert (refused.value.code, refused.value.param) == ("invalid_value", "reasoning.effort")


def test_depth_no_encoder_writes_is_refused():
    deep = {}
    for _ in range(300):
        deep = {"properties": deep}
    with pytest.raises(BadRequest) as refused:
        read(tools=[{"type": "function", "name": "f", "parameters": deep}])
    assert refused.value.code == "too_deep"
