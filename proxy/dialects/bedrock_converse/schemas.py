"""Fits a JSON schema to what the service enforces of the language."""

from typing import Any, Final

from proxy.dialects.schema import Schema, rewrite_schema

_NOT_ENFORCED: Final = frozenset(
    {"exclusiveMaximum", "exclusiveMinimum", "maxItems", "maximum", "minimum", "multipleOf"}
)
"""Keywords that a schema to be enforced is refused for."""


def fit_schema(schema: Schema) -> dict[str, Any]:
    """Return a schema the service enforces: the strictest one it accepts that still says what this one does."""
    return rewrite_schema(schema, _fit)


def _fit(schema: Schema) -> dict[str, Any]:
    fitted = {name: value for name, value in schema.items() if name not in _NOT_ENFORCED}
    # Of a list it can be enforced that it is not empty, and no more.
    least = fitted.get("minItems")
    if isinstance(least, int) and least > 1:
        fitted["minItems"] = 1
    if _is_object(schema) and schema.get("additionalProperties", True) is True:
        fitted["additionalProperties"] = False
    return fitted


def _is_object(schema: Schema) -> bool:
    kind = schema.get("type")
    return (
        kind == "object" or (isinstance(kind, list) and "object" in kind) or (kind is None and "properties" in schema)
    )
