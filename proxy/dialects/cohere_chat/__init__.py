"""Cohere chat: the wire format of Cohere's `/v2/chat`."""

from functools import partial

from proxy.dialects.base import Dialect
from proxy.dialects.cohere_chat.messages import fetches
from proxy.dialects.cohere_chat.outcome import parse_error
from proxy.dialects.cohere_chat.request import Profile, render_request
from proxy.dialects.cohere_chat.response import parse_response
from proxy.dialects.cohere_chat.stream import CohereTranslator

__all__ = ["Profile", "cohere_chat"]


def cohere_chat(profile: Profile) -> Dialect:
    """Return the dialect as a provider speaks it."""
    return Dialect(
        name="cohere_chat",
        render_request=partial(render_request, profile=profile),
        parse_response=parse_response,
        parse_error=parse_error,
        parse_stream=CohereTranslator,
        fetches=fetches,
    )
