from dataclasses import replace

import pytest

from proxy.dialects.chat_completions.profile import Hosted, Profile
from proxy.dialects.chat_completions.tools import render_tools
from proxy.dialects.create import read_create
from proxy.dialects.remaining import Remaining
from proxy.dialects.tools import read_tools
from proxy.errors import BadRequest
from tests.dialects.chat_completions.test_request import BARE, TIME, WEATHER, render


def test_every_tool_is_a_function():
    body, _ = render(tools=[WEATHER, TIME, {"type": "custom", "name": "exec"}], parallel_tool_calls=False)
    names = [(tool["function"]["name"], tool["function"].get("strict")) for tool in body["tools"]]
    assert names == [("weather", True), ("time", None), ("exec", None)]
    assert body["parallel_tool_calls"] is False
    assert "strict" not in render(BARE, tools=[WEATHER])[0]["tools"][0]["function"]


def test_parallel_calls_that_cannot_be_forbidden_are_reported():
    assert render(BARE, tools=[TIME], parallel_tool_calls=False)[1].dropped == ("parallel_tool_calls",)
    assert render(BARE, tools=[TIME], parallel_tool_calls=True)[1].dropped == ()
    assert render(BARE, parallel_tool_calls=False)[1].dropped == ()


NAMED = {"type": "function", "name": "time"}
ALLOWED = {"type": "allowed_tools", "mode": "required", "tools": [NAMED]}


@pytest.mark.parametrize(
    ("choices", "choice", "rendered", "offered"),
    [
        ({"none", "required", "named"}, "auto", None, 2),
        ({"none", "required", "named"}, "none", "none", 2),
        ({"none", "required", "named"}, "required", "required", 2),
        ({"none", "required", "named"}, NAMED, {"type": "function", "function": {"name": "time"}}, 2),
        ({"none", "required"}, NAMED, "required", 1),
        ({"none", "required", "named"}, ALLOWED, "required", 1),
        ({"none"}, {**ALLOWED, "mode": "auto"}, None, 1),
    ],
)
def test_tool_choice_holds_in_every_form(choices, choice, rendered, offered):
    body, _ = render(Profile(choices=frozenset(choices)), tools=[WEATHER, TIME], tool_choice=choice)
    assert body.get("tool_choice") == rendered
    assert len(body["tools"]) == offered


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_choice_a_provider_cannot_be_told_is_refused(choice):
    with pytest.raises(BadRequest) as refused:
        render(BARE, tools=[WEATHER, TIME], tool_choice=choice)
    assert refused.value.param == "tool_choice"


def test_hosted_tools_are_reported():
    body, rendered = render(tools=[{"type": "web_search"}, WEATHER], max_tool_calls=3)
    assert rendered.dropped == ("tools.web_search", "max_tool_calls")
    assert len(body["tools"]) == 1


def test_limit_on_calls_of_hosted_tools_says_nothing_without_any():
    assert render(tools=[WEATHER], max_tool_calls=3)[1].dropped == ()


SEARCH = Hosted("openrouter:web_search", {"search_context_size": "size", "filters.allowed_domains": "domains"})
SEARCHES = Profile(hosted={"web_search": SEARCH})


def search(tools, choice="auto", **members):
    """Render by the tools themselves: the request's reader has to know which are hosted."""
    declared = [("tools[0]", {"type": "web_search", **members}), *(("tools[1]", tool) for tool in tools)]
    create = read_create({"input": "Hi"}, "primary", "large")
    create = replace(create, tools=read_tools(declared, choice, hosted=frozenset({"web_search"})))
    left = Remaining(create)
    return render_tools(create, SEARCHES, left), left.dropped()


def test_hosted_tool_is_the_providers_own_with_the_members_it_has():
    given = {"search_context_size": "low", "filters": {"allowed_domains": ["a"], "blocked_domains": ["b"]}, "x": 1}
    rendered, dropped = search([], user_location=None, external_web_access=True, **given)
    assert rendered == {"tools": [{"type": SEARCH.type, "parameters": {"size": "low", "domains": ["a"]}}]}
    assert dropped == ("tools.web_search.filters.blocked_domains", "tools.web_search.x")


def test_hosted_tool_is_chosen_by_the_providers_name_for_it():
    rendered, _ = search([WEATHER], {"type": "web_search"})
    assert rendered["tool_choice"] == {"type": SEARCH.type}
    assert len(rendered["tools"]) == 2


@pytest.mark.parametrize(("allowed", "left"), [({"type": "web_search"}, [SEARCH.type]), (TIME, ["function"])])
def test_hosted_tool_is_offered_where_it_is_allowed(allowed, left):
    rendered, _ = search([TIME, WEATHER], {"type": "allowed_tools", "mode": "auto", "tools": [allowed]})
    assert [tool["type"] for tool in rendered["tools"]] == left


def test_function_called_like_a_hosted_tool_is_the_function():
    rendered, _ = search([{**TIME, "name": "web_search"}], {"type": "function", "name": "web_search"})
    assert rendered["tool_choice"] == {"type": "function", "function": {"name": "web_search"}}


def test_keywords_a_provider_rejects_are_left_out_of_parameters_and_reported():
    bounded = {"type": "array", "maxItems": 3, "items": {"type": "string"}}
    tool = {**TIME, "parameters": {"type": "object", "properties": {"maxItems": bounded}}}
    body, rendered = render(Profile(unread_keywords=frozenset({"maxItems"})), tools=[tool])
    found = body["tools"][0]["function"]["parameters"]["properties"]["maxItems"]
    assert found == {"type": "array", "items": {"type": "string"}}
    assert rendered.dropped == ("tools.parameters.maxItems",)
