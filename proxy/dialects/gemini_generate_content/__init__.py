"""generateContent: the wire format of Gemini models, at Gemini's own API and at Vertex."""

from functools import partial

from proxy.dialects.base import Dialect
from proxy.dialects.gemini_generate_content.outcome import parse_error
from proxy.dialects.gemini_generate_content.parts import fetches
from proxy.dialects.gemini_generate_content.profile import Profile, gemini_profile, vertex_profile
from proxy.dialects.gemini_generate_content.request import render_count, render_request
from proxy.dialects.gemini_generate_content.response import parse_count, parse_response
from proxy.dialects.gemini_generate_content.stream import GeminiTranslator
from proxy.dialects.gemini_generate_content.tools import HOSTED

__all__ = ["Profile", "gemini_generate_content", "gemini_profile", "vertex_profile"]


def gemini_generate_content(profile: Profile) -> Dialect:
    """Return the dialect as a provider speaks it."""
    return Dialect(
        name="gemini_generate_content",
        render_request=partial(render_request, profile=profile),
        parse_response=parse_response,
        parse_error=parse_error,
        parse_stream=GeminiTranslator,
        hosted=frozenset(HOSTED),
        fetches=partial(fetches, profile=profile),
        render_count=partial(render_count, profile=profile),
        parse_count=parse_count,
    )
