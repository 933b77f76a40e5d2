"""Values come back whole or not at all, large ones beside the loop; several put together come apart again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.compression import INLINE_BYTES, compress, expand, pack, size_of, split_packed, unpack


@given(st.binary(max_size=2000))
def test_value_comes_back(data):
    assert unpack(pack(data)) == data
    assert size_of(pack(data)) == len(data)


@given(st.binary(min_size=1, max_size=300), st.data())
def test_value_that_is_not_whole_is_none(data, drawn):
    packed = bytearray(pack(data))
    at = drawn.draw(st.integers(0, len(packed) - 1))
    assert unpack(bytes(packed[:at])) is None
    packed[at] ^= drawn.draw(st.integers(1, 255))
    assert unpack(bytes(packed)) in (None, data)


@given(st.binary(max_size=60))
def test_anything_is_a_value_or_none(packed):
    unpack(packed)
    assert size_of(packed) >= 0
    values = split_packed(packed)
    assert values is None or b"".join(values) == packed


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_values_put_together_come_apart(values):
    packed = tuple(map(pack, values))
    assert split_packed(b"".join(packed)) == packed
    if packed:
        assert split_packed(b"".join(packed)[:-1]) is None


def test_nothing_is_none():
    assert unpack(None) is unpack(b"") is None
    assert size_of(None) == 0
    assert split_packed(b"") == ()


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 4 * INLINE_BYTES])
async def test_large_value_comes_back_as_a_small_one_does(size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    packed = await compress(data)
    assert packed == pack(data)
    assert await expand(packed) == data


async def test_what_is_not_whole_expands_to_none():
    assert await expand(pack(b"x" * 4 * INLINE_BYTES)[:-1]) is None
    assert await expand(None) is None
