import pytest

from proxy.errors import BadRequest
from tests.dialects.gemini_generate_content.official import GEMINI, VERTEX, render

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
TIME = {"type": "function", "name": "time", "description": "Now.", "parameters": {"type": "object"}, "strict": True}
LOOSE = {**TIME, "name": "loose", "strict": False}
SEARCH = {"type": "web_search"}
CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
THIRD = "gemini-3-flash-preview"


def names(body):
    """Return the declared functions, and the other tools."""
    declared = [one["name"] for tool in body.get("tools", []) for one in tool.get("functionDeclarations", ())]
    return declared, [name for tool in body.get("tools", []) for name in tool if name != "functionDeclarations"]


def test_functions_are_declared():
    body, rendered = render(tools=[WEATHER, TIME, {"type": "custom", "name": "exec"}])
    first, second, custom = body["tools"][0]["functionDeclarations"]
    assert first == {"name": "weather", "parametersJsonSchema": {"type": "object"}}
    assert second["description"] == "Now."
    assert custom["parametersJsonSchema"]["required"] == ["input"]
    assert "toolConfig" not in body
    # One of three is strict, and all would have to be.
    assert rendered.dropped == ("tools.strict",)


def allowed(mode, *tools):
    return {"type": "allowed_tools", "mode": mode, "tools": list(tools)}


NAMED = {"type": "function", "name": "time"}


@pytest.mark.parametrize(
    ("choice", "calling", "declared"),
    [
        ("auto", None, ["weather", "time", "loose"]),
        ("none", {"mode": "NONE"}, ["weather", "time", "loose"]),
        ("required", {"mode": "ANY"}, ["weather", "time", "loose"]),
        (NAMED, {"mode": "ANY", "allowedFunctionNames": ["time"]}, ["weather", "time", "loose"]),
        (allowed("required", NAMED), {"mode": "ANY", "allowedFunctionNames": ["time"]}, ["weather", "time", "loose"]),
        (allowed("auto", NAMED), {"mode": "VALIDATED"}, ["time"]),
        (allowed("auto", {"type": "function", "name": "loose"}), None, ["loose"]),
    ],
)
def test_choice_is_rendered(choice, calling, declared):
    body, _ = render(tools=[WEATHER, TIME, LOOSE], tool_choice=choice)
    assert body.get("toolConfig", {}).get("functionCallingConfig") == calling
    assert names(body)[0] == declared


@pytest.mark.parametrize(("model", "mode"), [("gemini-2.0-flash", None), ("gemini-2.5-flash", "VALIDATED")])
def test_strict_functions_are_held_to_where_the_model_can_be(model, mode):
    body, _ = render(model=model, tools=[WEATHER, TIME])
    assert body.get("toolConfig", {}).get("functionCallingConfig", {}).get("mode") == mode


def test_no_tools_are_no_tools():
    body, _ = render(tools=[], tool_choice="auto", parallel_tool_calls=False)
    assert not {"tools", "toolConfig"} & body.keys()


def test_parallel_calls_that_cannot_be_forbidden_are_reported():
    assert render(tools=[WEATHER], parallel_tool_calls=False)[1].dropped == ("parallel_tool_calls",)
    assert render(tools=[WEATHER], parallel_tool_calls=True)[1].dropped == ()


@pytest.mark.parametrize("tool", [SEARCH, {"type": "web_search_preview_2025_03_11"}])
def test_searches_have_a_counterpart(tool):
    body, rendered = render(tools=[tool, CODE, tool])
    assert (names(body), rendered.dropped) == (([], ["googleSearch", "codeExecution"]), ())


def test_tools_without_a_counterpart_are_reported():
    body, rendered = render(tools=[{"type": "file_search", "vector_store_ids": ["v"]}, SEARCH])
    assert (names(body), rendered.dropped) == (([], ["googleSearch"]), ("tools.file_search",))


def test_hints_to_a_search_are_reported():
    tool = {**SEARCH, "search_context_size": "low", "user_location": {"type": "approximate"}}
    lost = ("tools.web_search.search_context_size", "tools.web_search.user_location")
    assert render(tools=[tool])[1].dropped == lost


@pytest.mark.parametrize(
    "tool",
    [
        {**SEARCH, "filters": {"allowed_domains": ["a.example"]}},
        {**CODE, "container": "cntr_1"},
        {**CODE, "container": {"type": "auto", "file_ids": ["f"]}},
    ],
)
def test_restrictions_that_cannot_be_kept_are_refused(tool):
    with pytest.raises(BadRequest):
        render(tools=[tool])
    assert render(tools=[tool], tool_choice="none")


def test_both_kinds_of_tools_are_combined_where_they_can_be():
    body, rendered = render(model=THIRD, tools=[WEATHER, SEARCH])
    assert (names(body), rendered.dropped) == ((["weather"], ["googleSearch"]), ())
    assert body["toolConfig"]["includeServerSideToolInvocations"] is True


@pytest.mark.parametrize(("dialect", "model"), [(GEMINI, "gemini-2.5-pro"), (VERTEX, THIRD)])
def test_functions_go_before_hosted_tools_where_they_cannot(dialect, model):
    body, rendered = render(dialect, model, tools=[WEATHER, SEARCH, CODE])
    assert names(body) == (["weather"], [])
    assert rendered.dropped == ("tools.web_search", "tools.code_interpreter")
    assert "includeServerSideToolInvocations" not in body["toolConfig"]


def test_hosted_tools_are_not_offered_where_none_may_be_used():
    assert names(render(tools=[WEATHER, SEARCH], tool_choice="none")[0]) == (["weather"], [])


@pytest.mark.parametrize("choice", [SEARCH, {"type": "web_search_preview"}, allowed("required", SEARCH)])
def test_chosen_search_is_the_only_tool_there_is(choice):
    body, rendered = render(tools=[WEATHER, SEARCH, CODE], tool_choice=choice)
    assert (names(body), rendered.dropped) == (([], ["googleSearch"]), ("tool_choice",))


def test_call_can_be_required_beside_a_search():
    body, rendered = render(model=THIRD, tools=[WEATHER, SEARCH], tool_choice="required")
    assert body["toolConfig"]["functionCallingConfig"] == {"mode": "ANY"}
    assert rendered.dropped == ()
    assert render(tools=[SEARCH], tool_choice="required")[1].dropped == ("tool_choice",)


def test_chosen_tool_has_to_be_there():
    with pytest.raises(BadRequest) as refused:
        render(tools=[WEATHER], tool_choice=SEARCH)
    assert refused.value.param == "tool_choice"


def test_limit_on_calls_of_hosted_tools_is_reported():
    assert render(tools=[SEARCH], max_tool_calls=3)[1].dropped == ("max_tool_calls",)
    assert render(tools=[WEATHER], max_tool_calls=3)[1].dropped == ()
