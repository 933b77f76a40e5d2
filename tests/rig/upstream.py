"""A scripted provider on a real socket: the test says which bytes leave when, and how the connection ends."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Self

import orjson

from tests.rig.connection import LINGER_NONE, Connection, PeerGone
from tests.rig.eventually import PATIENCE
from tests.rig.http1 import Body, Head, chunk, framing_of, parse_head, render_head

Script = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request as it arrived, and the means to answer it. Kept in `Upstream.requests` for assertions.

    `connection` numbers the connections from 1; `served` counts the requests answered on this one before.
    `finished` is set when the script is done. Reads and drains raise PeerGone when the peer has left; a
    script may let that pass.
    """

    def __init__(self, head: Head, connection: Connection, number: int, served: int) -> None:
        self.head = head
        self.method, self.target, self.version = head.start.split(" ", 2)
        self.path = self.target.partition("?")[0]
        self.query = self.target.partition("?")[2]
        self.headers = head.headers
        self.header = head.header
        self.connection = number
        self.served = served
        self.finished = asyncio.Event()
        self.stream = connection
        self.closed = connection.closed
        self.request_body = Body(connection, framing_of(head, otherwise=0))

    @property
    def received(self) -> bytes:
        """The body so far, without its framing."""
        return bytes(self.request_body.content)

    @property
    def size(self) -> int:
        """Bytes of the body so far, including those past what is kept."""
        return self.request_body.size

    @property
    def complete(self) -> bool:
        """Whether the body's own end has arrived."""
        return self.request_body.complete

    def json(self) -> Any:
        """Parse the body read so far."""
        return orjson.loads(self.received)

    async def body_piece(self) -> bytes:
        """Read the next piece of the body; b"" at its end."""
        return await self.request_body.read_piece()

    async def body(self) -> bytes:
        """Read the body to its end."""
        while await self.body_piece():
            pass
        return self.received

    def write(self, data: bytes) -> None:
        """Send exactly these bytes now."""
        self.stream.write(data)

    async def drain(self) -> None:
        """Wait until the kernel has taken everything written: it does not while the peer does not read."""
        await self.stream.drain()

    async def send(self, *pieces: bytes) -> None:
        """Write pieces one by one, each drained."""
        for piece in pieces:
            self.write(piece)
            await self.drain()

    async def start(self, status: int = 200, headers: list[tuple[str, str]] | None = None) -> None:
        """Send an answer's head."""
        await self.send(render_head(f"HTTP/1.1 {status} Scripted", headers or []))

    async def start_stream(self, headers: list[tuple[str, str]] | None = None) -> None:
        """Send the head of a chunked event stream."""
        fixed = [("Content-Type", "text/event-stream; charset=utf-8"), ("Transfer-Encoding", "chunked")]
        await self.start(200, [*fixed, *(headers or [])])

    async def chunk(self, data: bytes) -> None:
        """Send one chunk."""
        await self.send(chunk(data))

    async def end_chunks(self) -> None:
        """Send the terminating chunk."""
        await self.send(chunk(b""))

    def half_close(self) -> None:
        """Send the FIN and go on reading."""
        self.stream.half_close()

    def close(self) -> None:
        """Close the connection with a FIN."""
        self.stream.close()

    def abort(self) -> None:
        """Close the connection with a reset."""
        self.stream.abort()


class Upstream:
    """The provider. Use as `async with Upstream() as upstream:` or through the fixture of that name."""

    def __init__(self) -> None:
        self.requests: list[Exchange] = []
        self.connections = 0
        self.reset_on_accept = False
        self.failures: list[Exception] = []
        self._scripts: dict[tuple[str, str], list[Script]] = {}
        self._open: dict[Connection, bool] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()
        self._port = 0

    async def __aenter__(self) -> Self:
        self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        self._listener.close()
        left = list(self._open)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for connection in left:
            connection.abort()
        if self.failures:
            raise ExceptionGroup("scripts of the upstream failed", self.failures)

    @property
    def url(self) -> str:
        """The base URL, without a path."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """The port, the same one over refusals."""
        return self._port

    @property
    def open_connections(self) -> int:
        """Connections that neither side has ended."""
        return sum(not connection.closed.is_set() for connection in self._open)

    @property
    def idle_connections(self) -> int:
        """Connections between two requests."""
        return sum(idle and not connection.closed.is_set() for connection, idle in self._open.items())

    def on(self, method: str, path: str, *scripts: Script) -> None:
        """Answer requests for a path, in which `*` stands for anything, by these scripts in turn.

        The last one repeats. What was said later comes first. The query plays no part.
        """
        self._scripts = {(method, path): list(scripts)} | {
            key: value for key, value in self._scripts.items() if key != (method, path)
        }

    async def received(self, count: int = 1) -> Exchange:
        """Wait until that many requests have arrived, by their heads, and return the last of those."""
        async with asyncio.timeout(PATIENCE), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    def accept(self) -> None:
        """Listen, again after `refuse()`, on the same port."""
        if self._port:
            self._listener.close()
        self._listener = _bind(self._port)
        self._listener.listen(1024)
        self._port = self._listener.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept())

    async def refuse(self) -> None:
        """Stop listening, keeping the port: new connections are refused, open ones go on."""
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()
        self._listener = _bind(self._port)

    def close_idle_connections(self) -> None:
        """Send a FIN on every connection that waits between two requests."""
        for connection, idle in list(self._open.items()):
            if idle:
                connection.close()

    def abort_connections(self) -> None:
        """Send a reset on every connection, whatever it does."""
        for connection in list(self._open):
            connection.abort()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(self._listener)
            self.connections += 1
            if self.reset_on_accept:
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
                accepted.close()
                continue
            _, connection = await loop.connect_accepted_socket(Connection, accepted)
            task = asyncio.create_task(self._serve(connection, self.connections))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, connection: Connection, number: int) -> None:
        served = 0
        try:
            while True:
                self._open[connection] = True
                head = parse_head(await connection.read_until(b"\r\n\r\n"))
                self._open[connection] = False
                await self._answer(Exchange(head, connection, number, served))
                served += 1
        except PeerGone:
            connection.close()
        finally:
            del self._open[connection]

    async def _answer(self, exchange: Exchange) -> None:
        self.requests.append(exchange)
        async with self._arrived:
            self._arrived.notify_all()
        try:
            await self._script(exchange)(exchange)
            await exchange.body()
        except PeerGone:
            raise
        except Exception as failure:
            self.failures.append(failure)
            exchange.abort()
            raise PeerGone("the script failed") from failure
        finally:
            exchange.finished.set()

    def _script(self, exchange: Exchange) -> Script:
        for (method, path), scripts in self._scripts.items():
            if method == exchange.method and fnmatchcase(exchange.path, path):
                return scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return unscripted


async def unscripted(exchange: Exchange) -> None:
    """Answer what the test did not foresee: a status no gateway makes up, naming the request."""
    body = orjson.dumps({"error": {"message": f"no script for {exchange.method} {exchange.target}"}})
    await exchange.body()
    await exchange.start(418, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    await exchange.send(body)


@contextlib.contextmanager
def blackhole() -> Iterator[str]:
    """Give the URL of a port where connections neither open nor are refused: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_bind(0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _bind(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.settimeout(0)
    bound.bind(("127.0.0.1", port))
    return bound
