"""Specimens meet their schema, and schemas that are none are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import BadRequest
from proxy.sandbox.specimen import specimen

NODE = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
            "required": ["next"],
        }
    },
}
ENDLESS = {"type": "object", "properties": {"again": {"$ref": "#"}}, "required": ["again"]}
EXPONENTIAL = {
    "$defs": {
        "20": {"type": "null"},
        **{str(n): {"type": "array", "items": {"$ref": f"#/$defs/{n + 1}"}, "minItems": 9} for n in range(20)},
    },
    "$ref": "#/$defs/0",
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, "sandbox"),
        ({"type": "object"}, {}),
        ({"properties": {"a": {"type": "null"}, "b": {}}, "required": ["a"]}, {"a": None}),
        ({"type": ["integer", "null"]}, 0),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "integer", "exclusiveMinimum": 0}, 1),
        ({"type": "number", "maximum": -2.5, "multipleOf": 0.5}, -2.5),
        ({"type": "integer", "minimum": -5}, 0),
        ({"type": "boolean"}, False),
        ({"type": "string", "minLength": 9}, "sandbox.."),
        ({"type": "string", "maxLength": 3}, "san"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"enum": ["red", "green"]}, "red"),
        ({"const": 7}, 7),
        ({"oneOf": [{"type": "boolean"}, {"type": "null"}]}, False),
        ({"allOf": [{"type": "string"}, {"maxLength": 1}]}, "s"),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 1}}}, 1),
        (NODE, {"next": {"next": None}}),
    ],
)
def test_specimen_is_the_smallest_the_schema_admits(schema, value):
    assert specimen(schema) == value


@pytest.mark.parametrize(
    "schema",
    [
        *(None, [], "x", False, {"type": "odd"}, {"type": 7}, {"type": []}, {"enum": []}, {"anyOf": [7]}),
        *({"$ref": 7}, {"$ref": "#/$defs/none"}, {"required": ["a"], "properties": {"a": {"type": "odd"}}}),
        *({"type": "array", "minItems": 10**9}, {"type": "string", "minLength": 10**9}, ENDLESS, EXPONENTIAL),
    ],
)
def test_specimen_is_refused_when_the_schema_admits_none(schema):
    with pytest.raises(BadRequest) as raised:
        specimen(schema)
    assert raised.value.code == "invalid_json_schema"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYWORDS = st.sampled_from(
    ["type", "properties", "required", "items", "minItems", "minimum", "multipleOf", "anyOf", "allOf", "$ref", "format"]
)


@settings(max_examples=100)
@given(st.dictionaries(KEYWORDS, st.sampled_from(["object", "array", "string", "number", "#"]) | VALUES))
def test_specimen_answers_or_refuses_whatever_the_schema(schema):
    try:
        specimen(schema)
    except BadRequest as refused:
        assert refused.code == "invalid_json_schema"  # noqa: PT017
