"""One TCP connection under full control: read on demand, write at once, end it in every way TCP knows."""

import asyncio
import socket
import struct

READ_AHEAD = 65_536
"""Bytes taken from the kernel before anybody asked for them; reading stops past that."""

LINGER_NONE = struct.pack("ii", 1, 0)
"""`SO_LINGER` that turns the next close into a reset."""


class PeerGone(ConnectionError):
    """The other side, or this one, ended the connection first."""


class Connection(asyncio.Protocol):
    """Both ends of the rig speak through this.

    `closed` is set when the peer sent its FIN or a reset, or the connection was ended from here; it is
    seen while the read-ahead has room, so a script that wants to know reads its body first.
    `reset` tells a reset from a FIN.
    """

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.reset = False
        self.received = 0
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._held = False
        self._paused = False
        self._lost = False

    def connection_made(self, transport):
        self._transport = transport
        transport.set_write_buffer_limits(high=0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        self._buffer += data
        self.received += len(data)
        self._news.set()
        if len(self._buffer) >= READ_AHEAD:
            self._pause()

    def eof_received(self):
        self._ended()
        return True

    def connection_lost(self, error):
        self._lost = True
        self.reset = isinstance(error, ConnectionResetError | BrokenPipeError)
        self._writable.set()
        self._ended()

    def pause_writing(self):
        self._writable.clear()

    def resume_writing(self):
        self._writable.set()

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for its options."""
        return self._transport.get_extra_info("socket")

    @property
    def blocked(self) -> bool:
        """Whether written bytes are waiting for room in the kernel."""
        return not self._writable.is_set()

    @property
    def buffered(self) -> int:
        """Bytes that arrived and were not read yet."""
        return len(self._buffer)

    async def read_some(self, limit: int = READ_AHEAD) -> bytes:
        """Read what there is, at least one byte; b"" once the peer ended."""
        while not self._buffer:
            if self.closed.is_set():
                return b""
            await self._wait()
        return self._take(min(limit, len(self._buffer)))

    async def read_until(self, separator: bytes) -> bytes:
        """Read up to and including the separator; PeerGone where it never comes."""
        while (at := self._buffer.find(separator)) < 0:
            await self._wait_for_more()
        return self._take(at + len(separator))

    async def read_exactly(self, count: int) -> bytes:
        """Read that many bytes; PeerGone where they never come."""
        while len(self._buffer) < count:
            await self._wait_for_more()
        return self._take(count)

    def write(self, data: bytes) -> None:
        """Hand bytes to the kernel now, as one segment where they fit."""
        if self._lost:
            raise PeerGone("the connection is over")
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the kernel has taken everything written."""
        await self._writable.wait()
        if self._lost:
            raise PeerGone("the connection is over")

    def hold(self) -> None:
        """Stop reading from the socket, so that the peer runs into a full window."""
        self._held = True
        self._pause()

    def release(self) -> None:
        """Read from the socket again."""
        self._held = False
        self._resume()

    def half_close(self) -> None:
        """Send the FIN and go on reading."""
        self._transport.write_eof()

    def close(self) -> None:
        """Send what was written, then the FIN."""
        self._transport.close()

    def abort(self) -> None:
        """Send a reset."""
        if not self._lost:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        self._transport.abort()

    def _ended(self) -> None:
        self.closed.set()
        self._news.set()

    async def _wait_for_more(self) -> None:
        if self.closed.is_set():
            raise PeerGone(f"the peer ended with {bytes(self._buffer[-200:])!r} pending")
        await self._wait()

    async def _wait(self) -> None:
        self._news.clear()
        self._resume()
        await self._news.wait()

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        if len(self._buffer) < READ_AHEAD:
            self._resume()
        return data

    def _pause(self) -> None:
        if not self._paused and not self._lost:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._held and not self._lost:
            self._paused = False
            self._transport.resume_reading()
