"""Fits a JSON schema to what the format is strict about: what it cannot be held to is said in the description.

As the vendor's own SDKs do, so that a model knows of every limit there is, even of those that are not enforced.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects.schema import Schema, rewrite_schema

_KEPT: Final = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "default",
        "definitions",
        "description",
        "enum",
        "items",
        "properties",
        "required",
        "title",
        "type",
    }
)
_IGNORED: Final = frozenset({"$id", "$schema", "$comment", "oneOf", "strict"})
_FORMATS: Final = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"}
)
_AT_MOST_ONE: Final = (0, 1)


def fit_schema(schema: Schema) -> dict[str, Any]:
    """Return the schema in the part of the language that answers can be held to."""
    return rewrite_schema(schema, _fit)


def _fit(schema: Schema) -> dict[str, Any]:
    if "$ref" in schema:
        # What stands beside a reference is refused, except where definitions have their place.
        return {name: schema[name] for name in ("$ref", "$defs", "definitions") if name in schema}
    kept = {name: value for name, value in schema.items() if _is_kept(name, value)}
    if "oneOf" in schema and "anyOf" not in kept:
        kept["anyOf"] = schema["oneOf"]
    if _is_object(schema):
        kept["additionalProperties"] = False
    else:
        kept.pop("additionalProperties", None)
    left = {name: value for name, value in schema.items() if name not in kept and name not in _IGNORED}
    left.pop("additionalProperties", None)
    if left:
        kept["description"] = _describe(schema.get("description"), left)
    return kept


def _is_kept(name: str, value: Any) -> bool:
    if name == "format":
        return isinstance(value, str) and value in _FORMATS
    if name == "minItems":
        return value in _AT_MOST_ONE
    return name in _KEPT


def _is_object(schema: Schema) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema


def _describe(description: Any, left: Mapping[str, Any]) -> str:
    limits = ", ".join(f"{name}: {value}" for name, value in left.items())
    return "\n\n".join(filter(None, (description if isinstance(description, str) else "", f"{{{limits}}}")))
