"""Renders images, documents and sound as content blocks; they are sent along, or lie in S3."""

from typing import Any, Final

from proxy.dialects.items import Audio, File, Image
from proxy.dialects.media import Data, is_remote, read_file, read_image
from proxy.errors import BadRequest

_IMAGES: Final = {
    "image/gif": "gif",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/png": "png",
    "image/webp": "webp",
}
_DOCUMENTS: Final = {
    "application/msword": "doc",
    "application/pdf": "pdf",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
}
_TEXT: Final = "txt"
_IMAGE_ENDINGS: Final = {**{format_: format_ for format_ in _IMAGES.values()}, "jpg": "jpeg"}
_DOCUMENT_ENDINGS: Final = frozenset({*_DOCUMENTS.values(), _TEXT})
_SOUNDS: Final = frozenset({"aac", "flac", "m4a", "mp3", "mp4", "ogg", "opus", "pcm", "wav", "webm"})
_S3: Final = "s3://"


def must_fetch(part: Image | File) -> bool:
    """Tell whether a remote image or document has to be fetched: only S3 is read by the service itself."""
    return is_remote(part.url) and not _in_s3(part.url)


class Documents:
    """Renders the media of one request: its documents need names, each its own, and ones that say nothing."""

    def __init__(self) -> None:
        self._count = 0

    def render(self, part: Image | File | Audio) -> dict[str, Any]:
        """Render a part; BadRequest for what the service does not take."""
        if isinstance(part, Image):
            return {"image": _render_image(part)}
        if isinstance(part, File):
            return {"document": self._render_file(part)}
        if part.format not in _SOUNDS:
            raise BadRequest(f"This provider takes no audio of format {part.format!r}.", param="input")
        return {"audio": {"format": part.format, "source": {"bytes": part.data}}}

    def _render_file(self, file: File) -> dict[str, Any]:
        if file.file_id is not None:
            raise BadRequest("This provider keeps no files: send the document itself.", param=f"{file.param}.file_id")
        self._count += 1
        # A name the client gave could be read as an instruction; its characters are restricted too.
        name = f"Document {self._count}"
        if file.url is not None and _in_s3(file.url):
            ending = _ending(file.url)
            known = {"format": ending} if ending in _DOCUMENT_ENDINGS else {}
            return {**known, "name": name, "source": _s3(file.url)}
        data = read_file(file)
        if data is None:
            raise BadRequest("This provider takes the document itself, not a URL.", param=f"{file.param}.file_url")
        return {"format": _format_of(data, file), "name": name, "source": {"bytes": data.encoded}}


def _format_of(data: Data, file: File) -> str:
    known = _DOCUMENTS.get(data.type) or (_TEXT if data.is_text else None)
    if known is not None:
        return known
    # Servers that know nothing of a document call it a stream of octets.
    ending = _ending(file.filename or "")
    if data.type.endswith("/octet-stream") and ending in _DOCUMENT_ENDINGS:
        return ending
    raise BadRequest(f"This provider takes no documents of type {data.type!r}.", param=file.param)


def _render_image(image: Image) -> dict[str, Any]:
    if image.file_id is not None:
        raise BadRequest("This provider keeps no files: send the image itself.", param=f"{image.param}.file_id")
    if image.url is not None and _in_s3(image.url):
        known = _IMAGE_ENDINGS.get(_ending(image.url))
        if known is None:
            raise BadRequest("An image in S3 needs a name that ends in its format.", param=f"{image.param}.image_url")
        return {"format": known, "source": _s3(image.url)}
    data = read_image(image)
    if data is None:
        raise BadRequest("This provider takes the image itself, not a URL.", param=f"{image.param}.image_url")
    if data.type not in _IMAGES:
        raise BadRequest(f"This provider takes no images of type {data.type!r}.", param=image.param)
    return {"format": _IMAGES[data.type], "source": {"bytes": data.encoded}}


def _in_s3(url: str | None) -> bool:
    return url is not None and url.startswith(_S3)


def _s3(url: str) -> dict[str, Any]:
    return {"s3Location": {"uri": url}}


def _ending(url: str) -> str:
    return url.rpartition(".")[2].lower()
