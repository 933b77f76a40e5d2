"""Renders text, images, documents and sound as parts."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from proxy.dialects.gemini_generate_content.profile import Profile, media_type
from proxy.dialects.items import File, Image, Part, Refusal, Said, Text, Turn, all_parts
from proxy.dialects.media import Data, is_remote, read_file, read_image
from proxy.errors import BadRequest

RESOLUTIONS: Final[Mapping[str, str]] = {
    "low": "MEDIA_RESOLUTION_LOW",
    "high": "MEDIA_RESOLUTION_HIGH",
    "original": "MEDIA_RESOLUTION_HIGH",
}


def render_parts(parts: Iterable[Part], profile: Profile) -> list[dict[str, Any]]:
    """Render content, empty text left out; BadRequest, with the part as `param`, for what has no place."""
    rendered = (render_part(part, profile) for part in parts)
    return [part for part in rendered if part.get("text") != ""]


def render_part(part: Part, profile: Profile) -> dict[str, Any]:
    """Render one part."""
    if isinstance(part, Text | Refusal):
        return {"text": part.text}
    if isinstance(part, Image):
        return _render_image(part, profile)
    if isinstance(part, File):
        return _render_file(part, profile)
    return {"inlineData": {"mimeType": f"audio/{part.format}", "data": part.data}}


def fetches(part: Image | File, profile: Profile) -> bool:
    """Tell whether a part is at a URL the provider does not read itself."""
    name = part.filename if isinstance(part, File) else None
    url = part.url
    return url is not None and is_remote(url) and not profile.reads(url, media_type(url, name))


def render_resolution(turns: Iterable[Said | Turn]) -> str | None:
    """Render the detail images are asked to be seen in: the highest, as a request has one for all."""
    details = {part.detail for part in all_parts(turns) if isinstance(part, Image)}
    asked = next((detail for detail in ("original", "high") if detail in details), None)
    return RESOLUTIONS.get(asked or ("low" if details == {"low"} else ""))


def _render_image(image: Image, profile: Profile) -> dict[str, Any]:
    if image.url is None:
        raise BadRequest("This provider keeps no files: send the image itself.", param=f"{image.param}.file_id")
    data = read_image(image)
    return _render_url(image.url, None, profile, f"{image.param}.image_url") if data is None else _render_data(data)


def _render_file(file: File, profile: Profile) -> dict[str, Any]:
    if file.file_id is not None:
        raise BadRequest("This provider keeps no files: send the document itself.", param=f"{file.param}.file_id")
    data = read_file(file)
    if data is None:
        return _render_url(file.url or "", file.filename, profile, f"{file.param}.file_url")
    text = data.text()
    if text is not None:
        return {"text": f"{file.filename}:\n{text}" if file.filename else text}
    return _render_data(data)


def _render_data(data: Data) -> dict[str, Any]:
    return {"inlineData": {"mimeType": data.type, "data": data.encoded}}


def _render_url(url: str, filename: str | None, profile: Profile, param: str) -> dict[str, Any]:
    type_ = media_type(url, filename)
    if not profile.reads(url, type_):
        raise BadRequest("This provider does not read what is at this URL: send it as data.", param=param)
    return {"fileData": {"fileUri": url} | ({} if type_ is None else {"mimeType": type_})}
