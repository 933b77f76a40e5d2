"""Requests of the benchmark and a blocking client: one connection, no parser, microseconds on the clock."""

import re
import socket
import time
from typing import Self

GATEWAY_KEY = "key-of-the-benchmark"
PROVIDER = "provider"
REQUEST_BYTES = 1024
BLOCK_BYTES = 262_144
SOCKET_TIMEOUT = 120

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {GATEWAY_KEY}"}


def render_body(model: str, *, stream: bool, size: int = REQUEST_BYTES) -> bytes:
    """Return a create request's body of `size` bytes."""
    before, after = body_ends(model, stream=stream)
    return before + b"a" * (size - len(before) - len(after)) + after


def body_ends(model: str, *, stream: bool) -> tuple[bytes, bytes]:
    """Return what stands before and after the text of `input`."""
    flag = b"true" if stream else b"false"
    return b'{"model": "%s", "store": true, "stream": %s, "input": "' % (model.encode(), flag), b'"}'


def render_head(length: int, extra: dict[str, str] | None = None) -> bytes:
    """Return the head of a create request."""
    headers = {"Host": "127.0.0.1", **HEADERS, **(extra or {}), "Content-Length": str(length)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/responses HTTP/1.1\r\n{lines}\r\n".encode()


def render_request(model: str, *, stream: bool) -> bytes:
    """Return a whole create request."""
    body = render_body(model, stream=stream)
    return render_head(len(body)) + body


class Unexpected(Exception):
    """An answer is not the one the measurement is about."""


class Connection:
    """A client connection that is opened again where the other side closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def open(self) -> socket.socket:
        """Return the socket, connected."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=SOCKET_TIMEOUT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def first_event(self, request: bytes) -> float:
        """Return the seconds from the request to the whole first event; reads the stream to its end."""
        connected = self.open()
        began = time.perf_counter_ns()
        connected.sendall(request)
        received = b""
        while b"\n\n" not in received:
            received += self._receive()
        took = (time.perf_counter_ns() - began) / 1e9
        if b"event: response.created" not in received:
            raise Unexpected(received[:300].decode(errors="replace"))
        while not received.endswith(LAST_CHUNK):
            received = received[-4:] + self._receive()
        return took

    def exchange(self, request: bytes) -> bytes:
        """Return the whole answer to a small request."""
        self.open().sendall(request)
        return self.read()

    def read(self) -> bytes:
        """Return the whole answer to a small request that was sent."""
        received = b""
        while not is_whole(received):
            received += self._receive()
        return received

    def _receive(self) -> bytes:
        data = self._socket.recv(BLOCK_BYTES)
        if not data:
            self.close()
            raise Unexpected("the connection was closed before the answer's end")
        return data


def is_whole(received: bytes) -> bool:
    """Return whether an answer has arrived to its end."""
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return False
    length = CONTENT_LENGTH.search(head)
    return len(body) >= int(length[1]) if length else body.endswith(LAST_CHUNK)


def answers(port: int) -> bool:
    """Return whether a create gets its answer through this port."""
    try:
        with Connection(port) as connection:
            return connection.exchange(render_request("json", stream=False)).startswith(b"HTTP/1.1 200")
    except (OSError, Unexpected):
        return False
