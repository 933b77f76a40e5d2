import pytest

from proxy.dialects.tools import Choice, read_tools, unread_members, upstream_name
from proxy.errors import BadRequest

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True, "description": "d"}
PATCH = {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"}}
FILES = {
    "type": "namespace",
    "name": "files",
    "description": "On disk.",
    "tools": [{"type": "function", "name": "open"}],
}
SEARCH = {"type": "web_search"}


def read(*tools, choice=None, hosted=frozenset()):
    return read_tools([(f"tools[{at}]", tool) for at, tool in enumerate(tools)], choice, hosted=hosted)


def test_functions_are_read_as_declared():
    (tool,) = read(WEATHER).functions
    assert (tool.name, tool.own_name, tool.strict, tool.description) == ("weather", "weather", True, "d")
    assert tool.parameters == {"type": "object"}


def test_function_without_parameters_takes_an_object():
    (tool,) = read({"type": "function", "name": "now", "parameters": None}).functions
    assert tool.parameters == {"type": "object", "properties": {}}
    assert tool.strict is None


def test_nested_form_of_chat_completions_is_understood():
    (tool,) = read({"type": "function", "function": {"name": "now", "strict": False}}).functions
    assert (tool.name, tool.strict) == ("now", False)


def test_custom_tool_is_a_function_of_one_text():
    (tool,) = read(PATCH).functions
    assert tool.custom
    assert list(tool.parameters["properties"]) == ["input"]
    assert "lark" in tool.description
    assert "start: A" in tool.description


def test_namespaced_tool_is_found_by_the_providers_name():
    tools = read(FILES, {**FILES, "name": "mail"})
    assert [tool.name for tool in tools.functions] == ["files__open", "mail__open"]
    found = tools.find("mail__open")
    assert (found.own_name, found.namespace, found.description) == ("open", "mail", "On disk.")
    assert tools.find("open") is None


FIND = {
    "type": "tool_search",
    "execution": "client",
    "description": "Finds tools.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}


def test_search_the_client_executes_is_a_function():
    (tool,) = read(FIND).functions
    assert (tool.name, tool.description, tool.searches, tool.kind) == (
        "tool_search",
        "Finds tools.",
        True,
        "tool_search",
    )
    assert list(tool.parameters["properties"]) == ["query"]
    assert read({**FIND, "execution": "server"}).hosted == ({**FIND, "execution": "server"},)


def test_search_can_be_among_the_allowed_tools():
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "tool_search"}]}
    assert [tool.name for tool in read(WEATHER, FIND, choice=choice).offered()] == ["tool_search"]


def test_long_and_strange_names_stay_within_what_providers_take():
    names = {upstream_name("n" * 60, "space" * 9), upstream_name("n" * 61, "space" * 9)}
    assert all(len(name) <= 64 for name in names)
    assert len(names) == 2
    assert upstream_name("a.b", "c/d") == "c_d__a_b"


def test_hosted_tools_are_kept_as_sent():
    assert read(SEARCH, WEATHER).hosted == (SEARCH,)


def test_tool_declared_twice_is_one():
    assert len(read(WEATHER, WEATHER).functions) == 1


@pytest.mark.parametrize(
    ("choice", "read_as"),
    [
        (None, Choice("auto")),
        ("none", Choice("none")),
        ("required", Choice("required")),
        ({"type": "function", "name": "weather"}, Choice("required", ("weather",), named=True)),
        ({"type": "function", "name": "open"}, Choice("required", ("files__open",), named=True)),
        ({"type": "function", "name": "open", "namespace": "files"}, Choice("required", ("files__open",), named=True)),
        ({"type": "custom", "name": "patch"}, Choice("required", ("patch",), named=True)),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "patch"}, SEARCH]},
            Choice("auto", ("patch",)),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]},
            Choice("required", ("weather",)),
        ),
    ],
)
def test_every_form_of_tool_choice_is_read(choice, read_as):
    assert read(WEATHER, PATCH, FILES, SEARCH, choice=choice).choice == read_as


def test_allowed_tools_are_all_that_is_offered():
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "patch"}]}
    assert [tool.name for tool in read(WEATHER, PATCH, choice=choice).offered()] == ["patch"]


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([WEATHER], "sometimes"),
        ([WEATHER], 3),
        ([WEATHER], {"type": "function", "name": "other"}),
        ([WEATHER, SEARCH], {"type": "web_search"}),
        ([WEATHER], {"type": "mcp", "server_label": "s"}),
        ([SEARCH], "required"),
        ([], "required"),
        ([WEATHER, SEARCH], {"type": "allowed_tools", "mode": "required", "tools": [SEARCH]}),
        ([WEATHER], {"type": "allowed_tools", "mode": "always", "tools": []}),
        ([WEATHER], {"type": "allowed_tools", "tools": "weather"}),
        ([3], None),
        ([{"type": "function"}], None),
        ([{"type": []}], None),
        ([WEATHER], {"type": "allowed_tools", "mode": "auto", "tools": [{"type": {}}]}),
        ([{"type": "namespace", "name": "x"}], None),
        ([{"type": "namespace", "name": "x", "tools": [SEARCH]}], None),
        ([FILES, {"type": "function", "name": "files__open"}], None),
        ([FIND, {"type": "function", "name": "tool_search"}], None),
        ([{"type": "function", "name": "tool_search"}], {"type": "tool_search"}),
    ],
)
def test_what_cannot_be_honoured_is_refused(tools, choice):
    with pytest.raises(BadRequest) as refused:
        read(*tools, choice=choice)
    assert refused.value.param.startswith("tool")


def test_hosted_tool_with_a_counterpart_can_be_forced():
    tools = read(SEARCH, choice={"type": "web_search"}, hosted=frozenset({"web_search"}))
    assert tools.choice == Choice("required", ("web_search",), named=True)
    assert read(SEARCH, choice="required", hosted=frozenset({"web_search"})).choice == Choice("required")


def test_what_no_format_has_of_a_tool_is_named():
    plain = {
        "type": "function",
        "name": "f",
        "strict": None,
        "defer_loading": None,
        "async": False,
        "allowed_callers": ["direct"],
    }
    asking = {"type": "custom", "name": "c", "defer_loading": True, "async": True}
    space = {"type": "namespace", "name": "n", "tools": [{"name": "g", "output_schema": {}}, 3]}
    hosted = {"type": "web_search", "filters": {}}
    declared = [("tools", tool) for tool in (plain, asking, space, hosted, 3)]
    assert unread_members(declared) == ["tools.defer_loading", "tools.async", "tools.output_schema"]
    assert unread_members([("tools", plain), ("tools", {"type": "namespace", "name": "n", "tools": None})]) == []
