from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.providers.mistral import fit_call_id
from tests.providers.chat_kinds import CALLED, render


def test_call_id_of_mistrals_own_form_stays():
    assert fit_call_id("aB3dE6gH9") == "aB3dE6gH9"


@settings(max_examples=50)
@given(st.lists(st.text(max_size=40), unique=True, max_size=4))
def test_other_call_ids_become_different_ones_of_that_form(ids):
    fitted = [fit_call_id(call_id) for call_id in ids]
    assert all(len(one) == 9 and one.isascii() and one.isalnum() for one in fitted)
    assert len(set(fitted)) == len(ids)
    assert fitted == [fit_call_id(call_id) for call_id in ids]


def test_call_and_output_keep_to_each_other_under_the_new_id():
    called, answered = render("mistral", input=CALLED)[0]["messages"]
    assert called["tool_calls"][0]["id"] == answered["tool_call_id"] == fit_call_id("call_0123456789abcdef")
