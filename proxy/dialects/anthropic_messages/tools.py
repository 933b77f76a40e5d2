"""Renders the tools of a request and the choice among them; some the provider runs itself."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.dialects.anthropic_messages.models import Model
from proxy.dialects.anthropic_messages.profiles import CODE, SEARCHES, Profile
from proxy.dialects.anthropic_messages.structured import fit_schema
from proxy.dialects.create import Create
from proxy.dialects.remaining import Remaining
from proxy.dialects.tools import Choice, Tool
from proxy.errors import BadRequest

_SEARCH: Final[Mapping[str, Any]] = {"type": "web_search_20250305", "name": "web_search"}
"""The version every model and cloud has; later ones write code to search, which costs more and changes the answer."""
_EXECUTION: Final[Mapping[str, Any]] = {"type": "code_execution_20250825", "name": "code_execution"}
_PLACE: Final = ("city", "region", "country", "timezone")
_DEFAULTS: Final = {"external_web_access": True}
_AUTOMATIC: Final = "auto"


def render_tools(create: Create, profile: Profile, model: Model, left: Remaining) -> dict[str, Any]:
    """Render the members that are about tools; BadRequest for a choice the model cannot be held to."""
    left.drop_hosted(create, profile.hosted)
    parallel = left.take("parallel_tool_calls")
    only, named = create.tools.choice.only, create.tools.choice.named
    hosted = [
        tool
        for tool in create.tools.hosted
        if tool.get("type") in profile.hosted and (only is None or named or tool.get("type") in only)
    ]
    # Told by name, a tool stays one of many; otherwise what may not be called is not offered.
    functions = create.tools.functions if named else create.tools.offered()
    rendered: dict[str, Any] = {}
    tools = [
        *(_render_tool(tool, model, left) for tool in functions),
        *(_render_hosted(tool, rendered, left.drop) for tool in _distinct(hosted)),
    ]
    if not tools:
        return {}
    _limit_uses(tools, left)
    choice = _render_choice(create.tools.choice, model)
    if parallel is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return {"tools": tools, **({} if choice == {"type": "auto"} else {"tool_choice": choice}), **rendered}


def is_forced(create: Create) -> bool:
    """Tell whether a tool has to be called."""
    return create.tools.choice.mode == "required"


def names_of(rendered: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the rendered tools that the provider runs."""
    return frozenset(tool["name"] for tool in rendered.get("tools", ()) if "type" in tool)


def _distinct(hosted: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return one of each tool: the API has several names for a search."""
    return list({_name_of(str(tool["type"])): tool for tool in hosted}.values())


def _name_of(kind: str) -> str:
    return str((_SEARCH if kind in SEARCHES else _EXECUTION)["name"])


def _render_tool(tool: Tool, model: Model, left: Remaining) -> dict[str, Any]:
    strict = tool.strict is True and model.structured
    if tool.strict is True and not strict:
        left.drop("tools.strict")
    schema = fit_schema(tool.parameters) if strict else tool.parameters
    rendered: dict[str, Any] = {"name": tool.name, "input_schema": {"type": "object", **schema}}
    if tool.description:
        rendered["description"] = tool.description
    if strict:
        rendered["strict"] = True
    return rendered


def _render_hosted(tool: Mapping[str, Any], body: dict[str, Any], drop: Callable[[str], None]) -> dict[str, Any]:
    if tool["type"] == CODE:
        return _render_execution(tool, body, drop)
    rendered = dict(_SEARCH)
    filters = tool.get("filters")
    for name in ("allowed_domains", "blocked_domains"):
        domains = filters.get(name) if isinstance(filters, dict) else None
        if domains:
            rendered[name] = domains
    place = tool.get("user_location")
    if isinstance(place, dict):
        known = {name: place[name] for name in _PLACE if place.get(name)}
        rendered["user_location"] = {"type": "approximate", **known}
    for name, value in tool.items():
        if name not in ("type", "filters", "user_location") and value not in (None, _DEFAULTS.get(name)):
            drop(f"tools.{tool['type']}.{name}")
    return rendered


def _render_execution(tool: Mapping[str, Any], body: dict[str, Any], drop: Callable[[str], None]) -> dict[str, Any]:
    container = tool.get("container")
    if isinstance(container, str) and container != _AUTOMATIC:
        body["container"] = container
    elif isinstance(container, dict):
        for name, value in container.items():
            if name != "type" and value:
                drop(f"tools.{CODE}.container.{name}")
    return dict(_EXECUTION)


def _limit_uses(tools: list[dict[str, Any]], left: Remaining) -> None:
    """Limit the calls of the provider's tools, where search is the only one: it alone has a limit."""
    hosted = [tool for tool in tools if "type" in tool]
    if [tool["name"] for tool in hosted] == [_SEARCH["name"]]:
        limit = left.take("max_tool_calls")
        if limit is not None:
            hosted[0]["max_uses"] = limit


def _render_choice(choice: Choice, model: Model) -> dict[str, Any]:
    if choice.mode == "required" and not model.forced:
        raise BadRequest("This model cannot be made to call a tool: tool_choice has to be auto.", param="tool_choice")
    if choice.named and choice.only:
        name = choice.only[0]
        return {"type": "tool", "name": _name_of(name) if name in {*SEARCHES, CODE} else name}
    return {"type": "any" if choice.mode == "required" else choice.mode}
