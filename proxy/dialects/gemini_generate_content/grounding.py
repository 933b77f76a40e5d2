"""Collects what an answer of Gemini rests on, and says it as the API's citations, searches and sources."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

_MAX_KEPT: Final = 4096
_CONTINUATION: Final = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that do not begin a character."""


class Citation(NamedTuple):
    """A source of a stretch of text, which is told in bytes and, where it is known, word for word."""

    start: int
    end: int
    said: str
    url: str
    title: str


class Grounding:
    """What was searched for and found; every addition is told to `spend`."""

    __slots__ = ("_citations", "_queries", "_sources", "_spend")

    def __init__(self, spend: Callable[[int], None]) -> None:
        self._spend = spend
        self._citations: dict[Citation, None] = {}
        self._queries: dict[str, None] = {}
        self._sources: dict[str, None] = {}

    @property
    def queries(self) -> list[str]:
        """What was searched for."""
        return list(self._queries)

    @property
    def sources(self) -> list[str]:
        """The URLs of what was found."""
        return list(self._sources)

    def take(self, candidate: Mapping[str, Any]) -> None:
        """Read what a candidate has about its sources, if anything; a stream can repeat it."""
        grounding, cited = candidate.get("groundingMetadata"), candidate.get("citationMetadata")
        if isinstance(grounding, dict):
            self._read_grounding(grounding)
        if isinstance(cited, dict):
            for one in _objects(cited.get("citations")):
                self._cite(one, "", one.get("uri"), one.get("title"))

    def _read_grounding(self, grounding: Mapping[str, Any]) -> None:
        for query in _list(grounding.get("webSearchQueries")):
            self._keep(self._queries, query)
        chunks = [_source(chunk) for chunk in _list(grounding.get("groundingChunks"))]
        for source in chunks:
            self._keep(self._sources, source.get("uri"))
        for support in _objects(grounding.get("groundingSupports")):
            segment = support.get("segment")
            for at in _list(support.get("groundingChunkIndices")):
                if isinstance(segment, dict) and type(at) is int and 0 <= at < len(chunks):
                    said = segment.get("text")
                    self._cite(segment, said if isinstance(said, str) else "", *map(chunks[at].get, ("uri", "title")))

    def _keep(self, known: dict[str, None], value: Any) -> None:
        if isinstance(value, str) and value and value not in known and len(known) < _MAX_KEPT:
            self._spend(len(value))
            known[value] = None

    def _cite(self, place: Mapping[str, Any], said: str, url: Any, title: Any) -> None:
        if not isinstance(url, str) or not url or len(self._citations) >= _MAX_KEPT:
            return
        start, end = _index(place.get("startIndex")), _index(place.get("endIndex"))
        citation = Citation(start, end, said, url, title if isinstance(title, str) else "")
        if citation not in self._citations:
            self._spend(len(said) + len(url) + len(citation.title))
            self._citations[citation] = None

    def annotations(self, text: str) -> Iterator[dict[str, Any]]:
        """Yield the citations of a text, those left out that speak of another."""
        if not self._citations:
            return
        encoded = text.encode("utf-8", "surrogatepass")
        offsets = char_offsets(encoded, (at for one in self._citations for at in (one.start, one.end)))
        for one in self._citations:
            found = _locate(one, text, encoded, offsets)
            if found is not None:
                place = {"start_index": found[0], "end_index": found[1]}
                yield {"type": "url_citation", "url": one.url, "title": one.title, **place}


def char_offsets(encoded: bytes, offsets: Iterable[int]) -> dict[int, int]:
    """Turn offsets in bytes into offsets in characters, those past the end left out."""
    found: dict[int, int] = {}
    done = characters = 0
    for offset in sorted(set(offsets)):
        if offset > len(encoded):
            break
        characters += len(encoded[done:offset].translate(None, _CONTINUATION))
        found[offset] = characters
        done = offset
    return found


def _locate(one: Citation, text: str, encoded: bytes, offsets: Mapping[int, int]) -> tuple[int, int] | None:
    """Return where the cited words are; their place counts within a part, and the text can be of several."""
    start, end = offsets.get(one.start), offsets.get(one.end)
    said = one.said.encode("utf-8", "surrogatepass")
    if start is not None and end is not None and start <= end and said in (b"", encoded[one.start : one.end]):
        return start, end
    at = text.find(one.said) if one.said else -1
    return (at, at + len(one.said)) if at >= 0 else None


def _source(chunk: Any) -> Mapping[str, Any]:
    for kind in ("web", "retrievedContext", "maps"):
        found = chunk.get(kind) if isinstance(chunk, dict) else None
        if isinstance(found, dict):
            return found
    return {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in _list(value) if isinstance(one, dict)]


def _index(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
