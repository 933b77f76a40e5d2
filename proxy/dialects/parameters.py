"""Parameters that are wrong, in OpenAI's words, and how those of a query are read."""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from proxy.errors import BadRequest

_INTEGER: Final = re.compile(r"-?[0-9]+")
_MAX_DIGITS: Final = 18


def mistyped(name: str, expected: str) -> BadRequest:
    """Return the error for a value of the wrong type; `expected` is such as `an integer`."""
    return BadRequest(f"Invalid type for '{name}': expected {expected}.", code="invalid_type", param=name)


def check_range(name: str, value: float | None, kind: str, least: float, most: float) -> None:
    """Refuse a number outside its range; `kind` is `integer` or `decimal`."""
    if value is None or least <= value <= most:
        return
    word, sign, bound = ("below minimum", ">=", least) if value < least else ("above maximum", "<=", most)
    raise BadRequest(
        f"Invalid '{name}': {kind} {word} value. Expected a value {sign} {bound}, but got {value} instead.",
        code=f"{kind}_{word[:9].replace(' ', '_')}_value",
        param=name,
    )


def check_word(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a word that is not one of those there are."""
    if value not in known:
        words = ", ".join(f"'{word}'" for word in known)
        raise BadRequest(f"Invalid value: '{value}'. Supported values are: {words}.", code="invalid_value", param=name)


def parse_query(query: str) -> Mapping[str, str]:
    """Read a query; of a parameter that comes twice the first counts."""
    return dict(reversed(parse_qsl(query, keep_blank_values=True)))


def parse_integer(name: str, text: str) -> int:
    """Read an integer; one of more digits than any parameter has is as large as can be."""
    if not _INTEGER.fullmatch(text):
        raise mistyped(name, "an integer")
    return int(text[: _MAX_DIGITS + text.startswith("-")])


def parse_boolean(text: str | None) -> bool:
    """Read a boolean as the official clients write it, or as Python and a shell would."""
    return text is not None and text.lower() in {"true", "1"}
