"""What of a request is still to be rendered: what is left in the end is what the client is told was dropped."""

from typing import Any, Final

from proxy.dialects.create import Create
from proxy.dialects.items import Audio, File, Image, Refusal, all_parts

_HONOURED: Final = frozenset({"metadata", "reasoning.summary"})
"""Settings the gateway honours itself: metadata is said back, what there is of reasoning is always told."""


_AUTO: Final = "auto"


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

    def drop_hints(self, create: Create, details: frozenset[str], *, caches: bool = False) -> None:
        """Report what parts ask for beside their content: to be seen in a detail not among these, to be cached."""
        for part in all_parts(create.turns):
            if isinstance(part, Image) and part.detail not in (None, _AUTO, *details):
                self.drop("input.input_image.detail")
            if isinstance(part, File) and part.detail not in (None, _AUTO):
                self.drop("input.input_file.detail")
            if not caches and not isinstance(part, Refusal | Audio) and part.cache is not None:
                self.drop("input.prompt_cache_breakpoint")

    def dropped(self) -> tuple[str, ...]:
        """Return the names of everything that was not rendered."""
        return tuple(dict.fromkeys([*self._dropped, *(name for name in self._settings if name not in _HONOURED)]))
