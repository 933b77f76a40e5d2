"""Values compressed to be kept: each with a checksum, so that what is not whole is noticed."""

import asyncio
import sys
from contextlib import suppress
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

INLINE_BYTES: Final = 262_144
"""What is larger is compressed and decompressed beside the event loop."""

_OPTIONS: Final[dict[int, int]] = {
    zstd.CompressionParameter.compression_level: 3,
    zstd.CompressionParameter.checksum_flag: 1,
}


def pack(data: bytes) -> bytes:
    """Compress a value."""
    return zstd.compress(data, options=_OPTIONS)


def unpack(packed: bytes | None) -> bytes | None:
    """Decompress a value; None for one that is not there, or not whole."""
    with suppress(zstd.ZstdError):
        return None if not packed else zstd.decompress(packed)
    return None


async def compress(data: bytes) -> bytes:
    """Do as `pack` does, without holding up the loop."""
    return pack(data) if len(data) <= INLINE_BYTES else await asyncio.to_thread(pack, data)


async def expand(packed: bytes | None) -> bytes | None:
    """Do as `unpack` does, without holding up the loop."""
    return unpack(packed) if size_of(packed) <= INLINE_BYTES else await asyncio.to_thread(unpack, packed)


def size_of(packed: bytes | None) -> int:
    """Return how long a value is, as it says itself, once decompressed; 0 where it does not."""
    with suppress(zstd.ZstdError):
        return zstd.get_frame_info(packed or b"").decompressed_size or 0
    return 0


def split_packed(packed: bytes) -> tuple[bytes, ...] | None:
    """Cut values that were compressed one by one and put together; None where the last is not whole."""
    rest, values = memoryview(packed), []
    with suppress(zstd.ZstdError):
        while rest:
            size = zstd.get_frame_size(rest)
            values.append(bytes(rest[:size]))
            rest = rest[size:]
    return None if rest else tuple(values)
