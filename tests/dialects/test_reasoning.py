import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.reasoning import seal, unseal

JSON = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(JSON)
def test_state_returns_to_the_same_upstream(state):
    assert unseal(seal("primary", "large", state), "primary", "large") == state


@pytest.mark.parametrize(("provider", "model"), [("other", "large"), ("primary", "small")])
def test_state_does_not_reach_another_upstream(provider, model):
    assert unseal(seal("primary", "large", {"a": 1}), provider, model) is None


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()) | st.none() | st.integers())
def test_what_is_not_ours_is_nothing(text):
    assert unseal(text, "primary", "large") is None


@pytest.mark.parametrize("envelope", [[], {}, {"v": 2, "provider": "primary", "model": "large", "state": 1}])
def test_other_envelopes_are_nothing(envelope):
    assert unseal(base64.urlsafe_b64encode(orjson.dumps(envelope)).decode(), "primary", "large") is None


def test_envelope_is_text_that_any_client_can_carry():
    assert set(seal("p", "m", "ÿ" * 50)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
