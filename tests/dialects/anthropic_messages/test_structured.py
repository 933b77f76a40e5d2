import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.anthropic_messages.structured import fit_schema


@pytest.mark.parametrize(
    ("schema", "fitted"),
    [
        ({"type": "integer", "minimum": 1}, {"type": "integer", "description": "{minimum: 1}"}),
        (
            {"type": "string", "description": "A.", "pattern": "^a", "maxLength": 3},
            {"type": "string", "description": "A.\n\n{pattern: ^a, maxLength: 3}"},
        ),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "color"}, {"type": "string", "description": "{format: color}"}),
        ({"type": "array", "items": {}, "minItems": 1}, {"type": "array", "items": {}, "minItems": 1}),
        ({"type": "array", "minItems": 2}, {"type": "array", "description": "{minItems: 2}"}),
        ({"type": "object"}, {"type": "object", "additionalProperties": False}),
        ({"type": "object", "additionalProperties": {}}, {"type": "object", "additionalProperties": False}),
        ({"type": ["object", "null"]}, {"type": ["object", "null"], "additionalProperties": False}),
        ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}),
        ({"$ref": "#/$defs/A", "description": "x"}, {"$ref": "#/$defs/A"}),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "integer", "maximum": 2}}},
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "integer", "description": "{maximum: 2}"}}},
        ),
        ({"enum": ["a"], "default": "a", "title": "T", "$schema": "s"}, {"enum": ["a"], "default": "a", "title": "T"}),
        ({"const": 1, "description": 3, "maximum": 2}, {"const": 1, "description": "{maximum: 2}"}),
    ],
)  # fmt: skip
def test_schema_keeps_what_answers_can_be_held_to(schema, fitted):
    assert fit_schema(schema) == fitted


def test_properties_may_be_called_as_keywords_are():
    schema = {"type": "object", "properties": {"minimum": {"type": "integer"}, "format": {"type": "string"}}}
    assert fit_schema(schema)["properties"] == schema["properties"]


SCHEMAS = st.recursive(
    st.sampled_from([{"type": "string", "maxLength": 3}, {"type": "object"}, True, None, {"minItems": "x"}]),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("ab"), inner) | inner,
            "items": inner,
            "oneOf": st.lists(inner, max_size=2) | inner,
            "format": inner,
        },
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(SCHEMAS.filter(lambda schema: isinstance(schema, dict)))
def test_any_schema_is_fitted_to_one_that_stays_as_it_is(schema):
    fitted = fit_schema(schema)
    assert fit_schema(fitted) == fitted
    assert "oneOf" not in fitted
