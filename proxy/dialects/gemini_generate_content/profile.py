"""What of the format a provider has, beyond what all have: Gemini's own API, and Vertex."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from proxy.errors import BadRequest

_FILES: Final = "generativelanguage.googleapis.com"
_YOUTUBE: Final = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "youtu.be"})
_VIDEO: Final = "video/mp4"
_TYPES: Final = {
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "avi": "video/avi",
    "csv": "text/csv",
    "flac": "audio/flac",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "html": "text/html",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "md": "text/markdown",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": _VIDEO,
    "mpeg": "video/mpeg",
    "mpg": "video/mpeg",
    "ogg": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "txt": "text/plain",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """Where a model is, and what differs between the two APIs.

    `path` returns a model's own path, without the method, and raises BadRequest for a model that is not there;
    `reads` tells whether the provider itself reads a URL, with the type of what is there, None where it is not
    known. `labels` are metadata that end up on the bill; `combines`: hosted tools and functions can be asked for
    at once, where the model can; `counts_requests`: tokens are counted of a whole request, named `model` again.
    """

    path: Callable[[str], str]
    reads: Callable[[str, str | None], bool]
    labels: bool = False
    combines: bool = False
    counts_requests: bool = False


def gemini_profile() -> Profile:
    """Return the profile of Gemini's own API."""
    return Profile(path=_gemini_path, reads=_gemini_reads, combines=True, counts_requests=True)


def vertex_profile(project: str | None, location: str) -> Profile:
    """Return the profile of Vertex; without a project it is its express mode."""
    where = f"/projects/{quote(project, safe='')}/locations/{quote(location, safe='')}" if project else ""
    # What is sent of JSON schemas and of thinking is recorded with this version, as Google's own SDK calls it.
    prefix = f"/v1beta1{where}/publishers/google/models/"
    return Profile(path=lambda model: prefix + _google_model(model), reads=_vertex_reads, labels=True)


def _gemini_path(model: str) -> str:
    return "/v1beta/models/" + quote(model.removeprefix("models/"), safe="")


def _google_model(model: str) -> str:
    publisher, slash, name = model.removeprefix("publishers/").replace("/models/", "/", 1).partition("/")
    if slash and publisher != "google":
        raise BadRequest(f"Models of {publisher!r} are not available with this provider.", param="model")
    return quote(name if slash else model, safe="")


def _gemini_reads(url: str, _type: str | None) -> bool:
    host, path = _split(url)
    return host in _YOUTUBE or (host == _FILES and "/files/" in path)


def _vertex_reads(url: str, type_: str | None) -> bool:
    # It does not look what is at a URL: without a type there is no place for it.
    return type_ is not None and url.startswith(("gs://", "https://", "http://"))


def media_type(url: str, filename: str | None = None) -> str | None:
    """Tell from the names what is at a URL, None where they do not say."""
    host, path = _split(url)
    if host in _YOUTUBE:
        return _VIDEO
    endings = [name.rpartition(".")[2].lower() for name in (path, filename or "")]
    return next((_TYPES[ending] for ending in endings if ending in _TYPES), None)


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower(), parts.path
    except ValueError:
        return "", ""
