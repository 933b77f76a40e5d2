"""The response object as it is opened: what the request asked for, said back in the form the API has for it."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects.base import Context

_DEFAULTS: Final[Mapping[str, Any]] = {
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "user": None,
    "background": False,
    "frequency_penalty": 0.0,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
"""The members a request may set, as they are where it does not."""

_FUNCTION: Final[Mapping[str, Any]] = {"type": "function", "description": None, "parameters": None, "strict": None}


def open_response(context: Context) -> dict[str, Any]:
    """Return the response in progress, without output."""
    body = context.create.body
    echoed = {name: _said(body.get(name), default) for name, default in _DEFAULTS.items()}
    return {
        "id": context.response_id,
        "object": "response",
        "created_at": context.created_at,
        "completed_at": None,
        "status": "in_progress",
        "model": context.create.model,
        **echoed,
        "tools": [_render_tool(tool) for tool in echoed["tools"]],
        # The tier that was used, which only the provider can tell, not the one that was asked for.
        "service_tier": "default",
        "output": [],
        "usage": None,
    }


def _said(value: Any, default: Any) -> Any:
    if value is None:
        return default
    return {**default, **value} if isinstance(default, dict) and isinstance(value, dict) else value


def _render_tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**_FUNCTION, **tool} if tool.get("type") == "function" else tool
