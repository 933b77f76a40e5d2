"""Renders a create request as one for generateContent, or for counting its tokens."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from proxy.dialects.base import Rendered
from proxy.dialects.create import Create, Format
from proxy.dialects.gemini_generate_content.generations import generation_of, render_effort
from proxy.dialects.gemini_generate_content.messages import render_dialogue
from proxy.dialects.gemini_generate_content.parts import RESOLUTIONS, render_resolution
from proxy.dialects.gemini_generate_content.profile import Profile
from proxy.dialects.gemini_generate_content.schemas import fit_schema
from proxy.dialects.gemini_generate_content.tools import render_tools
from proxy.dialects.remaining import Remaining

_HEADERS: Final = (("Content-Type", "application/json"),)
_SETTINGS: Final[Mapping[str, str]] = {
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
}
_TIERS: Final[Mapping[str, str]] = {
    "default": "standard",
    "fast": "priority",
    "flex": "flex",
    "priority": "priority",
}
_LABEL: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")


def render_request(create: Create, profile: Profile) -> Rendered:
    """Render the request; BadRequest for what the provider cannot be asked."""
    body, left = _render_body(create, profile)
    method = ":streamGenerateContent?alt=sse" if create.stream else ":generateContent"
    return Rendered(profile.path(create.model) + method, _HEADERS, orjson.dumps(body), left.dropped())


def render_count(create: Create, profile: Profile) -> Rendered:
    """Render the request that counts the input tokens."""
    body, left = _render_body(create, profile)
    if profile.counts_requests:
        named = {"model": f"models/{create.model.removeprefix('models/')}", **body}
        body = {"generateContentRequest": named}
    else:
        body = {name: body[name] for name in body if name not in ("labels", "serviceTier", "toolConfig")}
    return Rendered(f"{profile.path(create.model)}:countTokens", _HEADERS, orjson.dumps(body), left.dropped())


def _render_body(create: Create, profile: Profile) -> tuple[dict[str, Any], Remaining]:
    generation = generation_of(create.model)
    system, contents = render_dialogue(create.turns, profile, generation)
    left = Remaining(create)
    left.drop_hints(create, frozenset(RESOLUTIONS))
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    body |= render_tools(create, profile, generation, left)
    config = _render_config(create, left)
    if config:
        body["generationConfig"] = config
    tier = left.take("service_tier")
    if tier in _TIERS:
        body["serviceTier"] = _TIERS[tier]
    elif tier is not None:
        left.drop("service_tier")
    labels = _render_labels(create.settings.get("metadata")) if profile.labels else {}
    if labels:
        body["labels"] = labels
    return body, left


def _render_config(create: Create, left: Remaining) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name, own in _SETTINGS.items():
        value = left.take(name)
        if value is not None:
            config[own] = value
    logprobs = left.take("top_logprobs")
    if logprobs is not None:
        config |= {"responseLogprobs": True} | ({"logprobs": logprobs} if logprobs else {})
    resolution = render_resolution(create.turns)
    if resolution is not None:
        config["mediaResolution"] = resolution
    thinking = _render_thinking(create, left)
    if thinking:
        config["thinkingConfig"] = thinking
    return config | _render_format(create.format)


def _render_thinking(create: Create, left: Remaining) -> dict[str, Any]:
    effort, summary = left.take("reasoning.effort"), left.take("reasoning.summary")
    thinking: dict[str, Any] = {}
    if effort is not None:
        own = render_effort(create.model, effort)
        if own is None:
            left.drop("reasoning.effort")
        else:
            thinking |= own
    # What is not thought cannot be told: to ask for it all the same is an error.
    wanted = effort != "none" and (summary, effort) != (None, None)
    if wanted and generation_of(create.model).thinks:
        thinking["includeThoughts"] = True
    return thinking


def _render_format(format_: Format) -> dict[str, Any]:
    if format_.type == "text":
        return {}
    rendered: dict[str, Any] = {"responseMimeType": "application/json"}
    if format_.schema is not None:
        schema = fit_schema(format_.schema)
        if format_.description:
            schema.setdefault("description", format_.description)
        rendered["responseJsonSchema"] = schema
    return rendered


def _render_labels(metadata: Any) -> dict[str, str]:
    """Render metadata as labels, as far as they may be such; all of it is said back to the client anyway."""
    pairs = metadata.items() if isinstance(metadata, dict) else ()
    return {
        name: value
        for name, value in pairs
        if isinstance(value, str) and _LABEL.fullmatch(name) and _LABEL_VALUE.fullmatch(value)
    }
