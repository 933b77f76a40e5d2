"""What of chat completions one provider has, beyond what all have: a table the rendering reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

Members = Mapping[str, Any]

_LEVELS: Final = ("minimal", "low", "medium", "high", "xhigh", "max")


class Media(NamedTuple):
    """What messages may hold: the role `developer` beside `system`, images, audio, documents by data and by URL.

    `document` is the form a document has, `in_tools` tells that what a tool returned may be more than text.
    """

    developer: bool = False
    images: bool = True
    audio: bool = False
    files: bool = False
    file_urls: bool = False
    document: Literal["file", "document_url"] = "file"
    in_tools: bool = False


class Hosted(NamedTuple):
    """A tool the provider runs: its type there, and the names of its parameters by the API's members, dotted."""

    type: str
    members: Mapping[str, str]


def efforts(*known: str) -> Mapping[str, Members]:
    """Render effort as `reasoning_effort`: one the provider lacks as the nearest it has, `none` as itself only."""
    levels = [level for level in _LEVELS if level in known]

    def nearest(wanted: str) -> str:
        return min(levels, key=lambda level: abs(_LEVELS.index(level) - _LEVELS.index(wanted)))

    table = {level: {"reasoning_effort": nearest(level)} for level in _LEVELS}
    return {**table, "none": {"reasoning_effort": "none"}} if "none" in known else table


def same(*values: str) -> Mapping[str, str]:
    """Return the table in which each value stands for itself."""
    return {value: value for value in values}


EVERY_EFFORT: Final = efforts("none", *_LEVELS)
_TEXT_AND_IMAGES: Final = Media()


@dataclass(frozen=True, slots=True)
class Profile:
    """What one provider has.

    `settings` are the optional settings it accepts under their names in the API. `choices` are the forms of tool
    choice it accepts beside `auto`, `named` for one function. `effort` and `tiers` render reasoning effort and
    service tiers; what is not in them it does not have. `hosted` has the tools it runs itself, by their types in
    the API. `unread_keywords` are those of JSON schema it rejects, `call_id` makes a call's id one it accepts.
    `fixed` is part of every body.
    """

    path: str = "/chat/completions"
    max_tokens: str = "max_completion_tokens"
    settings: frozenset[str] = frozenset({"parallel_tool_calls", "temperature", "top_logprobs", "top_p", "user"})
    choices: frozenset[str] = frozenset({"none", "required", "named"})
    formats: frozenset[str] = frozenset({"json_object", "json_schema"})
    effort: Mapping[str, Members] = field(default_factory=lambda: EVERY_EFFORT, hash=False)
    tiers: Mapping[str, str] = field(default_factory=dict, hash=False)
    hosted: Mapping[str, Hosted] = field(default_factory=dict, hash=False)
    unread_keywords: frozenset[str] = frozenset()
    strict_tools: bool = True
    asks_for_usage: bool = True
    media: Media = _TEXT_AND_IMAGES
    call_id: Callable[[str], str] = str
    fixed: tuple[tuple[str, Any], ...] = ()
