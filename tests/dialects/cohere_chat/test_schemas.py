import pytest

from proxy.dialects.cohere_chat.schemas import fit_schema

REFUSED = [
    *("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"),
    *("maxItems", "minItems", "maxLength", "minLength", "uniqueItems"),
]


@pytest.mark.parametrize("keyword", REFUSED)
def test_keywords_that_are_refused_are_removed_and_the_rest_stays(keyword):
    schema = {"type": "object", "properties": {keyword: {"type": "string", keyword: 3}}, "required": [keyword]}
    kept = {"type": "object", "properties": {keyword: {"type": "string"}}, "required": [keyword]}
    assert fit_schema(schema) == kept
    assert fit_schema({"$defs": {"a": {"items": schema}}}) == {"$defs": {"a": {"items": kept}}}


def test_keywords_that_are_enforced_stay():
    schema = {
        "type": "object",
        "description": "d",
        "properties": {
            "a": {"enum": [1, 2]},
            "b": {"const": "x"},
            "c": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/d"}]},
            "d": {"type": "array", "items": {"type": "string", "format": "date-time"}},
        },
        "required": ["a", "b", "c", "d"],
        "additionalProperties": False,
        "$defs": {"d": {"type": "number"}},
    }
    assert fit_schema(schema) == schema


def test_alternatives_become_those_there_are():
    assert fit_schema({"oneOf": [{"minimum": 1}, {"type": "null"}]}) == {"anyOf": [{}, {"type": "null"}]}
    assert fit_schema({"oneOf": [{"const": 1}], "anyOf": [{"const": 2}]}) == {"anyOf": [{"const": 2}]}


def test_sole_part_of_a_whole_is_the_whole():
    assert fit_schema({"allOf": [{"$ref": "#/a"}], "description": "d"}) == {"$ref": "#/a", "description": "d"}
    assert fit_schema({"allOf": [{"type": "object", "description": "x"}], "description": "d"}) == {
        "type": "object",
        "description": "d",
    }
    assert fit_schema({"allOf": [{"const": 1}, {"const": 2}], "not": {}, "type": "integer"}) == {"type": "integer"}


@pytest.mark.parametrize("value", [None, 3, {}, [], [True], "x"])
def test_combinations_that_are_none_do_no_harm(value):
    fitted = fit_schema({"allOf": value, "oneOf": value, "type": "object"})
    assert fitted == {"type": "object"} | ({"anyOf": value} if isinstance(value, list) else {})


@pytest.mark.parametrize(
    ("format_", "kept"),
    [("date", True), ("date-time", True), ("time", True), ("uuid", True), ("email", False), ("uri", False)],
)
def test_formats_are_those_that_are_known(format_, kept):
    assert fit_schema({"type": "string", "format": format_}) == {"type": "string"} | (
        {"format": format_} if kept else {}
    )


@pytest.mark.parametrize("value", [None, 3, [], {}, ["date"]])
def test_format_that_is_none_is_removed(value):
    assert fit_schema({"format": value}) == {}


@pytest.mark.parametrize(
    ("pattern", "fitted"),
    [
        ("[a-z]+", "[a-z]+"),
        ("^[a-z]+$", "[a-z]+"),
        ("^$", ""),
        (r"^\$[0-9]+$", r"\$[0-9]+"),
        (r"^a\$", None),
        (r"^a\\$", r"a\\"),
        ("^a", None),
        ("a$", None),
        ("^a|b$", "a|b"),
        ("^(a$|b)$", None),
        ("[^a]", None),
        ("(?=a)b", None),
        ("a(?!b)", None),
        ("(?<=a)b", None),
        ("(?<!a)b", None),
        ("a\nb", "a\nb"),
        ("\\", None),
    ],
)
def test_patterns_do_without_anchors_or_are_removed(pattern, fitted):
    assert fit_schema({"pattern": pattern}) == ({} if fitted is None else {"pattern": fitted})


def test_patterns_are_read_in_linear_time():
    assert fit_schema({"pattern": "^" + "\\a" * 50_000 + "a" * 50_000}) == {}
