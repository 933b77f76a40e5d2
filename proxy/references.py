"""What a request refers to and the gateway keeps: responses it continues, items it names instead of repeating."""

from collections.abc import Mapping
from typing import Any

import orjson

from proxy.archive import ChainBroken
from proxy.auth import Caller
from proxy.bindings import KEPT
from proxy.dialects.identity import has_id, is_reference, response_of
from proxy.errors import BadRequest, NotFound
from proxy.ownership import Claim, previous_response_not_found
from proxy.services import Services


def item_not_found(item_id: str) -> NotFound:
    """Answer as OpenAI does for an item that is not there, or not the caller's."""
    return NotFound(
        f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to false; "
        "send the item itself instead of a reference.",
        param="input",
    )


class References:
    """The references of one request: what they lead to is bounded as a chain is, however often it is referred to."""

    def __init__(self, services: Services, caller: Caller) -> None:
        self._archive = services.archive
        self._ownership = services.ownership
        self._caller = caller
        self._items: dict[str, Mapping[str, dict[str, Any]]] = {}
        self._limit = self._left = services.config.archive.max_chain_bytes

    async def history(self, previous: str | None) -> list[dict[str, Any]]:
        """Return the items of the responses a request continues, which were found to be the caller's, oldest first.

        Raises BadRequest where one of them is gone, BindingsUnavailable while nobody can tell; else as `resolve` does.
        """
        if previous is None:
            return []
        try:
            items = await self._archive.chain(previous, self._caller.tenant)
        except ChainBroken as broken:
            raise previous_response_not_found(broken.id) from broken
        return await self.resolve(items)

    async def resolve(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the items with those that are referred to in place of the references.

        Raises NotFound, and BadRequest where that is too much.
        """
        if not any(is_reference(item) for item in items):
            return items
        return [await self._item(item["id"]) if is_reference(item) else item for item in items]

    async def _item(self, item_id: str) -> dict[str, Any]:
        response_id = response_of(item_id)
        if response_id is None:
            raise item_not_found(item_id)
        known = self._items.get(response_id)
        if known is None:
            known = self._items[response_id] = await self._items_of(response_id, item_id)
        if item_id not in known:
            raise item_not_found(item_id)
        self._spend(known[item_id])
        return known[item_id]

    def _spend(self, *items: dict[str, Any]) -> None:
        self._left -= sum(len(orjson.dumps(item)) for item in items)
        if self._left < 0:
            raise BadRequest(
                f"What this refers to, and the responses that it is part of, are over {self._limit} bytes.",
                code="references_too_long",
                param="input",
            )

    async def _items_of(self, response_id: str, item_id: str) -> Mapping[str, dict[str, Any]]:
        claim = Claim(self._caller, response_id, None, item_not_found(item_id))
        binding = await self._ownership.binding_of(claim)
        if binding is None or not binding.flags & KEPT:
            raise claim.missing
        items = await self._archive.items(response_id, self._caller.tenant)
        self._spend(*items)
        # A reference in place of an item that is itself kept elsewhere would go on for ever.
        return {item["id"]: item for item in items if has_id(item) and not is_reference(item)}
