"""Converse: the wire format of Amazon Bedrock that fits every model it hosts."""

from functools import cache, partial

from proxy.dialects.base import Dialect
from proxy.dialects.bedrock_converse.content import must_fetch
from proxy.dialects.bedrock_converse.families import Profile, profile_of
from proxy.dialects.bedrock_converse.frames import load_decoder
from proxy.dialects.bedrock_converse.outcome import parse_count, parse_error
from proxy.dialects.bedrock_converse.request import render_count, render_request
from proxy.dialects.bedrock_converse.response import parse_response
from proxy.dialects.bedrock_converse.stream import ConverseTranslator

__all__ = ["Profile", "bedrock_converse", "load_decoder", "profile_of"]


@cache
def bedrock_converse(profile: Profile) -> Dialect:
    """Return the dialect as a family of models speaks it."""
    return Dialect(
        name="bedrock_converse",
        render_request=partial(render_request, profile=profile),
        parse_response=parse_response,
        parse_error=parse_error,
        parse_stream=ConverseTranslator,
        hosted=profile.hosted,
        fetches=must_fetch,
        render_count=partial(render_count, profile=profile),
        parse_count=parse_count,
    )
