import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.schema import rewrite_schema, without
from proxy.errors import BadRequest
from tests.dialects.oracle import context_of

UNKNOWN = frozenset({"title", "minLength", "pattern"})
LEAF = {"type": "string", "title": "T"}
BARE = {"type": "string"}

NAMED = ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"]
LISTED = ["allOf", "anyOf", "oneOf", "prefixItems"]
SINGLE = [
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
]


@pytest.mark.parametrize(
    ("schema", "left"),
    [
        *(({name: {"a": LEAF}}, {name: {"a": BARE}}) for name in NAMED),
        *(({name: [LEAF, True]}, {name: [BARE, True]}) for name in LISTED),
        *(({name: LEAF}, {name: BARE}) for name in SINGLE),
        *(({name: False}, {name: False}) for name in SINGLE),
        ({"items": [LEAF, LEAF]}, {"items": [BARE, BARE]}),
    ],
    ids=lambda value: next(iter(value)),
)
def test_keywords_are_removed_wherever_a_schema_may_stand(schema, left):
    assert without(schema, UNKNOWN) == left
    assert without({"not": {"items": schema}}, UNKNOWN) == {"not": {"items": left}}


@pytest.mark.parametrize("name", NAMED)
def test_names_of_properties_are_nobodys_keywords(name):
    schema = {name: {"title": LEAF, "properties": LEAF, "items": {"title": "T"}}}
    assert without(schema, UNKNOWN) == {name: {"title": BARE, "properties": BARE, "items": {}}}


@pytest.mark.parametrize("name", ["const", "default", "enum", "examples", "required", "x-unknown"])
def test_values_are_not_taken_for_schemas(name):
    schema = {name: [{"title": "T"}, "title"], "type": "object"}
    assert without(schema, UNKNOWN) == schema
    assert without({name: {"title": "T"}}, UNKNOWN) == {name: {"title": "T"}}


def test_schema_itself_stays_as_it_was():
    schema = {"title": "T", "properties": {"a": {"items": {"title": "T"}}}}
    before = orjson.dumps(schema)
    assert without(schema, UNKNOWN) == {"properties": {"a": {"items": {}}}}
    assert orjson.dumps(schema) == before


def test_inner_schemas_are_rewritten_first():
    def count(schema):
        inner = schema.get("items", {})
        return {**schema, "depth": inner.get("depth", 0) + 1}

    assert rewrite_schema({"items": {"items": {}}}, count) == {
        "items": {"items": {"depth": 1}, "depth": 2},
        "depth": 3,
    }


@pytest.mark.parametrize(
    "value", [None, 3, "object", [], [[]], {"a": 1}, {"a": None}, [{"title": {"title": 1}}]], ids=repr
)
@pytest.mark.parametrize("name", [*NAMED, *LISTED, *SINGLE])
def test_what_is_no_schema_does_no_harm(name, value):
    assert set(without({name: value, "title": "T"}, UNKNOWN)) == {name}


@pytest.mark.parametrize("wrap", [lambda inner: {"not": inner}, lambda inner: {"properties": {"a": inner}}])
def test_schema_as_deep_as_a_request_may_be_is_rewritten(wrap):
    deepest, schema = {}, {"type": "null"}
    while True:
        try:
            context_of({"input": "Hi", "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}}})
        except BadRequest:
            break
        deepest, schema = schema, wrap(schema)
    assert len(orjson.dumps(deepest)) > 1000
    assert without(deepest, UNKNOWN) == deepest


SCHEMAS = st.recursive(
    st.booleans() | st.fixed_dictionaries({}, optional={"title": st.text(), "minLength": st.integers(0, 9)}),
    lambda inner: (
        st.dictionaries(
            st.sampled_from(["title", "default", "x"]), st.text() | st.dictionaries(st.text(), inner, max_size=2)
        )
        | st.dictionaries(st.sampled_from(NAMED), st.dictionaries(st.sampled_from(["title", "a"]), inner, max_size=3))
        | st.dictionaries(st.sampled_from(LISTED), st.lists(inner, max_size=3))
        | st.dictionaries(st.sampled_from(SINGLE), inner)
    ),
    max_leaves=12,
).filter(lambda schema: isinstance(schema, dict))


@settings(max_examples=50)
@given(SCHEMAS)
def test_nothing_but_the_keywords_is_removed(schema):
    assert rewrite_schema(schema, lambda inner: inner) == schema
    assert without(schema, frozenset()) == schema
    once = without(schema, UNKNOWN)
    assert without(once, UNKNOWN) == once
    assert {"title", "minLength"}.isdisjoint(once)
