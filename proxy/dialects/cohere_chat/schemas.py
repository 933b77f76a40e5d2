"""Fits JSON schemas to the subset Cohere enforces, in a response format and in strict tools.

Source: https://docs.cohere.com/docs/structured-outputs, "Unsupported schema features".
"""

import re
from typing import Any, Final

from proxy.dialects.schema import Schema, rewrite_schema

_UNKNOWN: Final = frozenset(
    {
        "allOf",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "not",
        "oneOf",
        "uniqueItems",
    }
)
_FORMATS: Final = ("date", "date-time", "time", "uuid")
_PATTERN: Final = re.compile(r"(\^)?((?:[^\\^$]|\\.)*)(\$)?", re.DOTALL)
_LOOKAROUND: Final = ("?=", "?!", "?<=", "?<!")


def fit_schema(schema: Schema) -> dict[str, Any]:
    """Return the schema without the keywords that are rejected, which the rest is enforced without."""
    return rewrite_schema(schema, _fit)


def _fit(schema: Schema) -> Schema:
    fitted = {name: value for name, value in schema.items() if name not in _UNKNOWN}
    every, one = schema.get("allOf"), schema.get("oneOf")
    if isinstance(every, list) and len(every) == 1 and isinstance(every[0], dict):
        fitted = {**every[0], **fitted}
    if isinstance(one, list) and "anyOf" not in fitted:
        # Weaker only where several of the schemas match at once.
        fitted["anyOf"] = one
    if "format" in fitted and fitted["format"] not in _FORMATS:
        del fitted["format"]
    if isinstance(fitted.get("pattern"), str):
        pattern = _fit_pattern(fitted.pop("pattern"))
        fitted |= {} if pattern is None else {"pattern": pattern}
    return fitted


def _fit_pattern(pattern: str) -> str | None:
    """Return a pattern without the anchors around it; None where it cannot do without, or looks around."""
    found = _PATTERN.fullmatch(pattern)
    if found is None or (found[1] is None) != (found[3] is None) or any(sign in pattern for sign in _LOOKAROUND):
        return None
    return found[2]
