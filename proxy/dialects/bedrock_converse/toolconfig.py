"""Renders the tools of a request, and the choice among them, as `toolConfig`."""

from collections.abc import Iterable
from typing import Any, Final

from proxy.dialects.bedrock_converse.families import Profile
from proxy.dialects.bedrock_converse.schemas import fit_schema
from proxy.dialects.create import Create
from proxy.dialects.items import Call, Said, Turn
from proxy.dialects.remaining import Remaining
from proxy.dialects.tools import Choice, Tool

CODE_INTERPRETER: Final = "nova_code_interpreter"
SYSTEM_TOOLS: Final = {"code_interpreter": CODE_INTERPRETER}
"""Hosted tools, each with the model's own name for its counterpart."""
PLACEHOLDER: Final = "no_tool_is_available"
"""A tool that is offered where there is none: without any, calls in the history are refused."""

_ANY_CONTAINER: Final = (None, {"type": "auto"})
_MAX_STRICT: Final = 20
"""Tools of one request that may be strict."""


def render_tool_config(create: Create, profile: Profile, left: Remaining) -> dict[str, Any]:
    """Render the tools, and what further fields they need; nothing where there are none and were none."""
    left.drop_hosted(create, profile.hosted)
    parallel = left.take("parallel_tool_calls")
    choice = create.tools.choice
    named = choice.named and profile.named and create.tools.find((choice.only or ("",))[0]) is not None
    tools = [] if choice.mode == "none" else _render_tools(create, profile, left, keeps_all=named)
    if not tools:
        return {"toolConfig": {"tools": [_placeholder()]}} if _has_calls(create.turns) else {}
    config: dict[str, Any] = {"tools": tools}
    if parallel is False and profile.serial:
        return {"toolConfig": config, "additionalModelRequestFields": _render_serial(choice, named=named)}
    if parallel is False:
        left.drop("parallel_tool_calls")
    if named and choice.only:
        config["toolChoice"] = {"tool": {"name": choice.only[0]}}
    elif choice.mode == "required":
        config["toolChoice"] = {"any": {}}
    return {"toolConfig": config}


def _render_tools(create: Create, profile: Profile, left: Remaining, *, keeps_all: bool) -> list[dict[str, Any]]:
    """Render what may be called; told by name, a function stays one of many."""
    offered = create.tools.functions if keeps_all else create.tools.offered()
    strict = profile.strict and sum(tool.strict is True for tool in offered) <= _MAX_STRICT
    if not strict and any(tool.strict for tool in offered):
        left.drop("tools.strict")
    functions = [_render_tool(tool, strict=strict) for tool in offered]
    return [*functions, *({"systemTool": {"name": name}} for name in _system_tools(create, profile, left))]


def _system_tools(create: Create, profile: Profile, left: Remaining) -> list[str]:
    """Return the model's names of the hosted tools that may be called; of their settings it takes none."""
    only = create.tools.choice.only
    known = [tool for tool in create.tools.hosted if tool.get("type") in profile.hosted]
    for tool in known:
        if tool.get("container") not in _ANY_CONTAINER:
            left.drop(f"tools.{tool['type']}.container")
    return [
        SYSTEM_TOOLS[kind] for kind in dict.fromkeys(tool["type"] for tool in known) if only is None or kind in only
    ]


def _render_tool(tool: Tool, *, strict: bool) -> dict[str, Any]:
    schema = {"type": "object", **tool.parameters}
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": schema}}
    if tool.description.strip():
        spec["description"] = tool.description
    if strict and tool.strict:
        spec |= {"strict": True, "inputSchema": {"json": fit_schema(schema)}}
    return {"toolSpec": spec}


def _render_serial(choice: Choice, *, named: bool) -> dict[str, Any]:
    """Forbid parallel calls in Claude's own words, which then have to tell the choice too."""
    kind = "tool" if named else "any" if choice.mode == "required" else "auto"
    told: dict[str, Any] = {"type": kind, "disable_parallel_tool_use": True}
    if named and choice.only:
        told["name"] = choice.only[0]
    return {"tool_choice": told}


def _has_calls(turns: Iterable[Said | Turn]) -> bool:
    return any(isinstance(act, Call) for turn in turns if isinstance(turn, Turn) for act in turn.acts)


def _placeholder() -> dict[str, Any]:
    about = "No tool can be called. Answer without."
    schema = {"type": "object", "properties": {}}
    return {"toolSpec": {"name": PLACEHOLDER, "description": about, "inputSchema": {"json": schema}}}
