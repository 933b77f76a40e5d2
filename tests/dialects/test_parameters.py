"""Parameters of a query, and what is wrong with them in OpenAI's words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.parameters import check_range, check_word, mistyped, parse_boolean, parse_integer, parse_query
from proxy.errors import BadRequest


def refusal(call, *given):
    with pytest.raises(BadRequest) as raised:
        call(*given)
    return raised.value.message, raised.value.code, raised.value.param


def test_value_of_the_wrong_type_is_named():
    error = mistyped("limit", "an integer")
    assert (error.message, error.code) == ("Invalid type for 'limit': expected an integer.", "invalid_type")


def test_word_nobody_knows_is_refused_with_those_there_are():
    check_word("tone", "low", ("low", "high"))
    message = "Invalid value: 'odd'. Supported values are: 'low', 'high'."
    assert refusal(check_word, "tone", "odd", ("low", "high")) == (message, "invalid_value", "tone")


@pytest.mark.parametrize(
    ("value", "kind", "message", "code"),
    [
        (
            0,
            "integer",
            "integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "integer_below_min_value",
        ),
        (
            2.5,
            "decimal",
            "decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
            "decimal_above_max_value",
        ),
    ],
)
def test_number_outside_its_range_is_refused(value, kind, message, code):
    assert refusal(check_range, "n", value, kind, 1, 2) == (f"Invalid 'n': {message}", code, "n")


@pytest.mark.parametrize("value", [None, 1, 1.5, 2])
def test_number_within_its_range_or_none_passes(value):
    check_range("n", value, "decimal", 1, 2)


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ("", {}),
        ("limit=2&order=asc", {"limit": "2", "order": "asc"}),
        ("include[]=a&include%5B%5D=b", {"include[]": "a"}),
        ("after=msg%5F1&after=msg_2", {"after": "msg_1"}),
        ("limit=&stream", {"limit": "", "stream": ""}),
        ("a=%ff%00&&=", {"a": "\ufffd\0", "": ""}),
    ],
)
def test_query_is_read_by_its_first_values(query, read):
    assert parse_query(query) == read


@given(st.text(max_size=40))
def test_any_query_is_read(query):
    assert all(isinstance(part, str) for pair in parse_query(query).items() for part in pair)


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_integer_reads_back(number):
    assert parse_integer("n", str(number)) == number


@pytest.mark.parametrize(("text", "sign"), [("9" * 5000, 1), ("-" + "9" * 5000, -1)])
def test_integer_of_too_many_digits_is_as_large_as_can_be(text, sign):
    assert parse_integer("n", text) == sign * (10**18 - 1)


@pytest.mark.parametrize("text", ["", "-", "1.0", "1e3", " 1", "1_0", "+1", "٣", "x", "--1"])
def test_what_is_no_integer_is_refused(text):
    assert refusal(parse_integer, "limit", text)[1:] == ("invalid_type", "limit")


@pytest.mark.parametrize(
    ("text", "read"), [("true", True), ("True", True), ("1", True), ("false", False), ("", False), (None, False)]
)
def test_boolean_is_read_as_clients_write_it(text, read):
    assert parse_boolean(text) is read
