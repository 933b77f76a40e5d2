"""Renders citations as annotations: of what was found in the web, and of documents of the request."""

from collections.abc import Callable, Mapping
from typing import Any, Final


def render_citation(citation: Any) -> dict[str, Any] | None:
    """Return the annotation, one of a URL without its span in the text; None for a citation of another kind."""
    kind = citation.get("type") if isinstance(citation, dict) else None
    renderer = _RENDERERS.get(kind) if isinstance(kind, str) else None
    return None if renderer is None else renderer(citation)


def _cite_url(citation: Mapping[str, Any]) -> dict[str, Any]:
    url = _text(citation, "url") or _text(citation, "source")
    return {"type": "url_citation", "url": url, "title": _text(citation, "title")}


def _cite_file(citation: Mapping[str, Any]) -> dict[str, Any]:
    at = citation.get("document_index")
    return {
        "type": "file_citation",
        "file_id": _text(citation, "file_id"),
        "filename": _text(citation, "document_title"),
        "index": at if type(at) is int and 0 <= at < _MOST_DOCUMENTS else 0,
    }


def _text(citation: Mapping[str, Any], name: str) -> str:
    value = citation.get(name)
    return value if isinstance(value, str) else ""


_MOST_DOCUMENTS: Final = 1 << 31
_RENDERERS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "web_search_result_location": _cite_url,
    "search_result_location": _cite_url,
    "char_location": _cite_file,
    "page_location": _cite_file,
    "content_block_location": _cite_file,
}
