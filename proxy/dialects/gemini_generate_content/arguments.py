"""Puts a call's arguments together from pieces that each name their place in it."""

import itertools
import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.dialects.translator import Malformed

_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d{1,9})\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")
_VALUES: Final = ("stringValue", "numberValue", "boolValue")
_MAX_DEPTH: Final = 64


class PartialArguments:
    """The arguments so far; a text may come in several pieces, everything else comes whole."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}

    def add(self, piece: Any) -> None:
        """Take one piece of `partialArgs`."""
        path = piece.get("jsonPath") if isinstance(piece, dict) else None
        if not isinstance(path, str):
            raise Malformed("A piece of arguments has no place.")
        steps = _parse_path(path)
        if not steps:
            raise Malformed("A piece of arguments is in no member.")
        at: Any = self.value
        for step, following in itertools.pairwise(steps):
            at = _descend(at, step, [] if isinstance(following, int) else {})
        _put(at, steps[-1], _value_of(piece))


def _parse_path(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 1
    while at < len(path) and len(steps) <= _MAX_DEPTH:
        found = _STEP.match(path, at)
        if found is None:
            break
        member, index, *quoted = found.groups()
        steps.append(int(index) if index is not None else next(name for name in (member, *quoted) if name is not None))
        at = found.end()
    if not path.startswith("$") or at < len(path):
        raise Malformed("The place of a piece of arguments cannot be read.")
    return steps


def _value_of(piece: Mapping[str, Any]) -> Any:
    return next((piece[name] for name in _VALUES if isinstance(piece.get(name), str | int | float | bool)), None)


def _descend(at: Any, step: str | int, empty: Any) -> Any:
    """Return what is at a step, made where it is not there yet."""
    found = _get(at, step)
    if found is None:
        _put(at, step, empty)
        return empty
    return found


def _get(at: Any, step: str | int) -> Any:
    if isinstance(at, list) and isinstance(step, int):
        return at[step] if step < len(at) else None
    return at.get(step) if isinstance(at, dict) else None


def _put(at: Any, step: str | int, value: Any) -> None:
    known = _get(at, step)
    if isinstance(known, str) and isinstance(value, str):
        value = known + value
    if isinstance(at, list) and isinstance(step, int) and step <= len(at):
        at[step : step + 1] = [value]
    elif isinstance(at, dict) and isinstance(step, str):
        at[step] = value
    else:
        raise Malformed("A piece of arguments does not fit the others.")
