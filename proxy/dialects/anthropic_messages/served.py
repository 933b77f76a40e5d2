"""Follows the tools that the provider runs itself: what is told of them, and what has to be given back to it."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from proxy.dialects.anthropic_messages.carried import CODE_TOOLS, FETCH, RESULTS, SEARCH, encode, keep_block
from proxy.dialects.events import EventWriter
from proxy.dialects.hosted import CodeInterpreterCall, WebSearchCall


class Used(NamedTuple):
    """A use of a tool, and its input once that is known; the item is None for a tool the API has no item for."""

    item: WebSearchCall | CodeInterpreterCall | None
    input: Mapping[str, Any]


class Served:
    """Takes uses of tools and their results, in the provider's order; `take` returns the blocks to be given back."""

    __slots__ = ("_blocks", "_used", "_writer")

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer
        self._used: dict[str, Used] = {}
        self._blocks: list[dict[str, Any]] = []

    def begin(self, name: str) -> WebSearchCall | CodeInterpreterCall | None:
        """Tell that a tool is being used."""
        maker = _ITEMS.get(name)
        return None if maker is None else maker(self._writer)

    def use(self, item: WebSearchCall | CodeInterpreterCall | None, block: Mapping[str, Any]) -> None:
        """Take the use of a tool whose input is complete."""
        given = block.get("input")
        used = Used(item, given if isinstance(given, dict) else {})
        self._used[str(block.get("id"))] = used
        if item is not None:
            self._keep(block)
            _TELLERS[type(item)](used, str(block.get("name")))

    def result(self, block: Mapping[str, Any]) -> None:
        """Take a result; its use may have been in an earlier response, which told of it."""
        self._keep(block)
        used = self._used.get(str(block.get("tool_use_id")))
        item = None if used is None else used.item
        if used is None or item is None or item.closed:
            return
        content = block.get("content")
        item.failed = isinstance(content, dict) and "error_code" in content
        if isinstance(item, WebSearchCall):
            _tell_found(item, used.input, content)
        else:
            log = _read_log(content)
            if log:
                item.log(log)
        item.close()

    def take(self) -> list[dict[str, Any]]:
        """Return the blocks taken since it was last asked."""
        blocks, self._blocks = self._blocks, []
        return blocks

    def _keep(self, block: Mapping[str, Any]) -> None:
        self._writer.spend(len(encode(block)))
        self._blocks.append(keep_block(block))


_ITEMS: Final[Mapping[str, Callable[[EventWriter], WebSearchCall | CodeInterpreterCall]]] = {
    SEARCH: WebSearchCall,
    FETCH: WebSearchCall,
    **dict.fromkeys(CODE_TOOLS, CodeInterpreterCall),
}
assert _ITEMS.keys() == set(RESULTS.values())  # noqa: S101 - what is told of is what is given back


def _tell_search(used: Used, name: str) -> None:
    assert isinstance(used.item, WebSearchCall)  # noqa: S101 - the table says so
    if name == FETCH:
        used.item.open_page(str(used.input.get("url") or ""))
    else:
        used.item.search(_queries(used.input))
    used.item.begin()


def _tell_code(used: Used, name: str) -> None:
    assert isinstance(used.item, CodeInterpreterCall)  # noqa: S101 - the table says so
    code = used.input.get("code", used.input.get("command"))
    if name == "text_editor_code_execution" or not isinstance(code, str):
        # An edit of a file has no code; what it does is all in its input.
        code = orjson.dumps(used.input).decode()
    used.item.add_code(code)
    used.item.begin()


_TELLERS: Final[Mapping[type, Callable[[Used, str], None]]] = {
    WebSearchCall: _tell_search,
    CodeInterpreterCall: _tell_code,
}


def _queries(given: Mapping[str, Any]) -> list[str]:
    query = given.get("query")
    return [query] if isinstance(query, str) else []


def _tell_found(item: WebSearchCall, given: Mapping[str, Any], content: Any) -> None:
    if not isinstance(content, list):
        return
    found = [result["url"] for result in content if isinstance(result, dict) and isinstance(result.get("url"), str)]
    item.search(_queries(given), found)


def _read_log(content: Any) -> str:
    """Return what a run printed, what a file held, or why there is neither."""
    if not isinstance(content, dict):
        return ""
    members = ("stdout", "stderr", "content", "error_code", "error_message")
    said = [content[name] for name in members if isinstance(content.get(name), str) and content[name]]
    files = content.get("content")
    made = [file["file_id"] for file in files if _is_file(file)] if isinstance(files, list) else []
    return "\n".join([*said, *made])


def _is_file(file: Any) -> bool:
    return isinstance(file, dict) and isinstance(file.get("file_id"), str)
