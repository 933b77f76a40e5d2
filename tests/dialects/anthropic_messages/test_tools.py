import pytest

from proxy.dialects.anthropic_messages import vertex_profile
from proxy.dialects.anthropic_messages.tools import names_of
from proxy.errors import BadRequest
from tests.dialects.anthropic_messages.rendering import LATEST, OLD, render

OBJECT = {"type": "object", "properties": {"at": {"type": "string", "maxLength": 3}}, "required": ["at"]}
LOOK = {"type": "function", "name": "look", "description": "Looks.", "parameters": OBJECT, "strict": True}
NOW = {"type": "function", "name": "now", "parameters": {"properties": {}}, "strict": False}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
EXECUTION = {"type": "code_execution_20250825", "name": "code_execution"}


def tools_of(*tools, **body):
    body, dropped = render(tools=list(tools), **body)
    return body.get("tools"), body.get("tool_choice"), dropped


def test_functions_are_rendered_with_their_schemas():
    look, now = tools_of(LOOK, NOW)[0]
    assert (look["name"], look["description"], look["strict"]) == ("look", "Looks.", True)
    assert look["input_schema"]["additionalProperties"] is False
    assert now == {"name": "now", "input_schema": {"type": "object", "properties": {}}}


def test_strictness_a_model_does_not_have_is_reported():
    (look,), _, dropped = tools_of(LOOK, model="claude-sonnet-4-20250514")
    assert look["input_schema"] == OBJECT
    assert "strict" not in look
    assert dropped == ("tools.strict",)


NAMED = {"type": "function", "name": "now"}


def allowed(*tools, mode="auto"):
    return {"type": "allowed_tools", "mode": mode, "tools": list(tools)}


@pytest.mark.parametrize(
    ("choice", "parallel", "rendered", "offered"),
    [
        ("auto", None, None, 3),
        ("auto", True, None, 3),
        ("auto", False, {"type": "auto", "disable_parallel_tool_use": True}, 3),
        ("none", False, {"type": "none"}, 3),
        ("required", None, {"type": "any"}, 3),
        (NAMED, False, {"type": "tool", "name": "now", "disable_parallel_tool_use": True}, 3),
        ({"type": "web_search"}, None, {"type": "tool", "name": "web_search"}, 3),
        (allowed(NAMED), None, None, 1),
        (allowed(NAMED, {"type": "web_search"}, mode="required"), None, {"type": "any"}, 2),
        (allowed({"type": "web_search"}), None, None, 1),
    ],
)
def test_tool_choice_holds_in_every_form(choice, parallel, rendered, offered):
    tools, told, dropped = tools_of(LOOK, NOW, {"type": "web_search"}, tool_choice=choice, parallel_tool_calls=parallel)
    assert (told, len(tools), dropped) == (rendered, offered, ())


def test_choice_without_tools_says_nothing():
    assert tools_of(tool_choice="none", parallel_tool_calls=False) == (None, None, ())
    assert tools_of(LOOK, tool_choice=allowed()) == (None, None, ())


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_model_that_cannot_be_forced_is_not(choice):
    with pytest.raises(BadRequest) as refused:
        tools_of(NOW, tool_choice=choice, model=LATEST)
    assert refused.value.param == "tool_choice"


def test_search_has_its_counterpart():
    place = {"type": "approximate", "city": "Oslo", "country": "NO", "region": None}
    search = {"type": "web_search_preview", "filters": {"allowed_domains": ["a.example"]}, "user_location": place}
    (tool,), _, dropped = tools_of({**search, "search_context_size": "low", "external_web_access": True})
    located = {"type": "approximate", "city": "Oslo", "country": "NO"}
    assert tool == {**SEARCH, "allowed_domains": ["a.example"], "user_location": located}
    assert dropped == ("tools.web_search_preview.search_context_size",)


def test_search_of_what_is_stored_only_is_reported():
    assert tools_of({"type": "web_search", "external_web_access": False})[2] == (
        "tools.web_search.external_web_access",
    )


def test_code_has_its_counterpart():
    body, dropped = render(tools=[{"type": "code_interpreter", "container": "container_1"}])
    assert (body["tools"], body["container"], dropped) == ([EXECUTION], "container_1", ())
    automatic = {"type": "auto", "file_ids": ["file_1"], "memory_limit": None}
    body, dropped = render(tools=[{"type": "code_interpreter", "container": automatic}])
    assert (body["tools"], "container" in body) == ([EXECUTION], False)
    assert dropped == ("tools.code_interpreter.container.file_ids",)


def test_limit_on_calls_is_one_on_searches():
    (tool,), _, dropped = tools_of({"type": "web_search"}, max_tool_calls=3)
    assert (tool["max_uses"], dropped) == (3, ())
    both = tools_of({"type": "web_search"}, {"type": "code_interpreter"}, max_tool_calls=3)
    assert both[2] == ("max_tool_calls",)
    assert tools_of(LOOK, max_tool_calls=3)[2] == ()


def test_searches_of_several_names_are_one_tool():
    assert tools_of({"type": "web_search"}, {"type": "web_search_preview"})[0] == [SEARCH]


def test_tools_the_provider_does_not_run_are_reported():
    assert tools_of({"type": "file_search"}, LOOK)[2] == ("tools.file_search",)
    vertex = vertex_profile("p", "us-east5")
    body, dropped = render(OLD, vertex, tools=[{"type": "code_interpreter"}, {"type": "web_search"}])
    assert (body["tools"], dropped) == ([SEARCH], ("tools.code_interpreter",))


def test_names_are_those_of_tools_the_provider_runs():
    assert names_of({"tools": [SEARCH, {"name": "look"}]}) == {"web_search"}
    assert names_of({}) == frozenset()
