"""The Messages API: the wire format of Anthropic, and of the clouds that serve its models."""

from functools import partial

from proxy.dialects.anthropic_messages.content import needs_fetching
from proxy.dialects.anthropic_messages.outcome import parse_count, parse_failure
from proxy.dialects.anthropic_messages.profiles import Profile, anthropic_profile, bedrock_profile, vertex_profile
from proxy.dialects.anthropic_messages.request import render_count, render_request
from proxy.dialects.anthropic_messages.response import parse_response
from proxy.dialects.anthropic_messages.stream import MessagesTranslator
from proxy.dialects.base import Dialect

__all__ = ["Profile", "anthropic_messages", "anthropic_profile", "bedrock_profile", "vertex_profile"]


def anthropic_messages(profile: Profile) -> Dialect:
    """Return the dialect as a provider speaks it."""
    return Dialect(
        name="anthropic_messages",
        render_request=partial(render_request, profile=profile),
        parse_response=parse_response,
        parse_error=parse_failure,
        parse_stream=MessagesTranslator,
        hosted=profile.hosted,
        fetches=partial(needs_fetching, urls=profile.urls),
        render_count=None if profile.count_path is None else partial(render_count, profile=profile),
        parse_count=parse_count,
    )
