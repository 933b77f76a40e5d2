"""Content blocks that only the provider can read: carried as the state of reasoning, and put back where they stood."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from proxy.dialects.translator import Malformed

Block = Mapping[str, Any]

THINKING: Final = "thinking"
REDACTED: Final = "redacted_thinking"
USE: Final = "server_tool_use"
THOUGHTS: Final = frozenset({THINKING, REDACTED})

SEARCH: Final = "web_search"
FETCH: Final = "web_fetch"
CODE_TOOLS: Final = frozenset({"code_execution", "bash_code_execution", "text_editor_code_execution"})
RESULTS: Final = {f"{name}_tool_result": name for name in (SEARCH, FETCH, *CODE_TOOLS)}
"""The results of tools that the provider runs, each with the name of the tool."""

_MEMBERS: Final = {
    THINKING: ("thinking", "signature"),
    REDACTED: ("data",),
    USE: ("id", "name", "input", "caller"),
    **dict.fromkeys(RESULTS, ("tool_use_id", "content", "caller")),
}
_BLOCKS: Final = "blocks"


def encode(value: Any) -> bytes:
    """Write what the provider sent as JSON; Malformed where it is nested more deeply than it could be sent back."""
    try:
        # Within a block, a message, a list, a body, and the envelope that carries it.
        orjson.dumps([[[[[[value]]]]]])
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise Malformed("A value is nested too deeply.") from error


def keep_block(block: Block) -> dict[str, Any]:
    """Return what the provider takes back of a block; members that say nothing are refused by some models."""
    kind = str(block["type"])
    members = {name: _plain(block[name]) for name in _MEMBERS[kind] if block.get(name) is not None}
    return {"type": kind, **members}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: member for name, member in value.items() if member is not None}
    return value


def pack_blocks(blocks: Iterable[Block]) -> dict[str, Any]:
    """Return the state of a reasoning item that carries blocks."""
    return {_BLOCKS: list(blocks)}


def unpack_blocks(state: Any) -> list[Block]:
    """Return the blocks of such a state, which passed through a client's hands."""
    blocks = state.get(_BLOCKS) if isinstance(state, dict) else None
    return [block for block in blocks if _is_sound(block)] if isinstance(blocks, list) else []


def _is_sound(block: Any) -> bool:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str) or block["type"] not in _MEMBERS:
        return False
    try:
        encode(block)
    except Malformed:
        return False
    return all(name in {"type", *_MEMBERS[block["type"]]} for name in block)


def runs(tool: str, names: frozenset[str]) -> bool:
    """Tell whether one of the tools offered by name is, or brings along, a tool that the provider runs."""
    return tool in names or (tool in CODE_TOOLS and not CODE_TOOLS.isdisjoint(names))
