"""The smallest value that a JSON schema admits, for answers that must have a shape; pure.

Knows the keywords structured outputs allow. `pattern` is not among what it can satisfy.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from proxy.errors import BadRequest

MAX_VALUES = 10_000
"""Values in one specimen: a few nested references can ask for any number."""
MAX_DEPTH = 64
SHOWN_DEPTH = 4
WORD = "sandbox"

Schema = dict[str, Any]

_FORMATS: Mapping[str, str] = {
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "date-time": "2026-01-01T00:00:00Z",
    "duration": "PT1S",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def specimen(schema: Any) -> Any:
    """Return the smallest value a schema admits.

    Raises `BadRequest` where the schema is not one, or admits nothing of a sensible size.
    """
    try:
        return _Maker(schema).make(schema, 0)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise _invalid("it is not a JSON schema") from None


def _invalid(reason: str) -> BadRequest:
    return BadRequest(f"Invalid schema: {reason}.", code="invalid_json_schema", param="text.format.schema")


class _Maker:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._values = 0
        self._keywords: Mapping[str, Callable[[Any, int], Any]] = {
            "$ref": lambda value, depth: self.make(self._resolve(value), depth + 1),
            "const": lambda value, _depth: value,
            "enum": lambda value, _depth: value[0],
            "anyOf": self._choose,
            "oneOf": self._choose,
            "allOf": lambda value, depth: self.make({k: v for part in value for k, v in part.items()}, depth + 1),
        }
        self._makers: Mapping[str, Callable[[Schema, int], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": _string,
            "integer": _number,
            "number": _number,
            "boolean": lambda _schema, _depth: False,
            "null": lambda _schema, _depth: None,
        }

    def make(self, schema: Any, depth: int) -> Any:
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            raise _invalid("it admits nothing of a sensible size")
        if schema is True:
            return None
        for keyword, make in self._keywords.items():
            if keyword in schema:
                return make(schema[keyword], depth)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        return self._makers[kind[0] if isinstance(kind, list) else kind](schema, depth)

    def _choose(self, options: list[Any], depth: int) -> Any:
        """Take the first option, as a reader expects; null, where it is one, ends a schema that holds itself."""
        nulls = [option for option in options if option.get("type") == "null"]
        return self.make(nulls[0] if nulls and depth > SHOWN_DEPTH else options[0], depth + 1)

    def _resolve(self, reference: str) -> Any:
        found = self._root
        for name in reference.removeprefix("#").split("/")[1:]:
            found = found[name.replace("~1", "/").replace("~0", "~")]
        return found

    def _object(self, schema: Schema, depth: int) -> Any:
        properties = schema.get("properties", {})
        return {name: self.make(properties.get(name, True), depth + 1) for name in schema.get("required", ())}

    def _array(self, schema: Schema, depth: int) -> Any:
        least = schema.get("minItems", 0)
        if least > MAX_VALUES:
            raise _invalid("it admits nothing of a sensible size")
        return [self.make(schema.get("items", True), depth + 1) for _ in range(least)]


def _string(schema: Schema, _depth: int) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength", len(WORD))
    if least > MAX_VALUES:
        raise _invalid("it admits nothing of a sensible size")
    return _FORMATS.get(schema.get("format", "")) or WORD[:most].ljust(least, ".")


def _number(schema: Schema, _depth: int) -> Any:
    """Return the number nearest to zero that the bounds admit, in steps of one where nothing else is said."""
    step = schema.get("multipleOf", 1)
    least = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + step)
    most = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - step)
    if least > 0:
        return math.ceil(least / step) * step
    return math.floor(most / step) * step if most < 0 else 0
