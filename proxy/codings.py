"""Content codings of request bodies: decoded in small pieces, and never far beyond what was sent."""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from proxy.errors import BadRequest, PayloadTooLarge, UnsupportedCoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES: Final = 65_536

_INPUT_BYTES: Final = 16_384  # what is not consumed at once is copied for each piece
_RATIO_FROM: Final = 1_048_576  # below, a ratio says nothing: any short run of blanks has a high one
_FREE_MEMBERS: Final = 64
_MEMBER_BYTES: Final = 256  # behind the free ones, on average: members cost time whether they hold anything or not
# RFC 9659: a sender of the coding must not use a larger window, as the decoder has to hold one of them.
_ZSTD_WINDOW_LOG: Final = 23
_GZIP_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS


class _Member(Protocol):
    """One gzip member or zstd frame; a body is one or several of them."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...

    def left(self, piece: bytes) -> bytes | None:
        """Return the input to go on with behind this piece, None where the member asks for new input."""


class _GzipMember:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WINDOW_BITS)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(data, max_length)

    def left(self, piece: bytes) -> bytes | None:
        # A full piece may have more behind it although the input is used up.
        tail = self._inflate.unconsumed_tail
        return tail if tail or len(piece) == PIECE_BYTES else None


class _ZstdMember:
    def __init__(self) -> None:
        self._frame = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._frame.decompress(data, max_length)

    def left(self, _piece: bytes) -> bytes | None:
        return None if self._frame.needs_input else b""


_MEMBERS: Final[dict[str, Callable[[], _Member]]] = {
    "gzip": _GzipMember,
    "x-gzip": _GzipMember,
    "zstd": _ZstdMember,
}


class Decoder:
    """Decode one body. Each iterator must be exhausted before the next call; after an error nothing may follow."""

    def __init__(self, coding: str, *, max_output: int, max_ratio: int) -> None:
        self._coding = coding
        self._new = _MEMBERS.get(coding)
        self._max_output = max_output
        self._max_ratio = max_ratio
        self._member: _Member | None = None
        self._members = 0
        self._input = 0
        self._output = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what the chunk decodes to, in pieces of at most 64 KiB.

        Raises BadRequest for what is not in the coding, PayloadTooLarge for what decodes to too much.
        """
        self._input += len(chunk)
        for at in range(0, len(chunk), _INPUT_BYTES):
            part = chunk[at : at + _INPUT_BYTES]
            for piece in (part,) if self._new is None else self._decode(part, self._new):
                self._count(len(piece))
                yield piece

    def close(self) -> Iterator[bytes]:
        """Check that the body was whole; nothing is ever left to yield."""
        if self._new is not None and (self._member is None or not self._member.eof):
            raise self._invalid("ends too early")
        return iter(())

    def _decode(self, part: bytes, new: Callable[[], _Member]) -> Iterator[bytes]:
        data: bytes | None = part
        while data is not None:
            if self._member is None or self._member.eof:
                self._member = self._begin(new)
            try:
                piece = self._member.decompress(data, PIECE_BYTES)
            except (zlib.error, zstd.ZstdError) as error:
                raise self._invalid(f"cannot be decoded ({error})") from error
            if piece:
                yield piece
            data = (self._member.unused_data or None) if self._member.eof else self._member.left(piece)

    def _begin(self, new: Callable[[], _Member]) -> _Member:
        self._members += 1
        if self._members > _FREE_MEMBERS + self._input // _MEMBER_BYTES:
            raise self._invalid("consists of too many small frames")
        return new()

    def _count(self, length: int) -> None:
        self._output += length
        if self._output > self._max_output:
            raise PayloadTooLarge(f"The body decodes to more than {self._max_output} bytes.")
        if self._output > max(_RATIO_FROM, self._input * self._max_ratio):
            raise PayloadTooLarge(f"The body decodes to more than {self._max_ratio} times its size.")

    def _invalid(self, what: str) -> BadRequest:
        return BadRequest(f"The body has Content-Encoding {self._coding} but {what}.", code="invalid_content_encoding")


def decoder(coding: str, *, max_output: int, max_ratio: int) -> Decoder:
    """Return a decoder for the value of a Content-Encoding header.

    `max_output` is in bytes; `max_ratio` of output to input counts once more than 1 MiB came out.
    Raises UnsupportedCoding for a coding the gateway does not read, and for several at once.
    """
    name = coding.strip().lower()
    if name not in {"", "identity", *_MEMBERS}:
        raise UnsupportedCoding("The body's Content-Encoding must be gzip, zstd or identity, and only one of them.")
    return Decoder(name, max_output=max_output, max_ratio=max_ratio)
