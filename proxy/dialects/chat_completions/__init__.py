"""Chat completions: the wire format of OpenAI-compatible servers."""

from functools import partial

from proxy.dialects.base import Dialect
from proxy.dialects.chat_completions.messages import Media
from proxy.dialects.chat_completions.request import Profile, render_request
from proxy.dialects.chat_completions.response import parse_response
from proxy.dialects.chat_completions.stream import ChatTranslator
from proxy.dialects.failures import parse_error

__all__ = ["Media", "Profile", "chat_completions"]


def chat_completions(profile: Profile) -> Dialect:
    """Return the dialect as a provider speaks it."""
    return Dialect(
        name="chat_completions",
        render_request=partial(render_request, profile=profile),
        parse_response=parse_response,
        parse_error=parse_error,
        parse_stream=ChatTranslator,
    )
