import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.usage import Usage, parse_usage
from tests.rig import wire

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details"]


def test_usage_is_read_from_what_openai_sends():
    assert parse_usage(wire.USAGE) == Usage(input=12, cached_input=4, output=7, reasoning=2)


@pytest.mark.parametrize("value", [None, {}, [], 7, "usage", {"prompt_tokens": 3}, {"output_tokens": 3}])
def test_usage_is_none_where_there_is_none(value):
    assert parse_usage(value) is None


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        ({"input_tokens": 3}, (3, 0, 0, 0)),
        ({"input_tokens": 3, "output_tokens": 5}, (3, 0, 5, 0)),
        ({"input_tokens": 3, "input_tokens_details": None, "output_tokens": 5}, (3, 0, 5, 0)),
        ({"input_tokens": None, "output_tokens": 5, "output_tokens_details": {}}, (0, 0, 5, 0)),
        ({"input_tokens": -3, "output_tokens": "5", "output_tokens_details": []}, (0, 0, 0, 0)),
        ({"input_tokens": True, "output_tokens": 5.5}, (0, 0, 0, 0)),
        ({"input_tokens": 1, "input_tokens_details": {"cached_tokens": "many"}}, (1, 0, 0, 0)),
    ],
)
def test_usage_counts_natural_numbers_only(value, usage):
    assert parse_usage(value) == usage


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_usage_is_never_more_than_numbers(value):
    """Whatever a provider sends, counters can be increased by it."""
    usage = parse_usage(value)
    assert usage is None or all(type(count) is int and count >= 0 for count in usage)
