"""Fits a JSON schema to what a provider reads of the language, at every place where a schema may stand."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

_OF_SCHEMAS: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
"""Keywords whose value maps names to schemas: the names are nobody's keywords."""
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_ONE: Final = frozenset(
    {
        "additionalProperties",
        "contains",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)


def rewrite_schema(schema: Schema, rewrite: Callable[[Schema], Schema]) -> dict[str, Any]:
    """Return a copy of a schema in which every schema, the inner ones first, went through `rewrite`."""
    return dict(rewrite({name: _inner(name, value, rewrite) for name, value in schema.items()}))


def _inner(name: str, value: Any, rewrite: Callable[[Schema], Schema]) -> Any:
    if name in _OF_SCHEMAS and isinstance(value, dict):
        return {inner: _one(schema, rewrite) for inner, schema in value.items()}
    if name in _LISTS and isinstance(value, list):
        return [_one(schema, rewrite) for schema in value]
    if name in _ONE and isinstance(value, list):
        return [_one(schema, rewrite) for schema in value]
    return _one(value, rewrite) if name in _ONE else value


def _one(value: Any, rewrite: Callable[[Schema], Schema]) -> Any:
    return rewrite_schema(value, rewrite) if isinstance(value, dict) else value


def without(schema: Schema, keywords: frozenset[str]) -> dict[str, Any]:
    """Return a schema without some keywords at any depth; properties of such a name stay."""
    return rewrite_schema(schema, lambda inner: {name: value for name, value in inner.items() if name not in keywords})
