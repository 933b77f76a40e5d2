"""Renders the parts of messages as content blocks."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from proxy.dialects.items import Audio, File, Image, Part, Refusal, Text
from proxy.dialects.media import PDF, is_remote, read_file, read_image
from proxy.errors import BadRequest

_IMAGES: Final = {
    "image/jpg": "image/jpeg",
    **{name: name for name in ("image/jpeg", "image/png", "image/gif", "image/webp")},
}
_TEXT_ENDINGS: Final = (".csv", ".html", ".json", ".md", ".txt", ".xml")
_LONG: Final = "1h"
"""The longest a cache is kept; the API's own lifetimes, `30m` and more, ask for no less than that."""
CACHED: Final = "cache_control"


class Media(NamedTuple):
    """What can be named instead of sent: by URL, by the id of a file."""

    urls: bool
    file_ids: bool


def render_blocks(parts: Iterable[Part], media: Media) -> list[dict[str, Any]]:
    """Render parts; a text that says nothing is refused by the provider, and left out."""
    return [_cache(_render_part(part, media), part) for part in parts if not _is_blank(part)]


def render_texts(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Render the parts of a system message, which holds text only."""
    return [_cache(_render_text(part), part) for part in parts if not _is_blank(part)]


def needs_fetching(part: Image | File, *, urls: bool) -> bool:
    """Tell whether a remote part has to be sent along: its URL is not taken, or not for what is probably text."""
    url = part.url
    if url is None or not is_remote(url):
        return False
    return not urls or (isinstance(part, File) and urlsplit(url).path.lower().endswith(_TEXT_ENDINGS))


def cache_control(lifetime: str) -> dict[str, Any]:
    """Render a mark up to which the prompt is cached; the lifetime is empty where none was asked for."""
    return {"type": "ephemeral", "ttl": _LONG} if lifetime else {"type": "ephemeral"}


def _is_blank(part: Part) -> bool:
    return isinstance(part, Text | Refusal) and not part.text.strip()


def _cache(block: dict[str, Any], part: Part) -> dict[str, Any]:
    lifetime = None if isinstance(part, Refusal | Audio) else part.cache
    return block if lifetime is None else {**block, CACHED: cache_control(lifetime)}


def _render_part(part: Part, media: Media) -> dict[str, Any]:
    if isinstance(part, Text | Refusal):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        return _render_image(part, media)
    if isinstance(part, File):
        return _render_file(part, media)
    raise BadRequest("This provider takes no audio.", param="input")


def _render_text(part: Part) -> dict[str, Any]:
    if isinstance(part, Text | Refusal):
        return {"type": "text", "text": part.text}
    param = "input" if isinstance(part, Audio) else part.param
    raise BadRequest("With this provider a system message holds text only.", param=param)


def _render_image(image: Image, media: Media) -> dict[str, Any]:
    if image.file_id is not None:
        return {"type": "image", "source": _named(image.file_id, image.param, media)}
    data = read_image(image)
    if data is None:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    if data.type not in _IMAGES:
        raise BadRequest(f"This provider takes no images of type {data.type}.", param=image.param)
    return {"type": "image", "source": {"type": "base64", "media_type": _IMAGES[data.type], "data": data.encoded}}


def _render_file(file: File, media: Media) -> dict[str, Any]:
    title = {"title": file.filename} if file.filename else {}
    return {"type": "document", "source": _source(file, media), **title}


def _source(file: File, media: Media) -> dict[str, Any]:
    if file.file_id is not None:
        return _named(file.file_id, file.param, media)
    data = read_file(file)
    if data is None:
        return {"type": "url", "url": file.url}
    text = data.text()
    if text is not None:
        return {"type": "text", "media_type": "text/plain", "data": text}
    if data.type != PDF:
        raise BadRequest(f"This provider takes PDF documents and text, not {data.type}.", param=file.param)
    return {"type": "base64", "media_type": PDF, "data": data.encoded}


def _named(file_id: str, param: str, media: Media) -> dict[str, Any]:
    if not media.file_ids:
        raise BadRequest("This provider keeps no files: send the content itself.", param=f"{param}.file_id")
    return {"type": "file", "file_id": file_id}
