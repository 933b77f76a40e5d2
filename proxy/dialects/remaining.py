"""What of a request is still to be rendered: what is left in the end is what the client is told was dropped."""

from typing import Any, Final

from proxy.dialects.create import Create

_HONOURED: Final = frozenset({"metadata", "reasoning.summary"})
"""Settings the gateway honours itself: metadata is said back, what there is of reasoning is always told."""


class Remaining:
    """The settings of a request that are not rendered yet, and the parts of it that will not be."""

    def __init__(self, create: Create) -> None:
        self._settings = dict(create.settings)
        self._dropped = list(create.dropped)

    def take(self, name: str) -> Any:
        """Return a setting, None where it is not set; it is rendered by this."""
        return self._settings.pop(name, None)

    def drop(self, name: str) -> None:
        """Report a part of the request that is not rendered."""
        self._dropped.append(name)

    def drop_hosted(self, create: Create, known: frozenset[str] = frozenset()) -> None:
        """Report the hosted tools that are not among the `known` types, and settings that are about such only."""
        for tool in create.tools.hosted:
            if tool.get("type") not in known:
                self.drop(f"tools.{tool.get('type')}")
        if not create.tools.hosted:
            # It limits the calls of hosted tools, and there are none.
            self.take("max_tool_calls")

    def dropped(self) -> tuple[str, ...]:
        """Return the names of everything that was not rendered."""
        return tuple(dict.fromkeys([*self._dropped, *(name for name in self._settings if name not in _HONOURED)]))
