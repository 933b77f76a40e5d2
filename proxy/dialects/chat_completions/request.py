"""Renders a create request as one for chat completions."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from proxy.dialects.base import Rendered
from proxy.dialects.chat_completions.messages import DETAILS_OF_IMAGES, render_messages
from proxy.dialects.chat_completions.profile import Profile
from proxy.dialects.chat_completions.tools import fit_schema, render_tools
from proxy.dialects.create import Create, Format
from proxy.dialects.remaining import Remaining
from proxy.errors import BadRequest

_SAME_NAME: Final = (
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "temperature",
    "top_p",
    "user",
)
_MAX_LOGPROBS: Final = "top_logprobs"


def render_request(create: Create, profile: Profile) -> Rendered:
    """Render the request; BadRequest for what the provider cannot be asked."""
    body: dict[str, Any] = {
        "model": create.model,
        "messages": render_messages(create.turns, profile.media, profile.call_id),
        **dict(profile.fixed),
    }
    if create.stream:
        body["stream"] = True
        if profile.asks_for_usage:
            body["stream_options"] = {"include_usage": True}
    left = Remaining(create)
    left.drop_hints(create, DETAILS_OF_IMAGES)
    body |= render_tools(create, profile, left)
    body |= _render_format(create.format, profile, left)
    body |= _render_settings(left, profile)
    headers = (("Content-Type", "application/json"),)
    return Rendered(profile.path, headers, _encode(body), left.dropped())


def _encode(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        # What is sealed in reasoning is not seen before, and any client can seal.
        raise BadRequest("The reasoning is nested too deeply.", code="too_deep", param="input") from error


def _render_format(format_: Format, profile: Profile, left: Remaining) -> dict[str, Any]:
    if format_.type == "text":
        return {}
    if format_.type not in profile.formats:
        raise BadRequest(f"Format {format_.type!r} is not available with this provider.", param="text.format")
    if format_.type == "json_object":
        return {"response_format": {"type": "json_object"}}
    fitted = fit_schema(format_.schema or {}, "text.format.schema", profile, left)
    schema: dict[str, Any] = {"name": format_.name, "schema": fitted}
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
    tiers = {tier: {"service_tier": own} for tier, own in profile.tiers.items()}
    for name, table in (("reasoning.effort", profile.effort), ("service_tier", tiers)):
        asked = left.take(name)
        if asked in table:
            rendered |= table[asked]
        elif asked is not None:
            left.drop(name)
    return rendered


def _same_names(left: Remaining, known: Iterable[str]) -> Iterable[tuple[str, Any]]:
    for name in _SAME_NAME:
        if name in known and (value := left.take(name)) is not None:
            yield name, value
