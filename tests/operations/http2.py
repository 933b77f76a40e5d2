"""Just enough HTTP/2 for a client that makes one request: frames, and headers written out in full."""

import asyncio
import ssl
import struct
from pathlib import Path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
ACK = END_STREAM = 1
END_HEADERS = 4
STREAM = 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Frame a payload."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def literal(name: str, value: str) -> bytes:
    """Encode a header as a literal that is not indexed; both parts are shorter than 127 bytes."""
    return b"\0" + b"".join(struct.pack("!B", len(part)) + part.encode() for part in (name, value))


class Http2:
    """One connection over TLS, and the request on it. `body` is what has come of the answer's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.body = b""
        self.ended = False
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, host: str, ca_file: Path) -> "Http2":
        """Connect to a loopback port where that host answers and agrees to HTTP/2."""
        context = ssl.create_default_context(cafile=str(ca_file))
        context.set_alpn_protocols(["h2", "http/1.1"])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.write(PREFACE + frame(SETTINGS, 0, 0))
        return cls(reader, writer)

    def request(self, method: str, path: str, host: str, headers: list[tuple[str, str]], body: bytes) -> None:
        """Send the request."""
        pseudo = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        block = b"".join(literal(name.lower(), value) for name, value in [*pseudo, *headers])
        self._writer.write(frame(HEADERS, END_HEADERS, STREAM, block) + frame(DATA, END_STREAM, STREAM, body))

    async def read_frame(self) -> None:
        """Take the next frame."""
        head = await self._reader.readexactly(9)
        length, kind, flags = struct.unpack("!I", b"\0" + head[:3])[0], head[3], head[4]
        payload = await self._reader.readexactly(length)
        if kind == SETTINGS and not flags & ACK:
            self._writer.write(frame(SETTINGS, ACK, 0))
        if kind == DATA:
            self.body += payload
        if kind in {DATA, HEADERS}:
            self.ended = bool(flags & END_STREAM)

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        await self._writer.wait_closed()
