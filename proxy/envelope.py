"""The envelope of a request body: the fields that decide routing and ownership, read while the body passes."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from proxy.scanner import ObjectScanner, ScanError, decode_string

__all__ = ["ENVELOPE_LIMITS", "Envelope", "EnvelopeScanner", "ObjectScanner", "ScanError"]


class Envelope:
    """The routing fields of a request body read so far; None is absent or null."""

    __slots__ = ("background", "conversation", "model", "model_span", "previous_response_id", "store", "stream")

    def __init__(self) -> None:
        self.model: str | None = None
        self.stream = False
        self.store: bool | None = None
        self.background = False
        self.previous_response_id: str | None = None
        self.conversation: str | None = None
        self.model_span: tuple[int, int] | None = None
        """Where the raw value of `model` stands in the body, null too."""


ENVELOPE_LIMITS: Final[Mapping[str, int]] = {
    "model": 1024,
    "stream": 16,
    "store": 16,
    "background": 16,
    "previous_response_id": 4096,
    "conversation": 8192,
}
"""Most bytes of each field's raw value. Gateways wrap ids in ids, so that some are long."""


class EnvelopeScanner:
    """Read the envelope of a request body while the body passes."""

    __slots__ = ("_read", "_scanner", "envelope")

    def __init__(self, *, max_depth: int = 512) -> None:
        self._scanner = ObjectScanner(ENVELOPE_LIMITS, max_depth=max_depth)
        self._read = 0
        self.envelope = Envelope()

    @property
    def end(self) -> int | None:
        """Where in the body the object's closing brace stands, once it has come."""
        return self._scanner.end

    @property
    def complete(self) -> bool:
        """Whether the whole object has been read, so that no field can follow."""
        return self._scanner.end is not None

    @property
    def holding(self) -> int | None:
        """Where in the body the value of a field of the envelope begins that is not complete yet."""
        return self._scanner.holding

    def seen(self, name: str) -> bool:
        """Tell whether the field has been read, null or not."""
        return name in self._scanner.values

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes of the body, cut anywhere."""
        scanner = self._scanner
        scanner.feed(chunk)
        if len(scanner.values) != self._read:
            self._settle()

    def close(self) -> None:
        """Check that the body was one whole JSON object."""
        self._scanner.close()

    def _settle(self) -> None:
        for name, raw in islice(self._scanner.values.items(), self._read, None):
            setattr(self.envelope, name, _READERS[name](name, raw))
        self._read = len(self._scanner.values)
        self.envelope.model_span = self._scanner.spans.get("model")


def _read_text(name: str, raw: bytes) -> str | None:
    if raw == b"null":
        return None
    if not raw.startswith(b'"'):
        raise _wrong_type(name, "a string")
    return decode_string(raw, param=name)


def _read_flag(name: str, raw: bytes) -> bool | None:
    if raw not in _FLAGS:
        raise _wrong_type(name, "true or false")
    return _FLAGS[raw]


def _read_switch(name: str, raw: bytes) -> bool:
    return _read_flag(name, raw) is True


def _read_conversation(name: str, raw: bytes) -> str | None:
    if not raw.startswith(b"{"):
        return _read_text(name, raw)
    scanner = ObjectScanner({"id": len(raw)})
    try:
        scanner.feed(raw)
    except ScanError as error:
        raise ScanError(str(error), code=error.code, param=f"{name}.id") from None
    text = _read_text(f"{name}.id", scanner.values.get("id", b"null"))
    if text is None:
        raise _wrong_type(f"{name}.id", "a string")
    return text


def _wrong_type(name: str, expected: str) -> ScanError:
    return ScanError(f"Field '{name}' must be {expected}.", code="invalid_type", param=name)


_FLAGS: Final = {b"true": True, b"false": False, b"null": None}
_READERS: Final[Mapping[str, Callable[[str, bytes], str | bool | None]]] = {
    "model": _read_text,
    "stream": _read_switch,
    "store": _read_flag,
    "background": _read_switch,
    "previous_response_id": _read_text,
    "conversation": _read_conversation,
}
