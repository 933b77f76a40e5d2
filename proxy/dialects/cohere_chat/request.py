"""Renders a create request as one for Cohere's chat, which refuses fields it does not know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from proxy.dialects.base import Rendered
from proxy.dialects.cohere_chat.messages import DETAILS, render_messages
from proxy.dialects.cohere_chat.schemas import fit_schema
from proxy.dialects.create import Create, Format
from proxy.dialects.remaining import Remaining
from proxy.dialects.tools import Tool
from proxy.errors import BadRequest

Effort = Callable[[str], Mapping[str, Any] | None]

_CHOICES: Final = {"none": "NONE", "required": "REQUIRED"}
"""The tool choices there are words for; the word for `auto` is none."""
_LEAST_P: Final = 0.01
_MOST_P: Final = 0.99
_BUDGETS: Final = {"minimal": 512, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 31000, "max": 31000}
"""Tokens a model may think for. More than the last leaves no room for an answer."""


def budget(effort: str) -> Mapping[str, Any] | None:
    """Render reasoning effort as a budget of thinking."""
    if effort == "none":
        return {"type": "disabled"}
    return {"type": "enabled", "token_budget": _BUDGETS[effort]} if effort in _BUDGETS else None


@dataclass(frozen=True, slots=True)
class Profile:
    """What of the format a provider has; `effort` renders reasoning effort, None for one it does not have."""

    path: str = "/v2/chat"
    effort: Effort = budget


def render_request(create: Create, profile: Profile) -> Rendered:
    """Render the request; BadRequest for what the provider cannot be asked."""
    body: dict[str, Any] = {"model": create.model, "messages": render_messages(create.turns)}
    if create.stream:
        body["stream"] = True
    left = Remaining(create)
    left.drop_hints(create, DETAILS)
    body |= _render_tools(create, left)
    body |= _render_format(create.format)
    body |= _render_settings(left, profile)
    headers = (("Content-Type", "application/json"),)
    return Rendered(profile.path, headers, orjson.dumps(body), left.dropped())


def _render_tools(create: Create, left: Remaining) -> dict[str, Any]:
    left.drop_hosted(create)
    parallel = left.take("parallel_tool_calls")
    # What may not be called is not offered: a choice of one among several cannot be told.
    offered, mode = create.tools.offered(), create.tools.choice.mode
    if not offered or not _are_compatible(create.format, mode):
        return {}
    if parallel is False and mode != "none":
        left.drop("parallel_tool_calls")
    strict = _are_strict(offered, left)
    rendered: dict[str, Any] = {"tools": [_render_tool(tool, strict=strict) for tool in offered]}
    if strict:
        rendered["strict_tools"] = True
    if mode in _CHOICES:
        rendered["tool_choice"] = _CHOICES[mode]
    return rendered


def _are_compatible(format_: Format, mode: str) -> bool:
    """Tell whether tools go with the format; BadRequest where they do not and may be called."""
    if format_.type == "text":
        return True
    if mode != "none":
        raise BadRequest("This provider cannot have a text format and tools to call at once.", param="text.format")
    return False


def _are_strict(offered: Sequence[Tool], left: Remaining) -> bool:
    """Tell whether all tools are strict, which they can only be together; report those that would be alone."""
    strict = {tool.strict is True for tool in offered}
    if len(strict) > 1:
        left.drop("tools.strict")
    return strict == {True}


def _render_tool(tool: Tool, *, strict: bool) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "parameters": fit_schema(tool.parameters) if strict else tool.parameters,
    }
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _render_format(format_: Format) -> dict[str, Any]:
    if format_.type == "text":
        return {}
    rendered: dict[str, Any] = {"type": "json_object"}
    if format_.schema is not None:
        described = {} if format_.description is None else {"description": format_.description}
        rendered["json_schema"] = {**described, **fit_schema(format_.schema)}
    return {"response_format": rendered}


def _render_settings(left: Remaining, profile: Profile) -> dict[str, Any]:
    nucleus = left.take("top_p")
    rendered = {
        "temperature": left.take("temperature"),
        # The ends of the API's range, which ask for one token and for all, are outside of this one.
        "p": None if nucleus is None else min(max(nucleus, _LEAST_P), _MOST_P),
        "max_tokens": left.take("max_output_tokens"),
        "logprobs": _render_logprobs(left),
        "thinking": _render_effort(left, profile),
    }
    return {name: value for name, value in rendered.items() if value is not None}


def _render_logprobs(left: Remaining) -> bool | None:
    """Ask for log probabilities; there are none of alternatives, which is reported."""
    alternatives = left.take("top_logprobs")
    if alternatives:
        left.drop("top_logprobs")
    return None if alternatives is None else True


def _render_effort(left: Remaining, profile: Profile) -> Mapping[str, Any] | None:
    effort = left.take("reasoning.effort")
    rendered = None if effort is None else profile.effort(effort)
    if effort is not None and rendered is None:
        left.drop("reasoning.effort")
    return rendered
