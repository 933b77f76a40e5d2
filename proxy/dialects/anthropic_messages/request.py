"""Renders a create request as one for the Messages API."""

from typing import Any, Final

import orjson

from proxy.dialects.anthropic_messages.caching import mark_cache
from proxy.dialects.anthropic_messages.carried import CODE_TOOLS, SEARCH, THOUGHTS, USE, unpack_blocks
from proxy.dialects.anthropic_messages.content import Media
from proxy.dialects.anthropic_messages.messages import (
    Manner,
    carries,
    is_thoughtless_loop,
    render_dialogue,
)
from proxy.dialects.anthropic_messages.models import Model, find_model, plain_name
from proxy.dialects.anthropic_messages.profiles import Profile
from proxy.dialects.anthropic_messages.structured import fit_schema
from proxy.dialects.anthropic_messages.thinking import Thinking, decide_thinking
from proxy.dialects.anthropic_messages.tools import is_forced, names_of, render_tools
from proxy.dialects.base import Rendered
from proxy.dialects.create import Create, Format
from proxy.dialects.items import Thought, Turn
from proxy.dialects.remaining import Remaining
from proxy.errors import BadRequest

_UNBINDING: Final = "thinking-binding-controls-2026-08-01"
_COUNTED: Final = ("anthropic_version", "system", "messages", "tools", "tool_choice", "thinking", "output_config")
_TIERS: Final = {"default": "standard_only", "priority": "auto"}
_HOTTEST: Final = 1.0
_SUMMARIES: Final = frozenset({"auto", "concise", "detailed"})


_Asked = tuple[dict[str, Any], tuple[str, ...]]
"""A body, and the beta features it needs."""


def render_request(create: Create, profile: Profile) -> Rendered:
    """Render the request; BadRequest for what the provider cannot be asked."""
    left = Remaining(create)
    body, beta = _render_body(create, profile, left)
    if create.stream and profile.says_stream:
        body["stream"] = True
    return _finish(create, profile.path(create.model, create.stream), (body, beta), profile, left)


def render_count(create: Create, profile: Profile) -> Rendered:
    """Render the request that counts the input tokens of what `render_request` would send."""
    left = Remaining(create)
    body, beta = _render_body(create, profile, left)
    counted: dict[str, Any] = {name: body[name] for name in _COUNTED if name in body}
    # A cloud may have the publisher before the name.
    counted["model"] = create.model.rpartition("/")[2]
    return _finish(create, profile.count_path or "", (counted, beta), profile, left)


def _finish(create: Create, path: str, asked: _Asked, profile: Profile, left: Remaining) -> Rendered:
    body, beta = asked
    headers = (("Content-Type", "application/json"), *profile.headers)
    if beta and profile.beta_in_body:
        body["anthropic_beta"] = list(beta)
    elif beta:
        headers = (*headers, ("anthropic-beta", ",".join(beta)))
    returned = _returned(create)
    dropped = tuple(name for name in left.dropped() if name not in returned)
    try:
        return Rendered(path, headers, orjson.dumps(body), dropped)
    except orjson.JSONEncodeError as error:
        raise BadRequest("The request is nested too deeply for this provider.", code="too_deep") from error


def _returned(create: Create) -> set[str]:
    """Return the items that are not dropped after all, as the blocks they stood for are given back."""
    acts = (act for turn in create.turns if isinstance(turn, Turn) for act in turn.acts)
    states = [act.state for act in acts if isinstance(act, Thought)]
    names = {block.get("name") for state in states for block in unpack_blocks(state) if block["type"] == USE}
    searched, ran = SEARCH in names, not names.isdisjoint(CODE_TOOLS)
    return {item for item, told in (("input.web_search_call", searched), ("input.code_interpreter_call", ran)) if told}


def _render_body(create: Create, profile: Profile, left: Remaining) -> _Asked:
    """Return the body, but for what says whether to stream."""
    model = find_model(create.model)
    asked = left.take("max_output_tokens")
    max_tokens = _default_limit(create.model, model, profile) if asked is None else asked
    tools = render_tools(create, profile, model, left)
    thinking = _render_thinking(create, model, max_tokens, left)
    manner = Manner(
        media=Media(profile.urls, profile.file_ids),
        system_turns=profile.system_turns and model.system_turns,
        thoughts=not thinking.off,
        prefill=model.prefill and not thinking.active and create.format.type == "text",
        tools=names_of(tools),
    )
    left.drop_hints(create, frozenset(), caches=True)
    dialogue = render_dialogue(create.turns, manner)
    mark_cache(dialogue, left)
    body: dict[str, Any] = {"model": create.model} if profile.names_model else {}
    body |= {**dict(profile.fixed), "max_tokens": max_tokens}
    if dialogue.system:
        body["system"] = dialogue.system
    body |= {"messages": dialogue.messages, **tools}
    unbinds = profile.unbinds and model.bound and not thinking.off and carries(create.turns, THOUGHTS)
    body |= _render_config(thinking, unbinds=unbinds)
    body |= _render_output(create.format, model, thinking)
    body |= _render_settings(left, profile, model, thinking)
    return body, tuple(dict.fromkeys([*profile.beta, *([_UNBINDING] if unbinds else [])]))


def _default_limit(name: str, model: Model, profile: Profile) -> int:
    own = plain_name(name)
    fitting = [prefix for prefix in profile.max_tokens if name.startswith(prefix) or own.startswith(prefix)]
    return profile.max_tokens[max(fitting, key=len)] if fitting else model.max_tokens


def _render_thinking(create: Create, model: Model, max_tokens: int, left: Remaining) -> Thinking:
    thinking = decide_thinking(
        left.take("reasoning.effort"),
        model,
        max_tokens,
        summary=create.settings.get("reasoning.summary") in _SUMMARIES,
        hindered=is_forced(create) or is_thoughtless_loop(create.turns),
    )
    if not thinking.honoured:
        left.drop("reasoning.effort")
    return thinking


def _render_config(thinking: Thinking, *, unbinds: bool) -> dict[str, Any]:
    """Render `thinking`; thoughts that do not fit any more are left out, as clients change instructions and tools."""
    config = thinking.config
    if unbinds:
        config = {**(config or {"type": "adaptive"}), "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    return {} if config is None else {"thinking": config}


def _render_output(format_: Format, model: Model, thinking: Thinking) -> dict[str, Any]:
    output: dict[str, Any] = {}
    if thinking.effort is not None:
        output["effort"] = thinking.effort
    if format_.type == "json_object" or (format_.type == "json_schema" and not model.structured):
        what = "JSON without a schema is not" if model.structured else f"Format {format_.type!r} is not"
        raise BadRequest(f"{what} available with this model.", param="text.format")
    if format_.schema is not None:
        about = {} if format_.description is None else {"description": format_.description}
        output["format"] = {"type": "json_schema", "schema": fit_schema({**about, **format_.schema})}
    return {"output_config": output} if output else {}


def _render_settings(left: Remaining, profile: Profile, model: Model, thinking: Thinking) -> dict[str, Any]:
    rendered = _render_sampling(left, possible=profile.samples and model.samples and not thinking.active)
    identifier, user = left.take("safety_identifier"), left.take("user")
    if identifier or user:
        rendered["metadata"] = {"user_id": identifier or user}
    if identifier and user not in (None, identifier):
        left.drop("user")
    tier = left.take("service_tier") if profile.service_tiers else None
    if tier in _TIERS:
        rendered["service_tier"] = _TIERS[tier]
    elif tier is not None:
        left.drop("service_tier")
    return rendered


def _render_sampling(left: Remaining, *, possible: bool) -> dict[str, Any]:
    """Render one of temperature and top_p: together they are refused. Those that say nothing are left out."""
    temperature, top_p = left.take("temperature"), left.take("top_p")
    given = {name: value for name, value in (("temperature", temperature), ("top_p", top_p)) if value not in (None, 1)}
    rendered = dict(list(given.items())[:1]) if possible else {}
    if rendered.get("temperature", 0) > _HOTTEST:
        # The API's own range ends at 2.
        rendered["temperature"] = _HOTTEST
    for name, value in given.items():
        if rendered.get(name) != value:
            left.drop(name)
    return rendered
