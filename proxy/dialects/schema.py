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
    return dict(_rewrite(schema, rewrite))


def _rewrite(value: Any, rewrite: Callable[[Schema], Schema]) -> Any:
    # Three frames a level: a schema as deep as a request may be has to fit in the interpreter's default of a thousand.
    if not isinstance(value, dict):
        return value
    return rewrite({name: _inner(name, member, rewrite) for name, member in value.items()})


def _inner(name: str, value: Any, rewrite: Callable[[Schema], Schema]) -> Any:
    if name in _OF_SCHEMAS and isinstance(value, dict):
        return {inner: _rewrite(schema, rewrite) for inner, schema in value.items()}
    if isinstance(value, list) and (name in _LISTS or name in _ONE):
        return [_rewrite(schema, rewrite) for schema in value]
    return _rewrite(value, rewrite) if name in _ONE else value


def without(schema: Schema, keywords: frozenset[str]) -> dict[str, Any]:
    """Return a schema without some keywords at any depth; properties of such a name stay."""
    return rewrite_schema(schema, lambda inner: {name: value for name, value in inner.items() if name not in keywords})
