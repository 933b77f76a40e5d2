"""Server-sent events: where one ends, what its data is, how one is written.

Line ends may be LF, CRLF or CR, as the standard has them.
"""

import re
from collections.abc import Iterator

BOUNDARY = re.compile(rb"\n\r?\n|\r\r|\n\r(?=[^\n])")
"""A line end and another; where a CR may be half of a CRLF, the byte behind it decides."""
KEEP_ALIVE = b": keep-alive\n\n"

_ENDS = (b"\n\n", b"\r\n\r\n")
_CR, _LF = b"\r\n"
_OVERLAP = 2
"""Bytes of a boundary that can lie before the chunk in which it ends."""


class Framer:
    """Cuts a stream behind its complete events: `feed` returns whole events, the rest waits for more.

    An event longer than `limit` bytes is let through piece by piece; `oversized` tells while that lasts.
    Nothing is changed: what is fed comes out, in order, to the byte.
    """

    __slots__ = ("_limit", "continued", "held", "opened", "oversized")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = bytearray()
        """The beginning of an event that waits for its end; of an oversized one, its last bytes. Else empty."""
        self.oversized = False
        self.continued = 0
        """Bytes at the start of the last output that belong to an oversized event begun before it."""
        self.opened = 0
        """Bytes at its end that belong to an oversized event begun in it."""

    @property
    def aligned(self) -> bool:
        """Whether everything returned so far ends behind a complete event."""
        return not self.oversized

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes as they come and return those that complete events."""
        if not self.held and not self.oversized and chunk.endswith(_ENDS):
            self.continued = self.opened = 0
            return chunk
        if self.oversized:
            return self._pass(chunk)
        self.continued = self.opened = 0
        return self._cut(chunk)

    def _cut(self, chunk: bytes) -> bytes:
        """Return what completes events, and an event that has become too long to wait for."""
        tail = self.held
        start = max(0, len(tail) - _OVERLAP)
        tail += chunk
        end = _last_boundary(tail, start)
        if end:
            out = bytes(tail[:end])
            del tail[:end]
        else:
            out = b""
        if len(tail) > self._limit:
            out += bytes(tail)
            self.oversized = True
            self.opened = len(tail)
            del tail[:-_OVERLAP]
        return out

    def _pass(self, chunk: bytes) -> bytes:
        """Let an oversized event through until it ends; `held` then holds bytes already returned."""
        seen = len(self.held)
        window = self.held + chunk
        found = BOUNDARY.search(window)
        self.continued, self.opened = len(chunk), 0
        if found is None:
            self.held = window[-_OVERLAP:]
            return chunk
        self.continued = end = found.end() - seen
        self.oversized = False
        self.held = bytearray()
        return chunk[:end] + self._cut(chunk[end:])

    def close(self) -> bytes:
        """Return what is left: an event whose end never came."""
        rest = b"" if self.oversized else bytes(self.held)
        self.held = bytearray()
        return rest


def _last_boundary(data: bytearray, start: int) -> int:
    """Return the offset behind the last boundary at or after `start`, 0 where there is none."""
    if data.find(b"\r", start) < 0:
        at = data.rfind(b"\n\n", start)
        return at + 2 if at >= 0 else 0
    end = 0
    for found in BOUNDARY.finditer(data, start):
        end = found.end()
    return end


def split(block: bytes) -> Iterator[bytes]:
    """Yield the events of a block that ends behind a complete event."""
    start = 0
    if _CR not in block:
        while (at := block.find(b"\n\n", start)) >= 0:
            yield block[start : at + 2]
            start = at + 2
    else:
        for found in BOUNDARY.finditer(block):
            yield block[start : found.end()]
            start = found.end()
    if start < len(block):
        yield block[start:]


def data_of(event: bytes) -> bytes:
    """Return an event's data, its lines joined; empty for comments and events without any."""
    return b"\n".join([_value(line) for line in event.splitlines() if line.startswith(b"data:") or line == b"data"])


def lone_data(block: bytes) -> bytes:
    """Return the data of a block that is one event of one line, or of one behind its name; empty for any other."""
    if _CR in block:
        line, _, rest = block.partition(b"\r")
        alone = rest == b"\n\r\n" and _LF not in line
    else:
        line, _, rest = block.partition(b"\n")
        if line[:7] == b"event: ":
            line, _, rest = rest.partition(b"\n")
        alone = rest == b"\n"
    return line[6:] if alone and line[:6] == b"data: " else b""


def _value(line: bytes) -> bytes:
    value = line[5:]
    return value[1:] if value.startswith(b" ") else value


def encode(name: str, data: bytes) -> bytes:
    """Write one event; `data` is a single line."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
