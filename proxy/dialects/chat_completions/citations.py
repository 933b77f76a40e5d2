"""Reads the sources an answer was written from, and finds where its text refers to them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

_MARK: Final = re.compile(r"\[([1-9][0-9]{0,2})\]")


class Source(NamedTuple):
    """A page of the web."""

    url: str
    title: str


def read_sources(answer: Mapping[str, Any]) -> list[Source]:
    """Return the numbered sources beside the choices: `search_results`, or bare URLs as `citations`."""
    found, bare = answer.get("search_results"), answer.get("citations")
    if isinstance(found, list) and found:
        return [_read_source(result) for result in found]
    return [Source(url if isinstance(url, str) else "", "") for url in bare] if isinstance(bare, list) else []


def _read_source(result: Any) -> Source:
    known = result if isinstance(result, dict) else {}
    url, title = known.get("url"), known.get("title")
    return Source(url if isinstance(url, str) else "", title if isinstance(title, str) else "")


def marks_in(text: str, sources: Sequence[Source]) -> Iterator[tuple[tuple[int, int], Source]]:
    """Yield the marks of the text, such as `[1]`, as start and end, each with the source it stands for."""
    for mark in _MARK.finditer(text):
        number = int(mark[1])
        if number <= len(sources) and sources[number - 1].url:
            yield mark.span(), sources[number - 1]


def render_citation(source: Source, place: tuple[int, int]) -> dict[str, Any]:
    """Render the annotation of a place in the text."""
    start, end = place
    return {"type": "url_citation", "url": source.url, "title": source.title, "start_index": start, "end_index": end}
