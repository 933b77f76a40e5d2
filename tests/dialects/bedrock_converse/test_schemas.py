import pytest

from proxy.dialects.bedrock_converse.schemas import fit_schema

LIMITS = {"minimum": 0, "maximum": 9, "exclusiveMinimum": 0, "exclusiveMaximum": 9, "multipleOf": 2}


def test_limits_of_numbers_and_lists_are_not_enforced():
    schema = {"type": "array", "maxItems": 3, "items": {"type": "number", "description": "d", **LIMITS}}
    assert fit_schema(schema) == {"type": "array", "items": {"type": "number", "description": "d"}}


def test_what_is_enforced_stays():
    schema = {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^a", "format": "date", "enum": ["a"]}
    assert fit_schema(schema) == schema


@pytest.mark.parametrize(("least", "enforced"), [(0, 0), (1, 1), (5, 1)])
def test_list_can_be_kept_from_being_empty_only(least, enforced):
    assert fit_schema({"type": "array", "minItems": least})["minItems"] == enforced


@pytest.mark.parametrize("kind", [{"type": "object"}, {"type": ["object", "null"]}, {"properties": {}}])
@pytest.mark.parametrize("more", [{}, {"additionalProperties": True}])
def test_objects_are_closed_at_every_depth(kind, more):
    fitted = fit_schema({"type": "object", "properties": {"a": {"anyOf": [{**kind, **more}]}}})
    assert fitted["additionalProperties"] is False
    assert fitted["properties"]["a"]["anyOf"][0]["additionalProperties"] is False


def test_map_is_left_to_the_service_to_refuse():
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    assert fit_schema(schema) == schema


def test_property_may_be_called_like_a_keyword():
    schema = {"type": "object", "properties": {"maximum": {"type": "string"}}, "additionalProperties": False}
    assert fit_schema(schema) == schema
