import pytest

from proxy.dialects.gemini_generate_content.schemas import fit_schema


@pytest.mark.parametrize(
    ("schema", "fitted"),
    [
        ({"$schema": "x", "title": "T", "type": "object"}, {"title": "T", "type": "object"}),
        ({"const": "a"}, {"enum": ["a"], "type": "string"}),
        ({"const": True}, {"enum": [True], "type": "boolean"}),
        ({"const": 1, "type": "number"}, {"enum": [1], "type": "number"}),
        ({"const": None}, {"enum": [None]}),
        ({"oneOf": [{"const": 1.5}]}, {"anyOf": [{"enum": [1.5], "type": "number"}]}),
        ({"oneOf": [{}], "anyOf": [{}]}, {"oneOf": [{}], "anyOf": [{}]}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "email"}, {"type": "string", "description": "Format: email"}),
        (
            {"type": "string", "format": "uri", "description": "Where."},
            {"type": "string", "description": "Where.\nFormat: uri"},
        ),
        ({"type": "number", "format": "double"}, {"type": "number", "format": "double"}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"type": "integer", "exclusiveMaximum": 9}, {"type": "integer", "maximum": 8}),
        ({"type": "number", "exclusiveMinimum": 0}, {"type": "number", "minimum": 0}),
        ({"exclusiveMinimum": 0, "minimum": 5}, {"minimum": 5}),
        ({"minimum": 5, "exclusiveMinimum": True}, {"minimum": 5}),
        (
            {"properties": {"const": {"type": "string"}, "$schema": {}}},
            {"properties": {"const": {"type": "string"}, "$schema": {}}},
        ),
        ({"items": {"const": "a"}, "minItems": 1}, {"items": {"enum": ["a"], "type": "string"}, "minItems": 1}),
    ],
)
def test_schema_is_fitted_and_the_rest_kept(schema, fitted):
    assert fit_schema(schema) == fitted


def test_description_that_is_none_does_not_matter():
    assert fit_schema({"type": "string", "format": "uri", "description": 3})["description"] == "Format: uri"
