"""Reads citations as annotations of the text they belong to."""

from collections.abc import Mapping
from typing import Any, Final

_IN_DOCUMENT: Final = ("documentChar", "documentPage", "documentChunk")


def parse_citation(citation: Any, start: int, end: int) -> dict[str, Any] | None:
    """Read a citation of the text between two offsets; None where it names neither a page nor a document."""
    location = citation.get("location") if isinstance(citation, dict) else None
    if not isinstance(location, dict):
        return None
    title = _text(citation, "title")
    url = _text(location.get("web"), "url") or _text(citation, "source")
    if url.startswith(("https://", "http://")):
        return {"type": "url_citation", "url": url, "title": title, "start_index": start, "end_index": end}
    index = next((_index(location.get(kind)) for kind in _IN_DOCUMENT if kind in location), None)
    if index is None:
        return None
    # Documents are sent along and have no id: their name is all there is.
    return {"type": "file_citation", "file_id": title, "filename": title, "index": index}


def _text(value: Any, member: str) -> str:
    found = value.get(member) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""


def _index(place: Any) -> int:
    found = place.get("documentIndex") if isinstance(place, dict) else None
    return found if type(found) is int and found >= 0 else 0
