import pytest

from proxy.errors import BadRequest
from tests.providers.chat_kinds import CHAT, TOOL, render


def test_web_search_is_openrouters_own():
    search = {"type": "web_search", "external_web_access": True, "filters": {"allowed_domains": ["a.example"]}}
    body, dropped = render("openrouter", tools=[search, TOOL])
    wanted = {"type": "openrouter:web_search", "parameters": {"allowed_domains": ["a.example"]}}
    assert body["tools"][1:] == [wanted]
    assert not dropped


def test_what_openrouters_search_does_not_have_is_reported():
    search = {"type": "web_search", "external_web_access": False, "search_content_types": ["text"]}
    body, dropped = render("openrouter", tools=[search])
    assert body["tools"] == [{"type": "openrouter:web_search"}]
    assert dropped == ("tools.web_search.external_web_access", "tools.web_search.search_content_types")


@pytest.mark.parametrize(
    ("choice", "sent", "tools"),
    [
        ({"type": "web_search"}, {"type": "openrouter:web_search"}, ["function", "openrouter:web_search"]),
        ("required", "required", ["function", "openrouter:web_search"]),
        ("none", "none", ["function", "openrouter:web_search"]),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]},
            None,
            ["openrouter:web_search"],
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]},
            "required",
            ["function"],
        ),
    ],
)
def test_search_may_be_chosen_like_any_tool(choice, sent, tools):
    body, _ = render("openrouter", tools=[{"type": "web_search"}, TOOL], tool_choice=choice)
    assert body.get("tool_choice") == sent
    assert [tool["type"] for tool in body["tools"]] == tools


@pytest.mark.parametrize("kind", [kind for kind in CHAT if kind != "openrouter"])
def test_search_is_reported_or_refused_where_there_is_none(kind):
    assert render(kind, tools=[{"type": "web_search"}, TOOL])[1][0] == "tools.web_search"
    with pytest.raises(BadRequest):
        render(kind, tools=[{"type": "web_search"}], tool_choice="required")
