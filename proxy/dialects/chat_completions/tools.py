"""Renders the tools of a request for chat completions, and which of them may or must be called."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.dialects.chat_completions.profile import Hosted, Profile
from proxy.dialects.create import Create
from proxy.dialects.remaining import Remaining
from proxy.dialects.schema import rewrite_schema
from proxy.dialects.tools import Tool, Tools
from proxy.errors import BadRequest

_PARALLEL: Final = "parallel_tool_calls"
_WITHOUT_EFFECT: Final[Mapping[str, Any]] = {"external_web_access": True}
"""Members of hosted tools with the value that is what a provider does anyway."""


def render_tools(create: Create, profile: Profile, left: Remaining) -> dict[str, Any]:
    """Render the tools and the tool choice; BadRequest for a choice the provider cannot be told."""
    left.drop_hosted(create, frozenset(profile.hosted))
    parallel = left.take(_PARALLEL)
    tools, choice = create.tools, create.tools.choice
    hosted = [tool for tool in tools.hosted if tool.get("type") in profile.hosted]
    if not tools.offered() and not hosted:
        return {}
    chosen = _render_choice(tools, profile)
    # Told by name, the function stays one of many; otherwise what may not be called is not offered.
    everything = choice.only is None or isinstance(chosen, dict)
    functions = tools.functions if everything else tools.offered()
    rendered: dict[str, Any] = {"tools": [_render_function(tool, profile, left) for tool in functions]}
    rendered["tools"] += [
        _render_hosted(tool, profile.hosted[tool["type"]], left)
        for tool in hosted
        if everything or tool["type"] in (choice.only or ())
    ]
    if chosen != "auto":
        rendered["tool_choice"] = chosen
    if parallel is not None and _PARALLEL in profile.settings:
        rendered[_PARALLEL] = parallel
    elif parallel is False:
        left.drop(_PARALLEL)
    return rendered


def _render_choice(tools: Tools, profile: Profile) -> Any:
    """Render the tool choice; a named function the provider cannot be told of becomes the only one there is."""
    choice = tools.choice
    if choice.named and choice.only and "named" in profile.choices:
        (name,) = choice.only
        if tools.find(name) is None:
            return {"type": profile.hosted[name].type}
        return {"type": "function", "function": {"name": name}}
    if choice.mode != "auto" and choice.mode not in profile.choices:
        raise BadRequest(f"tool_choice {choice.mode!r} is not available with this provider.", param="tool_choice")
    return choice.mode


def _render_function(tool: Tool, profile: Profile, left: Remaining) -> dict[str, Any]:
    parameters = fit_schema(tool.parameters, "tools.parameters", profile, left)
    function: dict[str, Any] = {"name": tool.name, "parameters": parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None and profile.strict_tools:
        function["strict"] = tool.strict
    elif tool.strict:
        left.drop("tools.strict")
    return {"type": "function", "function": function}


def _render_hosted(tool: Mapping[str, Any], known: Hosted, left: Remaining) -> dict[str, Any]:
    parameters = {}
    for name, value in _members(tool):
        if name in known.members:
            parameters[known.members[name]] = value
        elif _WITHOUT_EFFECT.get(name) != value:
            left.drop(f"tools.{tool['type']}.{name}")
    return {"type": known.type, **({"parameters": parameters} if parameters else {})}


def _members(tool: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what is set of a hosted tool, of its filters dotted."""
    for name, value in tool.items():
        if name == "filters" and isinstance(value, dict):
            yield from ((f"filters.{inner}", given) for inner, given in value.items() if given is not None)
        elif name != "type" and value is not None:
            yield name, value


def fit_schema(schema: Mapping[str, Any], place: str, profile: Profile, left: Remaining) -> Mapping[str, Any]:
    """Return the schema without the keywords the provider rejects, which are reported as in `place`."""
    unread = profile.unread_keywords
    if not unread:
        return schema

    def rewrite(inner: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in inner:
            if name in unread:
                left.drop(f"{place}.{name}")
        return {name: value for name, value in inner.items() if name not in unread}

    return rewrite_schema(schema, rewrite)
