"""What Cohere's own SDK would send, as the judge of what is rendered: Cohere refuses fields it does not know."""

import typing

import pydantic
from cohere.v2.client import V2Client

_HINTS = typing.get_type_hints(V2Client.chat_stream)
_REQUIRED = {"messages", "model"}
_NOT_SENT = {"request_options", "return"}

Body = pydantic.create_model(
    "Body",
    stream=(bool, False),
    **{name: (hint, ... if name in _REQUIRED else None) for name, hint in _HINTS.items() if name not in _NOT_SENT},
)


def check(body) -> None:
    """Hold a request's body to the types of the SDK: strictly, and without anything else in it."""
    Body.model_validate(body, strict=True, extra="forbid")
