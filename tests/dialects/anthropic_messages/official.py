"""The vendor's SDK as the judge of requests: its types, read strictly, so that an unknown member is a mistake."""

import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
import typing_extensions
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_create_params as beta_create_params

# The SDK of this version has none of these, nor do the models it knows: earlier models do.
BESIDE = {"temperature", "top_p"}
CLOUDS = {"anthropic_version", "anthropic_beta"}


def check_request(rendered, *, beta=False) -> dict[str, Any]:
    """Hold a rendered create request to the types, and return its body."""
    body = orjson.loads(rendered.body)
    module = beta_create_params if beta else message_create_params
    wanted = module.MessageCreateParamsStreaming if body.get("stream") else module.MessageCreateParamsNonStreaming
    named = {"model": "claude-sonnet-4-5", **body}
    check({name: value for name, value in named.items() if name not in BESIDE | CLOUDS}, wanted)
    return body


def check_count(rendered) -> dict[str, Any]:
    """Hold a rendered counting request to the types, and return its body."""
    body = orjson.loads(rendered.body)
    check(body, message_count_tokens_params.MessageCountTokensParams)
    return body


def check(value, wanted) -> None:
    """Raise AssertionError unless the value is one of the type."""
    assert fits(value, wanted), (value, wanted)


def fits(value, wanted) -> bool:
    """Tell whether a value is one of the type."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Annotated, typing_extensions.Required, typing_extensions.NotRequired):
        return fits(value, arguments[0])
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin in (Literal, typing_extensions.Literal):
        return value in arguments
    if typing_extensions.is_typeddict(wanted):
        return fits_members(value, wanted)
    return fits_plainly(value, wanted) if origin is None else fits_contents(value, origin, arguments)


def fits_contents(value, origin, arguments) -> bool:
    """Tell whether a value is a mapping or list of something."""
    if origin is dict:
        return isinstance(value, dict)
    return issubclass(origin, Iterable) and isinstance(value, list) and all(fits(one, arguments[0]) for one in value)


def fits_plainly(value, wanted) -> bool:
    """Tell whether a value is one of a type without arguments."""
    if wanted is object or wanted is Any:
        return True
    if wanted is None or wanted is type(None):
        return value is None
    if wanted is float:
        return type(value) in (int, float)
    return type(value) is wanted


def fits_members(value, wanted) -> bool:
    """Tell whether an object has the members it has to have, and none but those it may have."""
    if not isinstance(value, dict):
        return False
    known = typing_extensions.get_type_hints(wanted, include_extras=True)
    open_ended = "extra" in str(getattr(wanted, "__pydantic_config__", ""))
    return (
        wanted.__required_keys__ <= value.keys()
        and (open_ended or value.keys() <= known.keys())
        and all(fits(member, known[name]) for name, member in value.items() if name in known)
    )
