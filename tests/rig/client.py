"""A client that sends exact bytes, reads answers piece by piece, and knows how each of them ended."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

import orjson

from tests.rig.connection import Connection, PeerGone
from tests.rig.eventually import PATIENCE
from tests.rig.http1 import Body, Head, framing_of, parse_head, render_head

Pairs = Iterable[tuple[str, str]]


class Event(NamedTuple):
    """One server-sent event, as its lines said."""

    name: str | None
    data: str

    def json(self) -> Any:
        """Parse the data."""
        return orjson.loads(self.data)


class Answer:
    """One answer. `end` is None while it goes on, then `complete`, `cut` (a FIN too early) or `reset`."""

    def __init__(self, head: Head, connection: Connection, *, bodyless: bool) -> None:
        self.head = head
        self.status = int(head.start.split(" ")[1])
        self.headers = head.headers
        self.header = head.header
        self.end: str | None = None
        self._body = Body(connection, 0 if bodyless else framing_of(head, otherwise="close"))
        self._connection = connection

    @property
    def body(self) -> bytes:
        """The body so far, without its framing."""
        return bytes(self._body.content)

    @property
    def raw(self) -> bytes:
        """The body so far, as it was framed."""
        return bytes(self._body.raw)

    @property
    def size(self) -> int:
        """Bytes of the body so far, including those past what is kept."""
        return self._body.size

    @property
    def framing(self) -> int | str:
        """The length in bytes, `chunked` or `close`."""
        return self._body.framing

    def json(self) -> Any:
        """Parse the body read so far."""
        return orjson.loads(self.body)

    def events(self) -> list[Event]:
        """Split the body read so far into its complete events."""
        return split_events(self.body)

    async def read_piece(self) -> bytes:
        """Read what there is, at least one byte; b"" at the end, whichever end it is."""
        try:
            async with asyncio.timeout(PATIENCE):
                piece = await self._body.read_piece()
        except PeerGone:
            self.end = "reset" if self._connection.reset else "cut"
            return b""
        if self._body.complete:
            self.end = "complete"
        return piece

    async def read(self) -> bytes:
        """Read to the end and return the whole body."""
        while await self.read_piece():
            pass
        return self.body

    async def read_until(self, marker: bytes) -> bytes:
        """Read until the body holds the marker; AssertionError where it ends before."""
        while marker not in self._body.content:
            assert await self.read_piece(), f"{marker!r} never came in {self.body[-500:]!r}, {self.end}"
        return self.body

    async def read_events(self, count: int) -> list[Event]:
        """Read until the body holds that many complete events."""
        while len(events := self.events()) < count:
            assert await self.read_piece(), f"{len(events)} events came, {self.end}"
        return events


class Client:
    """One client connection. The peer's end of it shows in `closed` and `reset`."""

    def __init__(self, connection: Connection) -> None:
        self.stream = connection
        self.closed = connection.closed
        self.drain = connection.drain
        self.hold = connection.hold
        self.release = connection.release
        self.half_close = connection.half_close
        self.close = connection.close
        self.abort = connection.abort
        self._methods: list[str] = []

    @property
    def reset(self) -> bool:
        """Whether the peer ended with a reset."""
        return self.stream.reset

    async def send(self, *pieces: bytes) -> None:
        """Send exact bytes, each piece drained before the next."""
        for piece in pieces:
            self.stream.write(piece)
            await self.stream.drain()

    async def request(
        self, method: str, target: str, *, headers: Pairs = (), body: bytes | None = None, json: Any = None
    ) -> None:
        """Send a well-formed request; a body goes with its Content-Length."""
        self._methods.append(method)
        await self.send(render_request(method, target, headers=headers, body=body, json=json))

    async def answer(self) -> Answer:
        """Read the next answer's head; interim (1xx) ones are answers too. PeerGone where none comes."""
        async with asyncio.timeout(PATIENCE):
            head = parse_head(await self.stream.read_until(b"\r\n\r\n"))
        status = int(head.start.split(" ")[1])
        interim = status < 200
        asked = "" if interim or not self._methods else self._methods.pop(0)
        return Answer(head, self.stream, bodyless=interim or status in (204, 304) or asked == "HEAD")

    async def ended(self) -> str:
        """Wait for the peer's end, dropping what still comes; return `closed` or `reset`."""
        async with asyncio.timeout(PATIENCE):
            while await self.stream.read_some():
                pass
        return "reset" if self.reset else "closed"


@contextlib.asynccontextmanager
async def connect(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[Client]:
    """Open a connection to a loopback port; `receive_buffer` bytes make a window that fills soon."""
    plain = socket.socket()
    if receive_buffer is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    plain.settimeout(0)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(plain, ("127.0.0.1", port))
    except OSError:
        plain.close()
        raise
    transport, connection = await loop.create_connection(Connection, sock=plain)
    try:
        yield Client(connection)
    finally:
        transport.abort()


async def fetch(
    port: int, method: str, target: str, *, headers: Pairs = (), body: bytes | None = None, json: Any = None
) -> Answer:
    """Send one request on a connection of its own and read the answer to its end."""
    async with connect(port) as client:
        await client.request(method, target, headers=headers, body=body, json=json)
        answer = await client.answer()
        await answer.read()
        return answer


def render_request(
    method: str, target: str, *, headers: Pairs = (), body: bytes | None = None, json: Any = None
) -> bytes:
    """Make a well-formed request's bytes; headers given win over the usual ones."""
    given = list(headers)
    names = {name.lower() for name, _ in given}
    if json is not None:
        body = orjson.dumps(json)
    usual = [("Host", "gateway.test")]
    if json is not None:
        usual.append(("Content-Type", "application/json"))
    if body is not None and "transfer-encoding" not in names:
        usual.append(("Content-Length", str(len(body))))
    head = [*(pair for pair in usual if pair[0].lower() not in names), *given]
    return render_head(f"{method} {target} HTTP/1.1", head) + (body or b"")


def split_events(body: bytes) -> list[Event]:
    """Split a stream into its complete events, comments left out, by the letter of the standard."""
    text = body.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    blocks = text.split("\n\n")[:-1]
    return [found for block in blocks if (found := _event(block)) is not None]


def comments(body: bytes) -> list[str]:
    """Return the comment lines of a stream, without their colon."""
    lines = body.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line[1:] for line in lines if line.startswith(":")]


def _event(block: str) -> Event | None:
    fields: dict[str, list[str]] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields:
        return None
    return Event(fields["event"][-1] if "event" in fields else None, "\n".join(fields["data"]))
