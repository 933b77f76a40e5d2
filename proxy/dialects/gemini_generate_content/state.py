"""What a reasoning item carries for Gemini: signatures of the parts around it, and parts the API has no item for.

A signature has to come back on the very part it came with. One on a call is kept by the call's id; one on text
by the place of that text within the message that follows the item, or the one before it; and what hosted tools
did is kept as the parts themselves.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

SIGNATURE: Final = "thoughtSignature"

_KEPT: Final = frozenset(
    {
        "codeExecutionResult",
        "executableCode",
        "text",
        "thought",
        SIGNATURE,
        "toolCall",
        "toolResponse",
    }
)
"""Members of the parts that are kept as they are."""


class Mark(NamedTuple):
    """A signed stretch of a message's text, counted in characters."""

    start: int
    length: int
    signature: str


class State:
    """The state of one reasoning item."""

    __slots__ = ("calls", "last", "next", "parts")

    def __init__(self) -> None:
        self.calls: dict[str, str] = {}
        """Signatures by the ids of the calls."""
        self.next: list[Mark] = []
        """In the message that follows."""
        self.last: list[Mark] = []
        """In the message before."""
        self.parts: list[Any] = []
        """Parts that come back where the item is."""

    def render(self) -> dict[str, Any] | None:
        """Render the state as JSON, None where there is none."""
        state = {
            "calls": self.calls,
            "next": [list(mark) for mark in self.next],
            "last": [list(mark) for mark in self.last],
            "parts": self.parts,
        }
        return {name: value for name, value in state.items() if value} or None


def read_state(value: Any) -> State:
    """Read a state that came back, leaving out whatever is not as it was rendered."""
    state = State()
    if not isinstance(value, dict):
        return state
    calls, parts = value.get("calls"), value.get("parts")
    if isinstance(calls, dict):
        state.calls = {call_id: signature for call_id, signature in calls.items() if isinstance(signature, str)}
    state.next, state.last = _read_marks(value.get("next")), _read_marks(value.get("last"))
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and part and part.keys() <= _KEPT:
            _keep(state, part)
    return state


def _keep(state: State, part: Mapping[str, Any]) -> None:
    """Keep a part as JSON text, so that how deep it is does not matter to what it is put into."""
    try:
        state.parts.append(orjson.Fragment(orjson.dumps(part)))
    except orjson.JSONEncodeError:
        return


def _read_marks(value: Any) -> list[Mark]:
    return [Mark(*mark) for mark in value if _is_mark(mark)] if isinstance(value, list) else []


def _is_mark(mark: Any) -> bool:
    if not isinstance(mark, list) or len(mark) != len(Mark._fields):
        return False
    start, length, signature = mark
    return type(start) is int and type(length) is int and min(start, length) >= 0 and isinstance(signature, str)


def sign_text(text: str, marks: list[Mark]) -> list[dict[str, Any]]:
    """Render text as parts, each signed stretch one of its own, as they came.

    A signature whose place is not in the text comes behind it, on an empty part.
    """
    parts: list[dict[str, Any]] = []
    done = 0
    astray = []
    for mark in sorted(marks, key=lambda mark: mark.start):
        start, end = mark.start, mark.start + mark.length
        if start < done or end > len(text):
            astray.append(mark)
            continue
        if start > done:
            parts.append({"text": text[done:start]})
        parts.append({"text": text[start:end], SIGNATURE: mark.signature})
        done = end
    if done < len(text):
        parts.append({"text": text[done:]})
    return [*parts, *({"text": "", SIGNATURE: mark.signature} for mark in astray)]
