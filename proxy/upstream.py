"""Connections to providers: one pool per provider, every timeout, every foreign exception mapped at this seam.

The pool, name resolution and TLS are aiohttp's connector; a request is written straight to the connection and
its answer is read from aiohttp's parser, because `ClientSession.request` alone costs as much as the rest of an
exchange. `Connection` adds one thing to aiohttp's protocol: it calls `on_data` from the event that brought bytes,
end or error, so that a relay needs no task to be woken for a chunk.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from yarl import URL

from proxy.config import Limits, ProviderConfig
from proxy.errors import (
    BadAnswer,
    BadRequest,
    ConnectFailed,
    ConnectTimeout,
    Disconnected,
    FirstByteTimeout,
    UpstreamError,
)
from proxy.headers import render
from proxy.providers.base import Headers, Kind
from proxy.tap import RawTap

READ_BUFFER = 16_384
"""Bytes the parser holds for a reader that does not read, half of what it may reach; see the memory figures."""
KEEP_ALIVE = 15.0
"""Seconds an idle connection is kept: shorter than any provider keeps it, so that few turn out stale."""
MIN_SECRET = 8
"""Characters below which a credential is a placeholder (`none`, `EMPTY`) that an error may spell by chance."""

FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError)
"""What aiohttp and the sockets below it raise; `mapped` says what it means here."""


class Connection(ResponseHandler):
    """One connection to a provider."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.on_data: Callable[[], None] | None = None
        self.exchanges = 0
        self.bytes_received = False
        self._progress: asyncio.Future[None] | None = None

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


class Answer:
    """The head of a provider's answer, with its body still to be read. Ends with `release` or `close`."""

    __slots__ = ("_lease", "body", "connection", "framed", "headers", "raw_headers", "reusable", "status")

    def __init__(
        self, lease: aiohttp.connector.Connection, connection: Connection, message: Any, body: StreamReader
    ) -> None:
        self._lease = lease
        self.connection = connection
        self.status: int = message.code
        self.headers = message.headers
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = message.raw_headers
        self.body = body
        self.framed: bool = message.chunked or "Content-Length" in message.headers or body is EMPTY_PAYLOAD
        """Whether the body has an end of its own, other than the connection's."""
        self.reusable = True

    def take(self) -> bytes:
        """Return what has arrived, also where the connection broke behind it."""
        return self.body._read_nowait(-1) if self.body is not EMPTY_PAYLOAD else b""  # noqa: SLF001

    @property
    def ended(self) -> bool:
        """Whether everything up to the body's proper end has been taken."""
        return self.body.at_eof() and self.body.exception() is None

    @property
    def broken(self) -> bool:
        """Whether no more will come although the body has not ended."""
        return self.body.exception() is not None or not self.connection.is_connected()

    def release(self) -> None:
        """Give the connection back for the next exchange, or close it where either side did not reach its end."""
        self.connection.on_data = None
        if self.reusable:
            self._lease.release()
        else:
            self._lease.close()

    def close(self) -> None:
        """Close the connection: the provider sees that nobody reads any more."""
        self.connection.on_data = None
        self._lease.close()


class Line:
    """A connection leased for one exchange."""

    __slots__ = ("_lease", "_timeout", "connection", "reused")

    def __init__(self, lease: aiohttp.connector.Connection, connection: Connection, first_byte: float) -> None:
        self._lease = lease
        self._timeout = first_byte
        self.connection = connection
        self.reused = connection.exchanges > 0
        connection.exchanges += 1
        connection.bytes_received = False

    @property
    def stale(self) -> bool:
        """Whether this was a pooled connection that brought no byte back."""
        return self.reused and not self.connection.bytes_received

    def write(self, data: bytes) -> None:
        """Send bytes; `connection.writable` is the caller's to await."""
        transport = self._lease.transport
        if transport is None or transport.is_closing():
            raise Disconnected("The provider closed the connection before the request was sent.")
        transport.write(data)

    async def answer(self, *, bounded: bool = True) -> Answer:
        """Wait for the head of the answer; `bounded` by the first-byte timeout."""
        deadline = asyncio.get_running_loop().call_later(self._timeout, self._late) if bounded else None
        try:
            message, body = await self._final_head()
        except FOREIGN as error:
            raise mapped(error) from error
        finally:
            if deadline is not None:
                deadline.cancel()
        return Answer(self._lease, self.connection, message, body)

    def _late(self) -> None:
        self.connection.set_exception(FirstByteTimeout(f"The provider sent no byte within {self._timeout:g} s."))

    async def _final_head(self) -> tuple[Any, StreamReader]:
        """Skip interim answers such as `103 Early Hints`."""
        while True:
            message, body = await self.connection.read()
            if message.code >= 200:  # noqa: PLR2004
                return message, body

    def close(self) -> None:
        """Give up: the provider sees a request that never ends."""
        self._lease.close()


class Upstream:
    """One configured provider: its address, its credentials, its pool."""

    def __init__(self, name: str, kind: Kind, config: ProviderConfig, limits: Limits) -> None:
        self.name = name
        self.kind = kind
        self.timeouts = config.timeouts
        base = URL(config.base_url or kind.base_url or "")
        self.path = base.raw_path.rstrip("/")
        host = base.host_port_subcomponent or ""
        headers: Headers = [
            ("Host", host),
            ("Accept-Encoding", "identity"),
            *(("OpenAI-Organization", value) for value in (config.organization,) if value),
            *(("OpenAI-Project", value) for value in (config.project,) if value),
            *((header, value.reveal()) for header, value in config.headers.items()),
        ]
        self._lines = render(headers)
        self.own_headers = frozenset(header.lower().encode() for header, _ in headers)
        self._authenticate = kind.authenticate(config)
        self._credentials: Headers = []
        self._credential_lines = b""
        self._fixed_secrets = [secret.reveal() for secret in (config.api_key, *config.headers.values()) if secret]
        self._secrets: list[bytes] = []
        self._note_credentials([])
        loop = asyncio.get_running_loop()
        self._connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, ttl_dns_cache=30)
        self._connector._factory = functools.partial(Connection, loop)  # type: ignore[assignment]  # noqa: SLF001
        self._key = aiohttp.ClientRequest("POST", base, loop=loop)
        self._connect_timeout = aiohttp.ClientTimeout(
            total=None, connect=config.timeouts.connect, sock_connect=config.timeouts.connect
        )
        self._max_header_bytes = limits.max_header_bytes

    def head(self, method: str, target: str, lines: bytes, framing: bytes) -> bytes:
        """Render a request's head: the provider's own fields, credentials among them, and the client's `lines`."""
        credentials = self._authenticate()
        if credentials != self._credentials:
            self._note_credentials(credentials)
        return b"%b %b HTTP/1.1\r\n%b%b%b%b\r\n" % (
            method.encode(),
            (self.path + target).encode(),
            self._lines,
            self._credential_lines,
            lines,
            framing,
        )

    def _note_credentials(self, credentials: Headers) -> None:
        """Take new credentials into use; the ones before them may still be repeated by an answer under way."""
        sent = [value.removeprefix("Bearer ") for _, value in (*credentials, *self._credentials)]
        secrets = {secret.encode() for secret in (*self._fixed_secrets, *sent) if len(secret) >= MIN_SECRET}
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._credentials = credentials
        self._credential_lines = render(credentials)

    def redact(self, data: bytes) -> bytes:
        """Take the provider's credentials out of bytes that repeat them."""
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, b"***")
        return data

    def redacting(self) -> RawTap:
        """Make a tap that takes the credentials out of a body on its way."""
        return RedactingTap(self.redact, max(map(len, self._secrets), default=1) - 1)

    def check_operation(self, operation: str) -> None:
        """Refuse what this kind of provider does not offer.

        Raises BadRequest.
        """
        if operation not in self.kind.operations:
            reason = "" if self.kind.keeps_state else ": it keeps no responses"
            raise BadRequest(
                f"Provider '{self.name}' ({self.kind.title}) does not offer '{operation}'{reason}.",
                code="unsupported_operation",
            )

    async def connect(self, *, fresh: bool = False) -> Line:
        """Lease a connection, pooled or new; `fresh` insists on a new one.

        Raises ConnectFailed or ConnectTimeout; nothing was sent in either case.
        """
        if fresh:
            self._drop_idle()
        lease, connection = await self._lease()
        while connection.should_close:
            # It brought bytes nobody had asked for: they would pass for the answer to the next request.
            lease.close()
            lease, connection = await self._lease()
        connection.set_response_params(
            read_until_eof=True,
            auto_decompress=True,
            read_timeout=None,
            read_bufsize=READ_BUFFER,
            max_line_size=self._max_header_bytes,
            max_field_size=self._max_header_bytes,
        )
        return Line(lease, connection, self.timeouts.first_byte)

    async def _lease(self) -> tuple[aiohttp.connector.Connection, Connection]:
        try:
            lease = await self._connector.connect(self._key, [], self._connect_timeout)
        except TimeoutError as error:
            raise ConnectTimeout(f"Provider '{self.name}' did not accept a connection in time.") from error
        except FOREIGN as error:
            raise ConnectFailed(f"No connection to provider '{self.name}' could be made.") from error
        connection = lease.protocol
        if not isinstance(connection, Connection):
            lease.close()
            raise TypeError(connection)
        return lease, connection

    def _drop_idle(self) -> None:
        """Close every pooled connection: one of them was stale, so the others of its age may be."""
        for pooled in self._connector._conns.values():  # noqa: SLF001
            for connection, _ in pooled:
                connection.close()
        self._connector._conns.clear()  # noqa: SLF001

    def connections(self) -> dict[str, int]:
        """Return how many connections are active and idle."""
        idle = sum(len(pooled) for pooled in self._connector._conns.values())  # noqa: SLF001
        return {"active": len(self._connector._acquired), "idle": idle}  # noqa: SLF001

    async def close(self) -> None:
        """Close every connection."""
        await self._connector.close()


class RedactingTap(RawTap):
    """Passes everything but credentials; holds back as much as one of them could still be the beginning of."""

    def __init__(self, redact: Callable[[bytes], bytes], hold: int) -> None:
        self._redact = redact
        self._hold = hold
        self._held = b""

    def feed(self, chunk: bytes, _now: float) -> bytes:
        """Return what no longer can be part of a credential."""
        data = self._redact(self._held + chunk)
        cut = max(len(data) - self._hold, 0)
        self._held = data[cut:]
        return data[:cut]

    def close(self) -> bytes:
        """Return what was held."""
        return self._held


def mapped(error: BaseException) -> UpstreamError:
    """Turn one of the `FOREIGN` exceptions into the gateway's own."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Disconnected("The provider closed the connection without an answer.")
    if isinstance(error, aiohttp.ClientPayloadError | HttpProcessingError | aiohttp.ClientResponseError):
        return BadAnswer("The provider's answer is not valid HTTP.")
    return Disconnected("The connection to the provider broke before an answer came.")
