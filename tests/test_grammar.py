import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import grammar

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (b"0", True),
        (b"-0.5e+10", True),
        (b"true", True),
        (b"null", True),
        (b"01", False),
        (b"+1", False),
        (b"1.", False),
        (b".5", False),
        (b"NaN", False),
        (b"-Infinity", False),
        (b"True", False),
    ],
)
def test_scalar_is_what_json_says(text, whole):
    assert (grammar.is_scalar(text) is not None) == whole


@pytest.mark.parametrize(
    ("text", "stops_at"),
    [
        (rb'plain" rest', 5),
        (rb'\"\\\/\b\f\n\r\t\u00e9" rest', 22),
        (rb"\x41", 0),
        (rb"\u00g0", 0),
        (b"tab\there", 3),
        (b"line\nend", 4),
    ],
)
def test_string_body_stops_where_it_ends_or_is_none(text, stops_at):
    assert grammar.match_string_body(text, 0).end() == stops_at


@pytest.mark.parametrize("escape", [b"\\", b"\\u", b"\\u0", b"\\u00e"])
def test_escape_cut_short_is_known_as_one(escape):
    assert grammar.is_partial_escape(escape) is not None
    assert grammar.is_partial_escape(escape + b"z") is None


@pytest.mark.parametrize("foreign", [b"/* c */", b"// c", b"'a'", b"NaN", b"#", b"\x00", b"{", b"]"])
def test_content_stops_at_what_strict_json_does_not_hold(foreign):
    """A bracket that opens nothing and a comment are alike: the step ends before them."""
    assert grammar.match_flat(b'1, "a", ' + foreign, 0).end() == len(b'1, "a", ')


@given(VALUES)
@settings(max_examples=200)
def test_nested_content_is_passed_in_one_step_up_to_its_depth(value):
    text = json.dumps(value).encode()
    depth = _depth(value)
    end = grammar.match_nested(text, 0).end()
    assert end == len(text) if depth <= grammar.NESTED_DEPTH else end <= len(text)


def _depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def test_members_are_stepped_over_up_to_the_named_one():
    match = grammar.compile_members(["model"])(b'"a": [1, {"model": 2}], "model": "m" , "z": 1}', 0)
    assert match.groups() == (b"model", b'"m"', b",")


def test_member_spelled_otherwise_is_not_stepped_over():
    """`"Model"` is for the slow way, which knows that some parsers take it for `model`."""
    match = grammar.compile_members(["model"])(b'"a": 1, "Model": "m"}', 0)
    assert match.lastindex is None
    assert match.end() == len(b'"a": 1,')
