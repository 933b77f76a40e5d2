"""Renders a create request as one for Converse."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

from proxy.dialects.base import Rendered
from proxy.dialects.bedrock_converse.families import Profile
from proxy.dialects.bedrock_converse.messages import render_messages
from proxy.dialects.bedrock_converse.schemas import fit_schema
from proxy.dialects.bedrock_converse.toolconfig import render_tool_config
from proxy.dialects.create import Create, Format
from proxy.dialects.remaining import Remaining
from proxy.errors import BadRequest

_HEADERS: Final = (("Content-Type", "application/json"),)
_SAMPLING: Final = {"temperature": "temperature", "top_p": "topP"}
_HOTTEST: Final = 1
_TIERS: Final = frozenset({"default", "flex", "priority"})
_METADATA_KEY: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
_METADATA_VALUE: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_COUNTED: Final = frozenset({"messages", "system", "toolConfig", "additionalModelRequestFields"})
_PROFILE: Final = re.compile(r"(?:arn:.*:inference-profile/)?(?:apac|global|us-gov|[a-z]{2})\.(.+)")
"""The name of a cross-region inference profile: a region's, and the model's."""


def render_request(create: Create, profile: Profile) -> Rendered:
    """Render the request; BadRequest for what the models cannot be asked."""
    left = Remaining(create)
    body = _render_body(create, profile, left)
    operation = "converse-stream" if create.stream else "converse"
    return Rendered(_path(create.model, operation), _HEADERS, orjson.dumps(body), left.dropped())


def render_count(create: Create, profile: Profile) -> Rendered:
    """Render the request that counts the input, of which only models themselves know, not inference profiles."""
    left = Remaining(create)
    body = _render_body(create, profile, left)
    counted = {name: value for name, value in body.items() if name in _COUNTED}
    regional = _PROFILE.fullmatch(create.model)
    path = _path(create.model if regional is None else regional[1], "count-tokens")
    return Rendered(path, _HEADERS, orjson.dumps({"input": {"converse": counted}}), left.dropped())


def _path(model: str, operation: str) -> str:
    if not model.strip("."):
        raise BadRequest("This is not the name of a model.", param="model")
    return f"/model/{quote(model, safe='')}/{operation}"


def _render_body(create: Create, profile: Profile, left: Remaining) -> dict[str, Any]:
    left.drop_hints(create, frozenset())
    system, messages = render_messages(create.turns, profile)
    tools = render_tool_config(create, profile, left)
    effort = _render_effort(create, profile, left)
    thinks = effort.get("thinking", {}).get("type") in ("adaptive", "enabled")
    body = {
        "messages": messages,
        "system": system,
        "inferenceConfig": _render_inference(left, profile, samples=profile.sampling and not thinks),
        **tools,
        "outputConfig": _render_format(create.format),
        "additionalModelRequestFields": {**tools.get("additionalModelRequestFields", {}), **effort},
        "requestMetadata": _render_metadata(left),
        "serviceTier": _render_tier(left),
    }
    return {name: value for name, value in body.items() if value}


def _render_inference(left: Remaining, profile: Profile, *, samples: bool) -> dict[str, Any]:
    """Render what bounds and steers the output; what of the sampling is not as asked for is reported."""
    limit = left.take("max_output_tokens")
    given = {name: value for name in _SAMPLING if (value := left.take(name)) is not None}
    kept = dict(given) if samples else {}
    if len(kept) > 1 and not profile.samples_both:
        kept.pop("top_p" if given["temperature"] != 1 else "temperature")
    if kept.get("temperature", 0) > _HOTTEST:
        # The API's own range ends at 2.
        kept["temperature"] = _HOTTEST
    for name, value in given.items():
        # One is what either is where nobody says.
        if value not in (1, kept.get(name)):
            left.drop(name)
    rendered = {_SAMPLING[name]: value for name, value in kept.items()}
    return rendered if limit is None else {"maxTokens": limit, **rendered}


def _render_effort(create: Create, profile: Profile, left: Remaining) -> Mapping[str, Any]:
    effort = left.take("reasoning.effort")
    rendered = profile.summary(create) if effort is None else profile.effort(effort, create)
    if rendered is None:
        left.drop("reasoning.effort")
    return rendered or {}


def _render_format(format_: Format) -> dict[str, Any]:
    if format_.type == "text":
        return {}
    if format_.schema is None:
        raise BadRequest(f"Format {format_.type!r} is not available with this provider.", param="text.format")
    schema = {"schema": orjson.dumps(fit_schema(format_.schema)).decode(), "name": format_.name}
    if format_.description is not None:
        schema["description"] = format_.description
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}


def _render_metadata(left: Remaining) -> dict[str, str]:
    """Render what of the metadata is within the service's narrower limits; all of it is said back anyway."""
    given = left.take("metadata") or {}
    return {key: value for key, value in given.items() if _fits(key, value)}


def _fits(key: str, value: str) -> bool:
    return bool(_METADATA_KEY.fullmatch(key) and _METADATA_VALUE.fullmatch(value))


def _render_tier(left: Remaining) -> dict[str, str]:
    tier = left.take("service_tier")
    if tier is None or tier in _TIERS:
        return {} if tier is None else {"type": tier}
    left.drop("service_tier")
    return {}
