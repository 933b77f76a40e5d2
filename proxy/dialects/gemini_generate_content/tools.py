"""Renders the tools and how they may be chosen."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from proxy.dialects.create import Create
from proxy.dialects.gemini_generate_content.generations import Generation
from proxy.dialects.gemini_generate_content.profile import Profile
from proxy.dialects.gemini_generate_content.schemas import fit_schema
from proxy.dialects.remaining import Remaining
from proxy.dialects.tools import Choice, Tool
from proxy.errors import BadRequest

HOSTED: Final[Mapping[str, str]] = {
    "code_interpreter": "codeExecution",
    "web_search": "googleSearch",
    "web_search_2025_08_26": "googleSearch",
    "web_search_preview": "googleSearch",
    "web_search_preview_2025_03_11": "googleSearch",
}
"""Types of hosted tools, each with its counterpart."""

_HINTS: Final = ("search_context_size", "user_location")


class Offered(NamedTuple):
    """What the choice leaves of the tools: functions, and counterparts of hosted tools."""

    functions: tuple[Tool, ...]
    hosted: tuple[str, ...]


def render_tools(create: Create, profile: Profile, generation: Generation, left: Remaining) -> dict[str, Any]:
    """Render `tools` and `toolConfig`; BadRequest where a tool has to be called that is not there."""
    left.drop_hosted(create, frozenset(HOSTED))
    parallel = left.take("parallel_tool_calls")
    choice = create.tools.choice
    offered = Offered(create.tools.offered(), _offer_hosted(create, left))
    if choice.mode == "required" and not (offered.functions or offered.hosted):
        raise BadRequest("The tool that is to be called is not among the tools.", param="tool_choice")
    combined = bool(offered.functions and offered.hosted)
    if combined and not (profile.combines and generation.combines):
        for tool in create.tools.hosted:
            if tool.get("type") in HOSTED:
                left.drop(f"tools.{tool.get('type')}")
        offered, combined = offered._replace(hosted=()), False
    if parallel is False and offered.functions and choice.mode != "none":
        left.drop("parallel_tool_calls")
    return _render(create, offered, generation, left, combined=combined)


def _offer_hosted(create: Create, left: Remaining) -> tuple[str, ...]:
    """Return the counterparts of the hosted tools that may be used."""
    choice = create.tools.choice
    if choice.mode == "none":
        return ()
    wanted = None if choice.only is None else {HOSTED.get(name) for name in choice.only}
    found: dict[str, None] = {}
    for tool in create.tools.hosted:
        own = HOSTED.get(str(tool.get("type")))
        if own is not None and (wanted is None or own in wanted):
            _refuse_restrictions(tool)
            for hint in _HINTS:
                if tool.get(hint) is not None:
                    left.drop(f"tools.{tool.get('type')}.{hint}")
            found[own] = None
    return tuple(found)


def _refuse_restrictions(tool: Mapping[str, Any]) -> None:
    """Refuse what narrows a tool down and cannot be told: without it the tool would do what it must not."""
    if tool.get("filters"):
        raise BadRequest("Searches cannot be kept to domains with this provider.", param="tools.filters")
    container = tool.get("container")
    if isinstance(container, str) or (isinstance(container, dict) and container.get("file_ids")):
        raise BadRequest("Code cannot be given a container or files with this provider.", param="tools.container")


def _render(
    create: Create, offered: Offered, generation: Generation, left: Remaining, *, combined: bool
) -> dict[str, Any]:
    choice = create.tools.choice
    told = choice.mode == "required" and bool(offered.functions)
    # All stay declared where it can be told which of them may be called.
    functions = create.tools.functions if told else offered.functions
    tools: list[dict[str, Any]] = [{name: {}} for name in offered.hosted]
    if functions:
        tools.insert(0, {"functionDeclarations": [_render_tool(tool) for tool in functions]})
    rendered: dict[str, Any] = {"tools": tools} if tools else {}
    config: dict[str, Any] = {}
    if functions:
        calling = _render_choice(choice, offered.functions, generation)
        if calling:
            config["functionCallingConfig"] = calling
        elif any(tool.strict for tool in offered.functions):
            # They can be held to their schemas all together only.
            left.drop("tools.strict")
    elif choice.mode == "required":
        # Only functions can be forced; a hosted tool is the only thing there is to be used.
        left.drop("tool_choice")
    if combined:
        config["includeServerSideToolInvocations"] = True
    return rendered | ({"toolConfig": config} if config else {})


def _render_choice(choice: Choice, functions: tuple[Tool, ...], generation: Generation) -> dict[str, Any]:
    if choice.mode == "none":
        return {"mode": "NONE"}
    if choice.mode == "required":
        names = {} if choice.only is None else {"allowedFunctionNames": [tool.name for tool in functions]}
        return {"mode": "ANY", **names}
    held = generation.validates and all(tool.strict for tool in functions)
    return {"mode": "VALIDATED"} if held else {}


def _render_tool(tool: Tool) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool.name, "parametersJsonSchema": fit_schema(tool.parameters)}
    return declared | ({"description": tool.description} if tool.description else {})
