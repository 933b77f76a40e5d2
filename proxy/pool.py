"""Connections to one provider: made by aiohttp's connector, kept here between exchanges.

Name resolution, TLS and the HTTP parser are aiohttp's. `Connection` adds one thing to its protocol: it calls `on_data`
from the event that brought bytes, end or error, so that a relay needs no task to be woken for a chunk. `Pool` keeps
idle connections itself: a lease from the connector for every exchange would cost a twentieth of it.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from time import monotonic

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from proxy.errors import Disconnected
from proxy.pausing import PausingProtocol

READ_BUFFER = 16_384
"""Bytes the parser holds for a reader that does not read, half of what it may reach; see the memory figures."""
KEEP_ALIVE = 15.0
"""Seconds an idle connection is kept: shorter than any provider keeps it, so that few turn out stale."""

OnConnect = Callable[[float | None], None]
"""Told of every new connection how many seconds it took, None where it could not be made."""


class Connection(PausingProtocol, ResponseHandler):
    """One connection to a provider."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.loop = loop
        """Asking asyncio for it is a system call, up to Python 3.11."""
        self._ever_paused = False
        self.on_data: Callable[[], None] | None = None
        self.exchanges = 0
        self.lease: aiohttp.connector.Connection | None = None
        self.idle_since = 0.0
        self.bytes_received = False
        """Whether any have come since the connection was leased, or, while it is idle, since it was given back."""
        self._progress: asyncio.Future[None] | None = None

    def begin(self, max_header_bytes: int) -> None:
        """Make ready for the next exchange: the first, and one behind a pause, gets a parser of its own.

        A new one for every exchange, as `ClientSession` has it, costs a fiftieth of one.
        """
        if not self.exchanges or self._ever_paused:
            self._ever_paused = False
            self.set_response_params(
                read_until_eof=True,
                auto_decompress=True,
                read_timeout=None,
                read_bufsize=READ_BUFFER,
                max_line_size=max_header_bytes,
                max_field_size=max_header_bytes,
            )
        self.exchanges += 1

    def data_received(self, data: bytes) -> None:
        """Parse, then tell whoever relays."""
        self.bytes_received = True
        super().data_received(data)
        if self.on_data is not None:
            self.on_data()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let the parser draw its conclusion, then tell whoever relays or waits to write."""
        payload = self._payload
        if exc is not None and payload is not None and not payload.is_eof():
            # Where only the connection's end delimits a body, aiohttp takes a reset for that end.
            payload.set_exception(aiohttp.ClientPayloadError("the connection was reset"), exc)
        super().connection_lost(exc)
        self._wake()
        if self.on_data is not None:
            self.on_data()

    def resume_writing(self) -> None:
        """Let a paused upload go on."""
        super().resume_writing()
        self._wake()

    def _wake(self) -> None:
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    async def writable(self) -> None:
        """Wait until the provider takes more bytes.

        Raises Disconnected where it went away.
        """
        while self.writing_paused and self.is_connected():
            self._progress = self._loop.create_future()
            await self._progress
        if not self.is_connected():
            raise Disconnected("The provider closed the connection while the request was being sent.")

    def hang_up(self) -> None:
        """Close the connection for good: the provider sees that nobody reads, or that a request never ends."""
        self.on_data = None
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.close()


class Pool:
    """The connections to one provider. `connect_timeout` is in seconds."""

    def __init__(self, base: URL, connect_timeout: float, on_connect: OnConnect = lambda _seconds: None) -> None:
        loop = asyncio.get_running_loop()
        self._connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=30)
        self._connector._factory = functools.partial(Connection, loop)  # type: ignore[assignment]  # noqa: SLF001
        self._key = aiohttp.ClientRequest("POST", base, loop=loop)
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout, sock_connect=connect_timeout)
        self._on_connect = on_connect
        self._idle: deque[Connection] = deque()
        self._leased: set[Connection] = set()

    @property
    def active(self) -> int:
        """How many connections serve an exchange."""
        return len(self._leased)

    @property
    def idle(self) -> int:
        """How many connections wait for an exchange."""
        self._drop_expired()
        return len(self._idle)

    async def take(self) -> Connection:
        """Return the idle connection used last, or a new one; what aiohttp raises passes."""
        while self._idle:
            connection = self._idle.pop()
            # Bytes nobody had asked for would pass for the answer to the next request, or for its beginning.
            unasked = connection.bytes_received or connection.should_close
            if unasked or not connection.is_connected() or self._expired(connection):
                connection.hang_up()
            else:
                self._leased.add(connection)
                return connection
        lease = await self._connect()
        made = lease.protocol
        if not isinstance(made, Connection):
            lease.close()
            raise TypeError(made)
        made.lease = lease
        self._leased.add(made)
        return made

    async def _connect(self) -> aiohttp.connector.Connection:
        began = monotonic()
        try:
            lease = await self._connector.connect(self._key, [], self._timeout)
        except Exception:
            self._on_connect(None)
            raise
        self._on_connect(monotonic() - began)
        return lease

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        """Keep a connection for the next exchange, or close it where either side did not reach its end."""
        self._leased.discard(connection)
        connection.on_data = None
        if reusable and not connection.should_close:
            connection.idle_since = monotonic()
            connection.bytes_received = False
            self._idle.append(connection)
            self._drop_expired()
        else:
            connection.hang_up()

    def _expired(self, connection: Connection) -> bool:
        return monotonic() - connection.idle_since > KEEP_ALIVE

    def _drop_expired(self) -> None:
        while self._idle and (self._expired(self._idle[0]) or not self._idle[0].is_connected()):
            self._idle.popleft().hang_up()

    def drop_idle(self) -> None:
        """Close every idle connection: one of them was stale, so the others of its age may be."""
        while self._idle:
            self._idle.pop().hang_up()

    async def close(self) -> None:
        """Close every connection."""
        self.drop_idle()
        while self._leased:
            self._leased.pop().hang_up()
        await self._connector.close()
