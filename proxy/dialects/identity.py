"""Gives a request's input the form in which it is listed and continued: typed items, each with an id of its own."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from proxy.errors import BadRequest

Json = dict[str, Any]

_MINTED: Final = re.compile(r"[a-z]+_([0-9a-f]{48})(?:i[0-9]+|[0-9a-f]{2,})\Z")

_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "web_search_call": "ws",
    "file_search_call": "fs",
    "code_interpreter_call": "ci",
    "image_generation_call": "ig",
    "computer_call": "cu",
    "computer_call_output": "cuo",
    "compaction": "cmp",
    "mcp_call": "mcp",
    "mcp_list_tools": "mcpl",
    "mcp_approval_request": "mcpr",
}
"""What ids begin with, by the item's type."""

_WITH_STATUS: Final = frozenset(
    {
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "computer_call_output",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "image_generation_call",
        "tool_search_call",
        "tool_search_output",
    }
)
"""Types whose items the API lists with a status although a request may leave it out."""

_OF_PARTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "output_text": {"annotations": [], "logprobs": []},
    "input_image": {"detail": "auto"},
}
"""Members of parts that a request may leave out."""


def identify_items(items: Any, response_id: str) -> list[Json]:
    """Return a request's `input`, a string or a list of items, as the items of a response.

    An id that the client gave, and did not give twice, stays; the rest follow from the response's and the place.
    """
    stem = response_id.rpartition("_")[2]
    return identify(items, lambda prefix, at: f"{prefix}_{stem}i{at}")


def is_reference(item: Mapping[str, Any]) -> bool:
    """Tell whether an identified item only names another."""
    return item.get("type") == "item_reference"


def has_id(item: Mapping[str, Any]) -> bool:
    """Tell whether an item can be named: not every provider gives those of its answers an id."""
    return isinstance(item.get("id"), str) and item["id"] != ""


def name_items(items: Iterable[Json], response_id: str) -> list[Json]:
    """Give each item that has none an id, by its place among those a response was made from: the same every time."""
    stem = response_id.rpartition("_")[2]
    return [item if has_id(item) else {**item, "id": f"item_{stem}c{at}"} for at, item in enumerate(items)]


def response_of(item_id: str) -> str | None:
    """Return the id of the response an item's id was minted for, None where the gateway did not mint it."""
    found = _MINTED.match(item_id)
    return None if found is None else f"resp_{found[1]}"


def identify(items: Any, mint: Callable[[str, int], str]) -> list[Json]:
    """Return items with type, id and status; `mint` makes an id from a prefix and an index.

    Raises BadRequest where these are no items.
    """
    if items is None:
        return []
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if not isinstance(items, list):
        raise BadRequest("input has to be a string or a list of items.", param="input")
    identified: dict[str, Json] = {}
    for at, item in enumerate(items):
        if not isinstance(item, dict):
            raise BadRequest("An input item has to be an object.", param=f"input[{at}]")
        formed = _form(item)
        given = item.get("id")
        own = given if isinstance(given, str) and given and given not in identified else None
        if own is None and is_reference(formed):
            raise _unreferable(given, at)
        formed["id"] = own or mint(_PREFIXES.get(formed["type"], "item"), at)
        identified[formed["id"]] = formed
    return list(identified.values())


def _unreferable(given: Any, at: int) -> BadRequest:
    if isinstance(given, str) and given:
        message = f"Duplicate item found with id {given}. Remove duplicate items from your input and try again."
        return BadRequest(message, param="input")
    return BadRequest("An item reference needs an id.", param=f"input[{at}].id")


def _form(item: Mapping[str, Any]) -> Json:
    """Return an item with what a client may leave out."""
    kind = item.get("type")
    if not isinstance(kind, str):
        kind = "message" if "role" in item else "item_reference"
    formed = {**item, "type": kind}
    if kind in _WITH_STATUS and formed.get("status") is None:
        formed["status"] = "completed"
    content = item.get("content")
    if kind == "message" and isinstance(content, str):
        content = [{"type": "output_text" if item.get("role") == "assistant" else "input_text", "text": content}]
    if kind == "message" and isinstance(content, list):
        formed["content"] = [{**_left_out(part), **part} if isinstance(part, dict) else part for part in content]
    return formed


def _left_out(part: Mapping[str, Any]) -> Mapping[str, Any]:
    return _OF_PARTS.get(str(part.get("type")), {})
