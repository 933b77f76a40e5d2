"""Reads images and documents that are in a request itself: what they are, their content, their text."""

import base64
import binascii
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from proxy.dialects.items import File, Image
from proxy.errors import BadRequest

PDF: Final = "application/pdf"
_TEXT_TYPES: Final = ("text/", "application/json", "application/xml")
_BY_ENDING: Final = {
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "html": "text/html",
    "json": "application/json",
    "md": "text/markdown",
    "pdf": PDF,
    "txt": "text/plain",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_MAGIC: Final = {b"%PDF-": PDF}


class Data(NamedTuple):
    """Content and its media type; `encoded` is the content in base64."""

    type: str
    encoded: str

    @property
    def is_text(self) -> bool:
        """Whether the content is text in all its bytes."""
        return self.type.startswith(_TEXT_TYPES)

    def text(self) -> str | None:
        """Return the content as text, None where it is not text in UTF-8."""
        if not self.is_text:
            return None
        try:
            return base64.b64decode(self.encoded).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None


def is_remote(url: str | None) -> bool:
    """Tell whether a URL leads elsewhere, other than a data URL."""
    return url is not None and url[:5].lower() != "data:"


def read_image(image: Image) -> Data | None:
    """Return the image of a data URL, None where it is somewhere else. Raises BadRequest."""
    if image.url is None or is_remote(image.url):
        return None
    return _read_data_url(image.url, f"{image.param}.image_url")


def read_file(file: File) -> Data | None:
    """Return a document that was sent along, None where it is somewhere else. Raises BadRequest.

    Without a data URL the type is told by the name's ending or the content's first bytes.
    """
    if file.data is None:
        return None
    if not is_remote(file.data):
        return _read_data_url(file.data, f"{file.param}.file_data")
    encoded = _checked(file.data, f"{file.param}.file_data")
    return Data(_guess(file.filename, encoded), encoded)


def read_text(file: File) -> str | None:
    """Return the text of a document that was sent along and is text, None for any other."""
    data = read_file(file)
    return None if data is None else data.text()


def data_url(type_: str, content: bytes) -> str:
    """Write content as a data URL."""
    return f"data:{type_};base64,{base64.b64encode(content).decode()}"


def _read_data_url(url: str, param: str) -> Data:
    head, comma, content = url[5:].partition(",")
    if not comma:
        raise BadRequest("A data URL has a comma before its content.", param=param)
    *parameters, last = [part.strip() for part in head.split(";")]
    if last.lower() == "base64":
        type_ = parameters[0] if parameters else ""
        return Data(type_.lower() or "text/plain", _checked(content, param))
    type_ = (parameters or [last])[0]
    return Data(type_.lower() or "text/plain", base64.b64encode(unquote_to_bytes(content)).decode())


def _checked(encoded: str, param: str) -> str:
    """Return base64 as providers accept it: standard alphabet, padded."""
    encoded = "".join(encoded.split())
    try:
        base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise BadRequest("The content is not base64.", code="invalid_base64", param=param) from error
    if len(encoded) % 4:
        # More padding than there has to be, which Python lets pass.
        raise BadRequest("The content is not base64.", code="invalid_base64", param=param)
    return encoded


def _guess(filename: str | None, encoded: str) -> str:
    ending = (filename or "").rpartition(".")[2].lower()
    if ending in _BY_ENDING:
        return _BY_ENDING[ending]
    start = base64.b64decode(encoded[:16])
    return next((type_ for magic, type_ in _MAGIC.items() if start.startswith(magic)), "application/octet-stream")
