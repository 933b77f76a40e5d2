"""Cuts a binary event stream (`application/vnd.amazon.eventstream`) into its messages, decoded by botocore."""

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from zlib import crc32

from proxy.dialects.translator import Malformed

_LENGTH: Final = struct.Struct("!I")
"""What every message begins with: its own length in bytes."""
_PRELUDE: Final = struct.Struct("!III")
"""Length of the message, length of its headers, checksum of both."""
_CHECKSUM: Final = _LENGTH
_SHORTEST: Final = 16
_KNOWN: Final = 16
_LONGEST: Final = 256
"""Headers are remembered up to this number and these bytes: an event's are the same each time."""


class Frame(NamedTuple):
    """One message of the stream; most headers are text."""

    headers: Mapping[str, Any]
    payload: bytes


class Frames:
    """Holds what has come of a message until it is whole; one longer than `limit` bytes is Malformed at once."""

    __slots__ = ("_decoder", "_foreign", "_held", "_known", "_limit")

    def __init__(self, limit: int) -> None:
        from botocore.eventstream import EventStreamBuffer, ParserError  # noqa: PLC0415 - of the extra `bedrock`

        self._decoder = EventStreamBuffer()
        # Broken headers raise what the standard library happens to.
        self._foreign = (ParserError, struct.error, LookupError, ValueError, StopIteration)
        self._held = bytearray()
        self._known: dict[bytes, Mapping[str, Any]] = {}
        self._limit = limit

    @property
    def pending(self) -> bool:
        """Whether a message has begun that is not whole yet."""
        return bool(self._held)

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Take bytes as they come, and yield the messages that are whole by then. Raises Malformed."""
        held = self._held
        held += chunk
        while len(held) >= _LENGTH.size:
            length = _LENGTH.unpack_from(held)[0]
            if not _SHORTEST <= length <= self._limit:
                raise Malformed("A message has a length it cannot have.")
            if len(held) < length:
                return
            message = bytes(held[:length])
            del held[:length]
            yield self._decode(message)

    def _decode(self, message: bytes) -> Frame:
        """Decode a whole message; headers seen before are known by their bytes, where both checksums hold."""
        _, count, checksum = _PRELUDE.unpack_from(message)
        end = _PRELUDE.size + count
        raw = message[_PRELUDE.size : end]
        headers = self._known.get(raw)
        if headers is not None and end + _CHECKSUM.size <= len(message):
            whole = _CHECKSUM.unpack_from(message, len(message) - _CHECKSUM.size)[0]
            if crc32(message[:8]) == checksum and crc32(message[:-4]) == whole:
                return Frame(headers, message[end:-4])
        frame = self._decode_anew(message)
        if len(self._known) < _KNOWN and len(raw) <= _LONGEST:
            self._known[raw] = frame.headers
        return frame

    def _decode_anew(self, message: bytes) -> Frame:
        # Given whole messages only, the decoder never copies what comes behind.
        self._decoder.add_data(message)
        try:
            decoded: Any = self._decoder.next()
        except self._foreign as error:
            raise Malformed("A message is damaged.") from error
        return Frame(decoded.headers, decoded.payload)


def load_decoder() -> None:
    """Load the decoder while nothing waits for it. Raises ImportError where the extra is not installed."""
    import botocore.eventstream  # noqa: F401, PLC0415 - of the extra `bedrock`
