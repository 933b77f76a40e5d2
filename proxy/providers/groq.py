"""Groq: create only; its Responses API refuses every field it does not list, so what it has no place for is left out.

Source of the lists: Groq's OpenAPI 2.1, where the request has `additionalProperties: false`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from proxy.dialects.chat_completions import EVERY_EFFORT, Media, Profile, efforts
from proxy.errors import BadRequest
from proxy.providers.base import STATELESS, Fitted, Kind, always, chat

_TAKEN: Final = frozenset(
    {
        "input",
        "instructions",
        "max_output_tokens",
        "metadata",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "service_tier",
        "store",
        "stream",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
        "truncation",
        "user",
    }
)
_NESTED: Final = {"reasoning": frozenset({"effort"}), "text": frozenset({"format"})}
_REFUSED: Final = ("moderation", "prompt")
_ITEMS: Final = frozenset({"function_call", "function_call_output", "message"})


def fit_request(body: dict[str, Any]) -> Fitted:
    """Leave out what Groq refuses, and write the rest as it wants it: no ids, a nested tool choice, outputs as text.

    Raises BadRequest for what the answer would be another one without.
    """
    for name in _REFUSED:
        if body.get(name) is not None:
            raise BadRequest(f"{name} is not available with this provider.", param=name)
    fitted = {name: value for name, value in body.items() if name in _TAKEN and value is not None}
    dropped = [name for name, value in body.items() if name not in _TAKEN and value not in (None, [], {}, False)]
    for name, known in _NESTED.items():
        members = fitted.get(name)
        if isinstance(members, dict):
            dropped += [f"{name}.{member}" for member in members if member not in known and members[member] is not None]
            fitted[name] = {member: value for member, value in members.items() if member in known}
    if isinstance(fitted.get("tools"), list):
        dropped += [f"tools.{tool.get('type')}" for tool in _objects(fitted["tools"]) if tool.get("type") != "function"]
        fitted["tools"] = [tool for tool in _objects(fitted["tools"]) if tool.get("type") == "function"]
    choice = fitted.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function" and "name" in choice:
        fitted["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    if isinstance(fitted.get("input"), list):
        items = _objects(fitted["input"])
        dropped += [f"input.{item.get('type')}" for item in items if item.get("type", "message") not in _ITEMS]
        fitted["input"] = [_fit_item(item) for item in items if item.get("type", "message") in _ITEMS]
    return fitted, tuple(dict.fromkeys(dropped))


def _objects(values: list[Any]) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)]


def _fit_item(item: Mapping[str, Any]) -> dict[str, Any]:
    kind = item.get("type", "message")
    if kind == "function_call":
        return {name: item.get(name) for name in ("type", "call_id", "name", "arguments")}
    if kind == "function_call_output":
        return {"type": kind, "call_id": item.get("call_id"), "output": _text(item.get("output"))}
    if item.get("role") == "assistant":
        return {"role": "assistant", "content": _text(item.get("content"))}
    return {"role": item.get("role"), "content": item.get("content")}


def _text(content: Any) -> Any:
    """Return content as text, where it is a list of texts. Raises BadRequest for anything else in the list."""
    if not isinstance(content, list):
        return content
    if not all(isinstance(part, dict) and ("text" in part or "refusal" in part) for part in content):
        raise BadRequest("This provider takes text only from tools and the assistant.", param="input")
    return "\n".join(str(part.get("text") or part.get("refusal") or "") for part in _objects(content))


PROFILE = Profile(
    settings=frozenset({"parallel_tool_calls", "temperature", "top_p", "user"}),
    effort={},
    tiers={"auto": "auto", "default": "on_demand", "flex": "flex", "priority": "performance"},
    unread_keywords=frozenset({"minItems", "maxItems"}),
    media=Media(developer=True),
)
PARSED = replace(PROFILE, fixed=(("reasoning_format", "parsed"),))
"""Models that reason, which some of them would otherwise do within the text."""
ON_OFF = replace(
    PARSED, effort={level: {"reasoning_effort": "none" if level == "none" else "default"} for level in EVERY_EFFORT}
)
FAMILIES = {
    "deepseek-r1": PARSED,
    "openai/gpt-oss": replace(PARSED, effort=efforts("low", "medium", "high")),
    "qwen/qwen3.8": replace(PARSED, effort=efforts("none", "low", "medium", "high")),
    "qwen/qwen3": ON_OFF,
}

KIND = Kind(
    name="groq",
    otel_name="groq",
    title="Groq",
    base_url="https://api.groq.com/openai/v1",
    environment={"api_key": "GROQ_API_KEY"},
    operations=STATELESS,
    fit_request=fit_request,
    dialect=chat(PROFILE, families=FAMILIES, natively=always),
    settings=frozenset({"api", "path"}),
)
