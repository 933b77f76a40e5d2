"""A request's input as the items of a response: formed as the API lists them, each with a stable id."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseItemList

from proxy.dialects.create import read_create
from proxy.dialects.identity import identify_items
from proxy.dialects.paging import listing
from proxy.errors import BadRequest
from tests.dialects.oracle import RESPONSE_ID
from tests.rig.replay import recordings

STEM = RESPONSE_ID.removeprefix("resp_")
INPUTS = [recording.request["input"] for recording in recordings("responses") if "input" in (recording.request or {})]


def test_text_is_a_message_of_the_user():
    assert identify_items("Hi", RESPONSE_ID) == [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}],
            "type": "message",
            "status": "completed",
            "id": f"msg_{STEM}i0",
        }
    ]


def test_nothing_is_no_item():
    assert identify_items(None, RESPONSE_ID) == identify_items([], RESPONSE_ID) == []


@pytest.mark.parametrize(
    ("item", "formed"),
    [
        (
            {"role": "assistant", "content": "Hi"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}],
                "status": "completed",
                "id": f"msg_{STEM}i0",
            },
        ),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_image"}, 7], "status": "incomplete"},
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_image", "detail": "auto"}, 7],
                "status": "incomplete",
                "id": f"msg_{STEM}i0",
            },
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": "1", "status": None},
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": "1",
                "status": "completed",
                "id": f"fco_{STEM}i0",
            },
        ),
        (
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "reasoning", "id": "rs_1", "summary": []},
        ),
        ({"id": "msg_1"}, {"type": "item_reference", "id": "msg_1"}),
        ({"type": "acme:odd", "x": 1}, {"type": "acme:odd", "x": 1, "id": f"item_{STEM}i0"}),
        ({"type": 7, "role": "user", "id": 7}, {"type": "message", "role": "user", "status": "completed"}),
    ],
)
def test_item_is_formed_as_the_api_lists_it(item, formed):
    (found,) = identify_items([item], RESPONSE_ID)
    assert found == {"id": f"msg_{STEM}i0", **formed}


def test_id_given_twice_stays_with_the_first():
    items = [{"role": "user", "content": text, "id": "mine"} for text in "ab"]
    assert [item["id"] for item in identify_items(items, RESPONSE_ID)] == ["mine", f"msg_{STEM}i1"]


def test_what_was_given_is_not_changed():
    items = [{"role": "user", "content": "a"}]
    identify_items(items, RESPONSE_ID)
    assert items == [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("items", "param"), [(7, "input"), ({}, "input"), ([{"role": "user"}, "x"], "input[1]"), ([None], "input[0]")]
)
def test_what_is_no_item_is_refused(items, param):
    with pytest.raises(BadRequest) as raised:
        identify_items(items, RESPONSE_ID)
    assert raised.value.param == param


def test_reference_given_twice_is_refused_by_its_id():
    """An id of its own, which it would get as another item does, is that of nothing."""
    for items in (
        [{"id": "msg_1"}, {"id": "msg_1"}],
        [{"role": "user", "content": "a", "id": "msg_1"}, {"id": "msg_1"}],
    ):
        with pytest.raises(BadRequest, match="Duplicate item found with id msg_1") as raised:
            identify_items(items, RESPONSE_ID)
        assert raised.value.param == "input"


@pytest.mark.parametrize("item", [{}, {"type": "item_reference"}, {"type": "item_reference", "id": 7}, {"id": ""}])
def test_reference_to_nothing_is_refused(item):
    with pytest.raises(BadRequest) as raised:
        identify_items([{"role": "user", "content": "a"}, item], RESPONSE_ID)
    assert raised.value.param == "input[1].id"


TYPES, ROLES = st.sampled_from(["message", "reasoning", "function_call", "odd"]), st.sampled_from(["user", "assistant"])
OPTIONAL = {
    "id": st.sampled_from(["a", "b", "", None, 7]) | st.text(max_size=4),
    "content": st.text(max_size=4) | st.lists(st.none(), max_size=2),
}
ITEMS = st.lists(
    st.fixed_dictionaries({"type": TYPES}, optional={**OPTIONAL, "role": ROLES})
    | st.fixed_dictionaries({"role": ROLES}, optional={**OPTIONAL, "type": TYPES | st.none()}),
    max_size=12,
)


@given(ITEMS)
def test_ids_are_stable_and_each_its_items_own(items):
    found = identify_items(items, RESPONSE_ID)
    assert found == identify_items(items, RESPONSE_ID)
    assert len({item["id"] for item in found}) == len(items)
    assert identify_items(found, RESPONSE_ID) == found
    assert all(isinstance(item["type"], str) for item in found)
    assert [item.get("role") for item in found] == [item.get("role") for item in items]
    wanted = dict.fromkeys(item["id"] for item in items if isinstance(item.get("id"), str) and item["id"])
    assert list(wanted) == [item["id"] for item in found if item["id"] in wanted]


@pytest.mark.parametrize("items", INPUTS)
def test_recorded_input_lists_as_the_client_reads_it_and_means_the_same(items):
    found = identify_items(items, RESPONSE_ID)
    assert [item.id for item in ResponseItemList.model_validate(listing(found)).data] == [item["id"] for item in found]


def test_history_continues_as_what_it_was():
    """What is kept of a request reads like the request."""
    body = {"model": "m", "input": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]}
    kept = {**body, "input": identify_items(body["input"], RESPONSE_ID)}
    assert read_create(kept, "p", "m").turns == read_create(body, "p", "m").turns
