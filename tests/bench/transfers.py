"""Bodies of gibibytes through one connection: an upload to a provider that pauses, downloads to a reader that does."""

import time
from dataclasses import dataclass

from tests.bench import wire
from tests.bench.wire import BLOCK_BYTES, CONTENT_LENGTH, LAST_CHUNK, Connection, Unexpected

LAST_EVENT, LAST_MEMBER = b"response.completed", b'"metadata":{}'
PAUSES = 4
STALLED_SECONDS = 0.3
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Transfer:
    """How one big body went."""

    seconds: float
    read_ahead: int = 0
    """Most bytes that the provider had sent and the paused reader had not taken, kernel buffers included."""


def upload(port: int, size: int) -> Transfer:
    """Send one huge JSON create whose provider is named in a header; the provider stops reading now and then."""
    before, after = wire.body_ends(f"sink-{size}", stream=False)
    block = b"a" * BLOCK_BYTES
    began = time.perf_counter()
    with Connection(port) as connection:
        sender = connection.open()
        sender.sendall(wire.render_head(size, {"x-tfy-provider-name": wire.PROVIDER}) + before)
        left = size - len(before) - len(after)
        while left > 0:
            sender.sendall(block[:left] if left < BLOCK_BYTES else block)
            left -= BLOCK_BYTES
        answer = connection.exchange(after)
    if b'"received":' not in answer or int(answer.partition(b'"received":')[2].split(b"}")[0].split(b",")[0]) < size:
        raise Unexpected(answer[-300:].decode(errors="replace"))
    return Transfer(time.perf_counter() - began)


def download(port: int, upstream: int, size: int, *, stream: bool) -> Transfer:
    """Read one huge answer, stopping now and then until nothing moves any more behind the contender."""
    request = wire.render_request(f"{'events' if stream else 'document'}-{size}", stream=stream)
    began = time.perf_counter()
    with Connection(port) as connection, Connection(upstream) as control:
        before = sent_bytes(control)
        reader = SlowReader(connection, size, LAST_EVENT if stream else LAST_MEMBER)
        read_ahead = 0
        connection.open().sendall(request)
        while reader.read_to_pause():
            read_ahead = max(read_ahead, stalled_at(control) - before - reader.received)
    return Transfer(time.perf_counter() - began, read_ahead)


class SlowReader:
    """Reads an answer of at least `size` bytes in a few stretches, and checks that `last` is near its end."""

    def __init__(self, connection: Connection, size: int, last: bytes) -> None:
        self.received = 0
        self._last = last
        self._socket = connection.open()
        self._size = size
        self._pauses = [size * part // PAUSES for part in range(PAUSES - 1, -1, -1)]
        self._whole = size
        self._chunked = False
        self._buffer = memoryview(bytearray(BLOCK_BYTES))
        self._tail = b""

    def read_to_pause(self) -> bool:
        """Read to the next pause; return False at the end of the answer instead."""
        while not self._ended():
            count = self._socket.recv_into(self._buffer)
            if not count:
                raise Unexpected(f"the answer broke off after {self.received} bytes")
            if not self.received:
                self._read_head(bytes(self._buffer[:count]))
            self.received += count
            self._tail = (self._tail + bytes(self._buffer[max(0, count - 1024) : count]))[-1024:]
            if self._pauses and self.received > self._pauses[-1]:
                self._pauses.pop()
                return True
        if self.received < self._size or self._last not in self._tail:
            raise Unexpected(f"the answer ended after {self.received} bytes: {self._tail[-200:]!r}")
        return False

    def _read_head(self, data: bytes) -> None:
        head, _, _ = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise Unexpected(data[:300].decode(errors="replace"))
        length = CONTENT_LENGTH.search(head)
        self._chunked = length is None
        if length:
            self._whole = len(head) + 4 + int(length[1])

    def _ended(self) -> bool:
        if self._chunked:
            return self._tail.endswith(LAST_CHUNK)
        return self.received >= self._whole


def sent_bytes(control: Connection) -> int:
    """Ask the provider how much it has sent in all."""
    answer = control.exchange(b"GET /sent HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return int(answer.partition(b"\r\n\r\n")[2])


def stalled_at(control: Connection) -> int:
    """Wait until the provider cannot send any more; return what it had sent by then."""
    sent, since = sent_bytes(control), time.monotonic()
    while time.monotonic() - since < STALLED_SECONDS:
        time.sleep(POLL_SECONDS)
        now = sent_bytes(control)
        if now != sent:
            sent, since = now, time.monotonic()
    return sent
