"""Lists of items, page by page, as OpenAI gives them out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.dialects.parameters import check_range, parse_integer
from proxy.errors import BadRequest

Json = dict[str, Any]

DEFAULT_LIMIT, MAX_LIMIT = "20", 100


def page(items: Iterable[Json], query: Mapping[str, str]) -> Json:
    """Return one page of items, given oldest first, as the query's `order`, `after` and `limit` ask for it.

    Every item has an `id`; one that comes twice is listed once, or a client that goes on behind it would never end.
    """
    limit = parse_integer("limit", query.get("limit", DEFAULT_LIMIT))
    check_range("limit", limit, "integer", 1, MAX_LIMIT)
    order = query.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise BadRequest("Invalid 'order': expected 'asc' or 'desc'.", code="invalid_value", param="order")
    ordered = list({item["id"]: item for item in items}.values())
    rest = _behind(ordered if order == "asc" else ordered[::-1], query.get("after"))
    return listing(rest[:limit], more=len(rest) > limit)


def _behind(items: list[Json], after: str | None) -> list[Json]:
    if after is None:
        return items
    for at, item in enumerate(items, 1):
        if item["id"] == after:
            return items[at:]
    raise BadRequest(f"Item with id '{after}' not found.", param="after")


def listing(items: Sequence[Json], *, more: bool = False) -> Json:
    """Return items as OpenAI's list object."""
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": more,
    }
