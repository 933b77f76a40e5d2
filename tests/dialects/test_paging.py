"""Pages of a list: what the query asks for, nothing twice, nothing left out, in OpenAI's words where it cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.paging import page
from proxy.errors import BadRequest

ITEMS = [{"id": f"msg_{number}"} for number in range(5)]


@pytest.mark.parametrize(
    ("query", "numbers", "more"),
    [
        ({}, [4, 3, 2, 1, 0], False),
        ({"limit": "2"}, [4, 3], True),
        ({"limit": "2", "after": "msg_1"}, [0], False),
        ({"limit": "4", "after": "msg_0", "order": "asc"}, [1, 2, 3, 4], False),
        ({"limit": "3", "after": "msg_0", "order": "asc"}, [1, 2, 3], True),
        ({"after": "msg_4", "order": "asc"}, [], False),
    ],
)
def test_page_holds_what_the_query_asks_for(query, numbers, more):
    names = [f"msg_{number}" for number in numbers]
    found = page(ITEMS, query)
    assert [item["id"] for item in found["data"]] == names
    ends = [names[0], names[-1]] if names else [None, None]
    assert [found["first_id"], found["last_id"], found["has_more"]] == [*ends, more]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "0"}, "integer_below_min_value"),
        ({"limit": "101"}, "integer_above_max_value"),
        ({"limit": "9" * 5000}, "integer_above_max_value"),
        ({"limit": "-1"}, "integer_below_min_value"),
        ({"limit": "ten"}, "invalid_type"),
        ({"limit": ""}, "invalid_type"),
        ({"order": "up"}, "invalid_value"),
        ({"after": "msg_9"}, None),
    ],
)
def test_page_refuses_what_cannot_be(query, code):
    with pytest.raises(BadRequest) as raised:
        page(ITEMS, query)
    assert (raised.value.code, raised.value.param) == (code, next(iter(query)))


def test_page_without_items_is_a_list_all_the_same():
    assert page([], {}) == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 12), st.sampled_from(["asc", "desc", None]))
def test_pages_put_together_are_the_list(numbers, limit, order):
    """However ids repeat, a client that goes on behind the last one gets everything once, and an end."""
    items = [{"id": f"msg_{number}"} for number in numbers]
    query = {"limit": str(limit)} | ({} if order is None else {"order": order})
    found = [page(items, query)]
    while found[-1]["has_more"]:
        assert len(found[-1]["data"]) == limit
        found.append(page(items, {**query, "after": found[-1]["last_id"]}))
    listed = [item["id"] for one in found for item in one["data"]]
    once = list(dict.fromkeys(item["id"] for item in items))
    assert listed == (once if order == "asc" else once[::-1])
