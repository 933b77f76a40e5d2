"""HTTP/1.1 as bytes, for both ends of the rig; written independently of the gateway's own parsers."""

from typing import NamedTuple

from tests.rig.connection import Connection, PeerGone

KEPT = 4_194_304
"""Bytes of a body that are kept for assertions; the rest is only counted."""


class Head(NamedTuple):
    """A request's or an answer's head, as it was on the wire."""

    raw: bytes
    start: str
    headers: list[tuple[str, str]]

    def header(self, name: str) -> str | None:
        """Return the first value of a header, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        """Return every value of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


def parse_head(raw: bytes) -> Head:
    """Split a head that ends with its empty line."""
    start, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(raw, start, [(name, value.strip()) for name, _, value in pairs])


def render_head(start: str, headers: list[tuple[str, str]]) -> bytes:
    """Join a start line and headers, with the empty line."""
    return "".join(f"{line}\r\n" for line in (start, *(f"{n}: {v}" for n, v in headers), "")).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """Frame one chunk; of no bytes, the terminating one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Body:
    """A body being read: `content` without its framing, `raw` with it, both up to `KEPT` bytes.

    `complete` is set when the framing's own end was reached; until the connection's end counts as one
    only where nothing else delimits the body.
    """

    def __init__(self, connection: Connection, framing: int | str) -> None:
        self.framing = framing
        self.content = bytearray()
        self.raw = bytearray()
        self.size = 0
        self.complete = framing == 0
        self._connection = connection
        self._left = framing if isinstance(framing, int) else 0

    async def read_piece(self) -> bytes:
        """Read what there is, at least one byte; b"" at the end, PeerGone where the body is cut."""
        if self.complete:
            return b""
        if self.framing == "chunked" and not self._left and not await self._open_chunk():
            return b""
        piece = await self._connection.read_some(self._left or 65_536)
        if not piece:
            if self.framing != "close" or self._connection.reset:
                raise PeerGone("the body was cut")
            self.complete = True
            return b""
        await self._keep(piece)
        return piece

    async def _keep(self, piece: bytes) -> None:
        self.size += len(piece)
        self.content += piece[: KEPT - len(self.content)]
        self._record(piece)
        if self.framing == "close":
            return
        self._left -= len(piece)
        if self._left:
            return
        if self.framing == "chunked":
            self._record(await self._connection.read_exactly(2))
        else:
            self.complete = True

    async def _open_chunk(self) -> bool:
        line = await self._connection.read_until(b"\r\n")
        self._record(line)
        self._left = int(line.split(b";")[0], 16)
        if self._left:
            return True
        while line != b"\r\n":
            line = await self._connection.read_until(b"\r\n")
            self._record(line)
        self.complete = True
        return False

    def _record(self, data: bytes) -> None:
        self.raw += data[: max(0, KEPT - len(self.raw))]


def framing_of(head: Head, *, otherwise: int | str) -> int | str:
    """Return a length in bytes, `chunked`, or what holds where the head names neither."""
    if "chunked" in (head.header("Transfer-Encoding") or "").lower():
        return "chunked"
    length = head.header("Content-Length")
    return int(length) if length is not None else otherwise
