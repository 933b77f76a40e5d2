"""Reads the body of a create request: the dialogue, the tools, the settings, and what no provider could be told."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson

from proxy.dialects.items import Said, Text, Turn, nothing_said, read_input
from proxy.dialects.parameters import check_range, check_word
from proxy.dialects.tools import Tools, read_tools, unread_members
from proxy.errors import BadRequest


class Format(NamedTuple):
    """The form the text has to have; the other members belong to `json_schema`."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """A create request, read.

    `body` is what the client sent, `provider` and `model` are where it goes. `turns` begin with the
    instructions. `settings` holds the scalar settings a provider may know, by their names in the API and, of
    nested ones, dotted: a dialect renders those it can and reports the rest, together with `dropped`.
    """

    body: Mapping[str, Any]
    provider: str
    model: str
    stream: bool
    turns: tuple[Said | Turn, ...]
    tools: Tools
    format: Format
    settings: Mapping[str, Any]
    dropped: tuple[str, ...]


SETTINGS: Final = {
    "max_output_tokens": int,
    "max_tool_calls": int,
    "metadata": dict,
    "parallel_tool_calls": bool,
    "prompt_cache_key": str,
    "prompt_cache_options": dict,
    "prompt_cache_retention": str,
    "reasoning.context": str,
    "reasoning.effort": str,
    "reasoning.mode": str,
    "reasoning.summary": str,
    "safety_identifier": str,
    "service_tier": str,
    "temperature": float,
    "text.verbosity": str,
    "top_logprobs": int,
    "top_p": float,
    "truncation": str,
    "user": str,
}
"""The settings, each with its type; a float may be written as an integer."""

_RANGES: Final = {
    "max_output_tokens": (1, math.inf),
    "max_tool_calls": (1, math.inf),
    "temperature": (0, 2),
    "top_logprobs": (0, 20),
    "top_p": (0, 1),
}
"""The least and the most of those that have a range, whatever a provider makes of them."""
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {"reasoning.effort": _EFFORTS}
"""The words of those that have a few: what a word nobody knows asks for, no provider can be told."""

_MAX_PAIRS: Final = 16
_MAX_KEY: Final = 64
_MAX_VALUE: Final = 512

_READ_ELSEWHERE = frozenset({"include", "input", "instructions", "model", "reasoning", "text", "tool_choice", "tools"})
_GATEWAYS_OWN = frozenset({"previous_response_id", "store", "stream", "stream_options"})
_REFUSED: Final[Mapping[str, Any]] = {
    "background": False,
    "background_options": None,
    "conversation": None,
    "moderation": None,
    "prompt": None,
}
"""Fields that would change what the response is or where it goes, each with the value that asks for nothing."""
_WITHOUT_EFFECT: Final = {
    "reasoning.context": "auto",
    "reasoning.mode": "standard",
    "service_tier": "auto",
    "text.verbosity": "medium",
    "truncation": "disabled",
}
_LOGPROBS = "message.output_text.logprobs"
_INCLUDABLE = (
    _LOGPROBS,
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
)
_NESTED = ("reasoning", "text")
_NESTED_ELSEWHERE = frozenset({"text.format"})
_FORMER: Final = {"reasoning.generate_summary": "reasoning.summary"}
"""Former names of settings."""


def read_create(
    body: Mapping[str, Any],
    provider: str,
    model: str,
    *,
    history: Iterable[Any] = (),
    hosted: frozenset[str] = frozenset(),
) -> Create:
    """Read a parsed body; BadRequest, with the field as `param`, for what cannot be honoured.

    `history` are the items of the responses it continues, which come before its own; `hosted` are the types of
    hosted tools the dialect has a counterpart for.
    """
    refuse_depth(body)
    _refuse_unservable(body)
    own = body.get("input")
    items = [*history, *(own if isinstance(own, list) else _as_items(own))] if history else own
    found = read_input([] if items is None else items, provider, model)
    instructions = _instructions(body)
    if not instructions and not found.turns:
        raise nothing_said()
    declared = body.get("tools")
    if declared is not None and not isinstance(declared, list):
        raise BadRequest("tools has to be a list.", param="tools")
    listed = [(f"tools[{at}]", tool) for at, tool in enumerate(declared or ())]
    nested = {name: {**_object(body, name), **found.configuration.get(name, {})} for name in _NESTED}
    tools = [*listed, *found.tools]
    settings, unknown = _read_settings(body, nested)
    return Create(
        body=body,
        provider=provider,
        model=model,
        stream=body.get("stream") is True,
        turns=(*instructions, *found.turns),
        tools=read_tools(tools, body.get("tool_choice"), hosted=hosted),
        format=_read_format(nested["text"].get("format")),
        settings=settings,
        dropped=(*found.dropped, *unknown, *unread_members(tools)),
    )


def refuse_depth(body: Mapping[str, Any]) -> None:
    """Refuse a body that could not be written again within the few further levels of a request or an event."""
    try:
        orjson.dumps([[[[[[body]]]]]])
    except orjson.JSONEncodeError as error:
        raise BadRequest("The body is nested too deeply for this provider.", code="too_deep") from error


def _refuse_unservable(body: Mapping[str, Any]) -> None:
    for name, nothing in _REFUSED.items():
        if body.get(name) not in (None, nothing):
            raise BadRequest(f"{name} is not available with this provider.", param=name)
    options = body.get("prompt_cache_options")
    if isinstance(options, dict) and options.get("prewarm") not in (None, False):
        # It asks for no output at all.
        raise BadRequest("prewarm is not available with this provider.", param="prompt_cache_options.prewarm")


def _as_items(own: Any) -> list[Any]:
    return [] if own is None else [{"role": "user", "content": own}]


def _instructions(body: Mapping[str, Any]) -> tuple[Said, ...]:
    instructions = body.get("instructions")
    if instructions is None:
        return ()
    if not isinstance(instructions, str):
        raise BadRequest("instructions has to be a string.", param="instructions")
    return (Said("developer", (Text(instructions),)),) if instructions else ()


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{name} has to be an object.", param=name)
    return value


def _read_settings(
    body: Mapping[str, Any], nested: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that are set, and the names of fields nobody knows."""
    given = {name: value for name, value in body.items() if name not in _READ_ELSEWHERE}
    for group, members in nested.items():
        given.update({f"{group}.{name}": value for name, value in members.items()})
    for former, name in _FORMER.items():
        value = given.pop(former, None)
        given[name] = given.get(name) or value
    if _LOGPROBS in _included(body):
        given["top_logprobs"] = given.get("top_logprobs") or 0
    settings: dict[str, Any] = {}
    unknown = ["include"] if any(value not in _INCLUDABLE for value in _included(body)) else []
    for name, value in given.items():
        if value is None or name in _GATEWAYS_OWN or name in _REFUSED or name in _NESTED_ELSEWHERE:
            continue
        if name not in SETTINGS:
            unknown.append(name)
        elif _WITHOUT_EFFECT.get(name) != value:
            settings[name] = _typed(name, value)
    return settings, unknown


def _included(body: Mapping[str, Any]) -> list[Any]:
    """Return what is to be included; all of it but log probabilities is in a response whether asked for or not."""
    include = body.get("include")
    if include is not None and not isinstance(include, list):
        raise BadRequest("include has to be a list.", param="include")
    return include or []


def _typed(name: str, given: Any) -> Any:
    wanted, found = SETTINGS[name], type(given)
    if found is not wanted and not (wanted is float and found is int):
        raise BadRequest(f"{name} has the wrong type.", param=name)
    if name in _RANGES:
        check_range(name, given, "decimal" if wanted is float else "integer", *_RANGES[name])
    if name in _WORDS:
        check_word(name, given, _WORDS[name])
    if name == "metadata":
        _check_metadata(given)
    return given


def _check_metadata(pairs: Mapping[str, Any]) -> None:
    """Refuse what the API itself does not keep: it is said back."""
    if len(pairs) > _MAX_PAIRS:
        raise BadRequest(f"metadata has more than {_MAX_PAIRS} pairs.", param="metadata")
    for key, value in pairs.items():
        if not isinstance(value, str) or len(key) > _MAX_KEY or len(value) > _MAX_VALUE:
            limits = f"keys of up to {_MAX_KEY} characters and texts of up to {_MAX_VALUE}"
            raise BadRequest(f"metadata holds {limits}.", param="metadata")


def _read_format(value: Any) -> Format:
    if value is None:
        return Format()
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("text", "json_object"):
        return Format(kind)
    if kind != "json_schema":
        raise BadRequest(f"Text format {kind!r} is not one of text, json_object, json_schema.", param="text.format")
    name, schema = value.get("name"), value.get("schema")
    if not isinstance(name, str) or not isinstance(schema, dict):
        raise BadRequest("A JSON schema format needs a name and a schema.", param="text.format")
    strict, description = value.get("strict"), value.get("description")
    return Format(
        "json_schema",
        name,
        schema,
        strict if isinstance(strict, bool) else None,
        description if isinstance(description, str) else None,
    )
