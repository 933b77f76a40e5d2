"""Fits JSON schemas to the part of the language Gemini reads, without losing what it would enforce."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects.schema import Schema, rewrite_schema

_UNKNOWN: Final = frozenset({"$schema", "discriminator", "examples"})
_FORMATS: Final = frozenset({"date", "date-time", "time"})
_TYPES: Final[Mapping[type, str]] = {str: "string", bool: "boolean", int: "integer", float: "number"}
_EXCLUSIVE: Final = (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1))


def fit_schema(schema: Schema) -> dict[str, Any]:
    """Return the schema as it can be sent."""
    return rewrite_schema(schema, _fit)


def _fit(schema: Schema) -> Schema:
    fitted = {name: value for name, value in schema.items() if name not in _UNKNOWN}
    if "const" in fitted:
        value = fitted.pop("const")
        fitted["enum"] = [value]
        if type(value) in _TYPES:
            fitted.setdefault("type", _TYPES[type(value)])
    if "oneOf" in fitted and "anyOf" not in fitted:
        fitted["anyOf"] = fitted.pop("oneOf")
    format_ = fitted.get("format")
    if isinstance(format_, str) and format_ not in _FORMATS and fitted.get("type") == "string":
        del fitted["format"]
        told = fitted.get("description")
        note = f"Format: {format_}"
        fitted["description"] = f"{told}\n{note}" if told and isinstance(told, str) else note
    return _bound(fitted)


def _bound(fitted: dict[str, Any]) -> dict[str, Any]:
    """Say exclusive bounds as inclusive ones: exact for integers, for other numbers as near as there is."""
    for exclusive, inclusive, step in _EXCLUSIVE:
        bound = fitted.pop(exclusive, None)
        if type(bound) in (int, float) and inclusive not in fitted:
            exact = fitted.get("type") == "integer" and type(bound) is int
            fitted[inclusive] = bound + step if exact else bound
    return fitted
