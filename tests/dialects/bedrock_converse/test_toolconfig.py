import pytest

from proxy.dialects.bedrock_converse.families import Profile, profile_of
from proxy.dialects.bedrock_converse.toolconfig import CODE_INTERPRETER, PLACEHOLDER, render_tool_config
from proxy.dialects.create import read_create
from proxy.dialects.remaining import Remaining
from proxy.errors import BadRequest
from tests.dialects.bedrock_converse.service import check_request

CLAUDE = profile_of("anthropic.claude-sonnet-4-5-20250929-v1:0")
NOVA = profile_of("amazon.nova-2-lite-v1:0")
OTHER = Profile()
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
TIME = {"type": "function", "name": "time", "description": "Now.", "parameters": {"type": "object"}}
CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
NAMED = {"type": "function", "name": "time"}
ALLOWED = {"type": "allowed_tools", "mode": "required", "tools": [NAMED]}
CALLED = [
    {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "a", "output": "x"},
]


def render(profile=CLAUDE, **body):
    """Render, and return the tool configuration, the further fields and what was dropped."""
    create = read_create({"input": "Hi", **body}, "primary", "large", hosted=profile.hosted)
    left = Remaining(create)
    rendered = render_tool_config(create, profile, left)
    check_request("Converse", rendered)
    return rendered.get("toolConfig"), rendered.get("additionalModelRequestFields"), left.dropped()


def names_of(config):
    return [next(iter(tool.values()))["name"] for tool in config["tools"]]


def test_function_is_a_tool_specification():
    config, _, dropped = render(tools=[TIME])
    schema = {"json": {"type": "object"}}
    assert config == {"tools": [{"toolSpec": {"name": "time", "description": "Now.", "inputSchema": schema}}]}
    assert dropped == ()


@pytest.mark.parametrize("parameters", [None, {}, {"properties": {}}])
def test_parameters_are_always_an_object(parameters):
    config, _, _ = render(tools=[{"type": "function", "name": "f", "description": " ", "parameters": parameters}])
    (tool,) = config["tools"]
    assert tool["toolSpec"]["inputSchema"]["json"]["type"] == "object"
    assert "description" not in tool["toolSpec"]


def test_strict_tool_has_the_schema_that_is_enforced():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    config, _, _ = render(tools=[{**WEATHER, "parameters": schema}, {**TIME, "parameters": schema}])
    strict, loose = (tool["toolSpec"] for tool in config["tools"])
    enforced = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    assert (strict["strict"], strict["inputSchema"]["json"]) == (True, enforced)
    assert loose["inputSchema"]["json"] == schema
    assert "strict" not in loose


def test_strictness_a_model_does_not_have_is_reported():
    config, _, dropped = render(OTHER, tools=[WEATHER])
    assert dropped == ("tools.strict",)
    assert "strict" not in config["tools"][0]["toolSpec"]
    assert render(OTHER, tools=[TIME, {**WEATHER, "strict": False}])[2] == ()


def test_more_strict_tools_than_there_may_be_are_not_strict():
    many = [{**WEATHER, "name": f"f{number}"} for number in range(21)]
    assert render(tools=many[:20])[2] == ()
    assert render(tools=many)[2] == ("tools.strict",)


@pytest.mark.parametrize(
    ("profile", "choice", "rendered", "offered"),
    [
        (CLAUDE, "auto", None, ["weather", "time"]),
        (CLAUDE, "required", {"any": {}}, ["weather", "time"]),
        (CLAUDE, NAMED, {"tool": {"name": "time"}}, ["weather", "time"]),
        (OTHER, NAMED, {"any": {}}, ["time"]),
        (CLAUDE, ALLOWED, {"any": {}}, ["time"]),
        (CLAUDE, {**ALLOWED, "mode": "auto"}, None, ["time"]),
    ],
)
def test_tool_choice_holds_in_every_form(profile, choice, rendered, offered):
    config, _, _ = render(profile, tools=[WEATHER, TIME], tool_choice=choice)
    assert (config.get("toolChoice"), names_of(config)) == (rendered, offered)


def test_no_tool_is_offered_where_none_may_be_called():
    assert render(tools=[WEATHER], tool_choice="none")[0] is None
    assert render(tools=[])[0] is None


@pytest.mark.parametrize("tools", [{"tools": [WEATHER], "tool_choice": "none"}, {}])
def test_calls_in_the_history_need_a_tool_that_does_nothing(tools):
    config, _, _ = render(input=CALLED, **tools)
    assert names_of(config) == [PLACEHOLDER]
    assert "toolChoice" not in config


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        (NAMED, {"type": "tool", "name": "time"}),
    ],
)
def test_parallel_calls_are_forbidden_in_the_words_of_the_model(choice, told):
    config, fields, dropped = render(tools=[WEATHER, TIME], tool_choice=choice, parallel_tool_calls=False)
    assert fields == {"tool_choice": {**told, "disable_parallel_tool_use": True}}
    assert (dropped, "toolChoice" in config) == ((), False)


def test_parallel_calls_that_cannot_be_forbidden_are_reported():
    assert render(OTHER, tools=[TIME], parallel_tool_calls=False)[2] == ("parallel_tool_calls",)
    assert render(OTHER, tools=[TIME], parallel_tool_calls=True)[2] == ()
    assert render(OTHER, parallel_tool_calls=False)[2] == ()


def test_code_is_run_where_the_model_can():
    config, _, dropped = render(NOVA, tools=[TIME, CODE, CODE, {"type": "web_search"}])
    assert config["tools"][1:] == [{"systemTool": {"name": CODE_INTERPRETER}}]
    assert dropped == ("tools.web_search",)
    assert render(OTHER, tools=[TIME, CODE])[2] == ("tools.code_interpreter",)


@pytest.mark.parametrize("container", ["cntr_1", {"type": "auto", "file_ids": ["file_1"]}])
def test_container_of_ones_own_is_reported(container):
    config, _, dropped = render(NOVA, tools=[{**CODE, "container": container}])
    assert (len(config["tools"]), dropped) == (1, ("tools.code_interpreter.container",))


def test_code_can_be_the_only_choice():
    config, _, _ = render(NOVA, tools=[TIME, CODE], tool_choice={"type": "code_interpreter"})
    assert config == {"tools": [{"systemTool": {"name": CODE_INTERPRETER}}], "toolChoice": {"any": {}}}
    config, _, _ = render(NOVA, tools=[TIME, CODE], tool_choice=NAMED)
    assert (config["toolChoice"], names_of(config)) == ({"tool": {"name": "time"}}, ["time"])
    with pytest.raises(BadRequest) as refused:
        render(OTHER, tools=[TIME, CODE], tool_choice={"type": "code_interpreter"})
    assert refused.value.param == "tool_choice"
