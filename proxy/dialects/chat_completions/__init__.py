"""Chat completions: the wire format of OpenAI-compatible servers."""

from functools import partial

from proxy.dialects.base import Dialect
from proxy.dialects.chat_completions.messages import fetches
from proxy.dialects.chat_completions.profile import EVERY_EFFORT, Hosted, Media, Profile, efforts, same
from proxy.dialects.chat_completions.request import render_request
from proxy.dialects.chat_completions.response import parse_response
from proxy.dialects.chat_completions.stream import ChatTranslator
from proxy.dialects.failures import parse_error

__all__ = ["EVERY_EFFORT", "Hosted", "Media", "Profile", "chat_completions", "efforts", "same"]


def chat_completions(profile: Profile) -> Dialect:
    """Return the dialect as a provider speaks it."""
    return Dialect(
        name="chat_completions",
        render_request=partial(render_request, profile=profile),
        parse_response=parse_response,
        parse_error=parse_error,
        parse_stream=ChatTranslator,
        hosted=frozenset(profile.hosted),
        fetches=partial(fetches, media=profile.media),
    )
