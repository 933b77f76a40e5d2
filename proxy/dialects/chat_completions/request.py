"""Renders a create request as one for chat completions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from proxy.dialects.base import Rendered
from proxy.dialects.chat_completions.messages import Media, render_messages
from proxy.dialects.create import Create, Format
from proxy.dialects.remaining import Remaining
from proxy.dialects.tools import Choice, Tool
from proxy.errors import BadRequest

Effort = Callable[[str], Mapping[str, Any] | None]

_SAME_NAME: Final = (
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "temperature",
    "top_p",
    "user",
)
_MAX_LOGPROBS: Final = "top_logprobs"

_TEXT_AND_IMAGES: Final = Media()


def same_effort(effort: str) -> Mapping[str, Any] | None:
    """Render reasoning effort as OpenAI has it."""
    return {"reasoning_effort": effort}


@dataclass(frozen=True, slots=True)
class Profile:
    """What of the format a provider has, beyond what all have.

    `settings` are the optional settings it accepts, by their names in the API. `choices` are the forms of tool
    choice it accepts beside `auto`, `named` for one function. `effort` renders reasoning effort, None for one
    it does not have. `fixed` is part of every body.
    """

    path: str = "/chat/completions"
    max_tokens: str = "max_completion_tokens"
    settings: frozenset[str] = frozenset({"parallel_tool_calls", "temperature", "top_logprobs", "top_p", "user"})
    choices: frozenset[str] = frozenset({"none", "required", "named"})
    formats: frozenset[str] = frozenset({"json_object", "json_schema"})
    effort: Effort = same_effort
    strict_tools: bool = True
    asks_for_usage: bool = True
    media: Media = _TEXT_AND_IMAGES
    fixed: tuple[tuple[str, Any], ...] = ()


def render_request(create: Create, profile: Profile) -> Rendered:
    """Render the request; BadRequest for what the provider cannot be asked."""
    body: dict[str, Any] = {
        "model": create.model,
        "messages": render_messages(create.turns, profile.media),
        **dict(profile.fixed),
    }
    if create.stream:
        body["stream"] = True
        if profile.asks_for_usage:
            body["stream_options"] = {"include_usage": True}
    left = Remaining(create)
    body |= _render_tools(create, profile, left)
    body |= _render_format(create.format, profile)
    body |= _render_settings(left, profile)
    headers = (("Content-Type", "application/json"),)
    return Rendered(profile.path, headers, orjson.dumps(body), left.dropped())


def _render_tools(create: Create, profile: Profile, left: Remaining) -> dict[str, Any]:
    left.drop_hosted(create)
    parallel = left.take("parallel_tool_calls")
    if not create.tools.offered():
        return {}
    choice = _render_choice(create.tools.choice, profile)
    # Told by name, the function stays one of many; otherwise what may not be called is not offered.
    offered = create.tools.functions if isinstance(choice, dict) else create.tools.offered()
    rendered: dict[str, Any] = {"tools": [_render_tool(tool, profile) for tool in offered]}
    if choice != "auto":
        rendered["tool_choice"] = choice
    if parallel is not None and "parallel_tool_calls" in profile.settings:
        rendered["parallel_tool_calls"] = parallel
    elif parallel is False:
        left.drop("parallel_tool_calls")
    return rendered


def _render_choice(choice: Choice, profile: Profile) -> Any:
    """Render the tool choice; a named function the provider cannot be told of becomes the only one there is."""
    if choice.named and choice.only and "named" in profile.choices:
        return {"type": "function", "function": {"name": choice.only[0]}}
    if choice.mode != "auto" and choice.mode not in profile.choices:
        raise BadRequest(f"tool_choice {choice.mode!r} is not available with this provider.", param="tool_choice")
    return choice.mode


def _render_tool(tool: Tool, profile: Profile) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None and profile.strict_tools:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _render_format(format_: Format, profile: Profile) -> dict[str, Any]:
    if format_.type == "text":
        return {}
    if format_.type not in profile.formats:
        raise BadRequest(f"Format {format_.type!r} is not available with this provider.", param="text.format")
    if format_.type == "json_object":
        return {"response_format": {"type": "json_object"}}
    schema: dict[str, Any] = {"name": format_.name, "schema": format_.schema}
    if format_.strict is not None:
        schema["strict"] = format_.strict
    if format_.description is not None:
        schema["description"] = format_.description
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _render_settings(left: Remaining, profile: Profile) -> dict[str, Any]:
    rendered = dict(_same_names(left, profile.settings))
    limit = left.take("max_output_tokens")
    if limit is not None:
        rendered[profile.max_tokens] = limit
    if "text.verbosity" in profile.settings and (verbosity := left.take("text.verbosity")) is not None:
        rendered["verbosity"] = verbosity
    if _MAX_LOGPROBS in profile.settings and (logprobs := left.take(_MAX_LOGPROBS)) is not None:
        rendered |= {"logprobs": True, _MAX_LOGPROBS: logprobs} if logprobs else {"logprobs": True}
    effort = left.take("reasoning.effort")
    if effort is not None:
        own = profile.effort(effort)
        if own is None:
            left.drop("reasoning.effort")
        else:
            rendered |= own
    return rendered


def _same_names(left: Remaining, known: Iterable[str]) -> Iterable[tuple[str, Any]]:
    for name in _SAME_NAME:
        if name in known and (value := left.take(name)) is not None:
            yield name, value
