"""Providers as the gateway talks to them: credentials, every timeout, every foreign exception mapped at this seam.

A request is written straight to the connection and its answer is read from aiohttp's parser, because
`ClientSession.request` alone costs as much as the rest of an exchange.
"""

from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from yarl import URL

from proxy.config import Limits, ProviderConfig
from proxy.credentials import Credentials, Fixed, Report, open_credentials
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
from proxy.pool import Connection, OnConnect, Pool
from proxy.providers.base import ForModel, Headers, Kind
from proxy.tap import RawTap

MIN_SECRET = 8
"""Characters below which a credential is a placeholder (`none`, `EMPTY`) that an error may spell by chance."""

NO_SECRETS = frozenset({"x-amz-date", "x-goog-user-project"})
"""Header fields that belong to credentials and give nothing away."""

FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError)
"""What aiohttp and the sockets below it raise; `mapped` says what it means here."""


class Answer:
    """The head of a provider's answer, with its body still to be read. Ends with `release` or `close`."""

    __slots__ = ("_line", "body", "connection", "framed", "headers", "raw_headers", "reusable", "status")

    def __init__(self, line: "Line", message: Any, body: StreamReader) -> None:
        self._line = line
        self.connection = line.connection
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
        # A transport may be closing already while the parser has yet to learn of the end.
        return self.body.exception() is not None or self.connection.transport is None

    def release(self) -> None:
        """Give the connection back for the next exchange, or close it where either side did not reach its end."""
        self._line.give_back(reusable=self.reusable)

    def close(self) -> None:
        """Close the connection: the provider sees that nobody reads any more."""
        self._line.close()


class Line:
    """A connection leased for one exchange."""

    __slots__ = ("_pool", "_taken", "_timeout", "connection", "reused")

    def __init__(self, pool: Pool, connection: Connection, first_byte: float, *, reused: bool) -> None:
        self._pool = pool
        self._taken = True
        self._timeout = first_byte
        self.connection = connection
        self.reused = reused

    @property
    def stale(self) -> bool:
        """Whether this was a pooled connection that brought no byte back."""
        return self.reused and not self.connection.bytes_received

    def write(self, data: bytes) -> None:
        """Send bytes; `connection.writable` is the caller's to await."""
        transport = self.connection.transport
        if transport is None or transport.is_closing():
            raise Disconnected("The provider closed the connection before the request was sent.")
        transport.write(data)

    async def answer(self, *, bounded: bool = True) -> Answer:
        """Wait for the head of the answer; `bounded` by the first-byte timeout."""
        deadline = self.connection.loop.call_later(self._timeout, self._late) if bounded else None
        try:
            message, body = await self._final_head()
        except FOREIGN as error:
            raise mapped(error) from error
        finally:
            if deadline is not None:
                deadline.cancel()
        return Answer(self, message, body)

    def _late(self) -> None:
        self.connection.set_exception(FirstByteTimeout(f"The provider sent no byte within {self._timeout:g} s."))

    async def _final_head(self) -> tuple[Any, StreamReader]:
        """Skip interim answers such as `103 Early Hints`."""
        while True:
            message, body = await self.connection.read()
            if message.code >= 200:  # noqa: PLR2004
                return message, body

    def close(self) -> None:
        """Give up: the provider sees a request that never ends, or that nobody reads its answer."""
        self.give_back(reusable=False)

    def give_back(self, *, reusable: bool) -> None:
        """End the lease; once, whoever asks for it again."""
        if self._taken:
            self._taken = False
            self._pool.give_back(self.connection, reusable=reusable)


class Upstream:
    """One configured provider: its address, its credentials, its pool."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        config: ProviderConfig,
        limits: Limits,
        *,
        report: Report = lambda _message: None,
        on_connect: OnConnect = lambda _seconds: None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.timeouts = config.timeouts
        self.dialect: ForModel = kind.dialect(config)
        base = URL(kind.locate(config, kind.base_url))
        self._origin = f"{base.scheme}://{base.host_port_subcomponent}"
        self.path = base.raw_path.rstrip("/")
        host = base.host_port_subcomponent or ""
        headers: Headers = [
            ("Host", host),
            ("Accept-Encoding", "identity"),
            *kind.own_headers(config),
            *((header, value.reveal()) for header, value in config.headers.items()),
        ]
        self._lines = render(headers)
        self.own_headers = frozenset(header.lower().encode() for header, _ in headers)
        self._authenticate = kind.authenticate(config)
        signer = open_credentials(kind, config, report=report)
        self._signer: Credentials | None = None if isinstance(signer, Fixed) else signer
        self._credentials: Headers = []
        self._credential_lines = b""
        self._fixed_secrets = [secret.reveal() for secret in (config.api_key, *config.headers.values()) if secret]
        self._secrets: list[bytes] = []
        self._note_credentials([])
        self._pool = Pool(base, config.timeouts.connect, on_connect)
        self._max_header_bytes = limits.max_header_bytes

    @property
    def signs(self) -> bool:
        """Whether credentials are fetched, refreshed or computed for a request, so that `sign` has to be awaited."""
        return self._signer is not None

    async def sign(self, method: str, target: str, body: bytes = b"") -> bytes:
        """Return the header lines that authenticate one request. Raises InternalError where there are none.

        A `body` that is still to come cannot be signed: schemes that do are those of kinds whose requests are rendered.
        """
        assert self._signer is not None  # noqa: S101
        headers = await self._signer.headers(method, f"{self._origin}{self.path}{target}", [], body)
        self._note_credentials(headers)
        return render(headers)

    def head(self, method: str, target: str, lines: bytes, framing: bytes, signed: bytes | None = None) -> bytes:
        """Render a request's head: the provider's own fields, credentials among them, and the client's `lines`."""
        if signed is None:
            credentials = self._authenticate()
            if credentials != self._credentials:
                self._note_credentials(credentials)
            signed = self._credential_lines
        return b"%b %b HTTP/1.1\r\n%b%b%b%b\r\n" % (
            method.encode(),
            (self.path + target).encode(),
            self._lines,
            signed,
            lines,
            framing,
        )

    def _note_credentials(self, credentials: Headers) -> None:
        """Take new credentials into use; the ones before them may still be repeated by an answer under way."""
        both = (*credentials, *self._credentials)
        sent = [value.removeprefix("Bearer ") for name, value in both if name.lower() not in NO_SECRETS]
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
            reason = "" if self.kind.keeps_state or operation == "input_tokens" else ": it keeps no responses"
            raise BadRequest(
                f"Provider '{self.name}' ({self.kind.title}) does not offer '{operation}'{reason}.",
                code="unsupported_operation",
            )

    async def connect(self, *, fresh: bool = False) -> Line:
        """Lease a connection, pooled or new; `fresh` insists on a new one.

        Raises ConnectFailed or ConnectTimeout; nothing was sent in either case.
        """
        if fresh:
            self._pool.drop_idle()
        try:
            connection = await self._pool.take()
        except TimeoutError as error:
            raise ConnectTimeout(f"Provider '{self.name}' did not accept a connection in time.") from error
        except FOREIGN as error:
            raise ConnectFailed(f"No connection to provider '{self.name}' could be made.") from error
        reused = connection.exchanges > 0
        connection.begin(self._max_header_bytes)
        return Line(self._pool, connection, self.timeouts.first_byte, reused=reused)

    def connections(self) -> dict[str, int]:
        """Return how many connections are active and idle."""
        return {"active": self._pool.active, "idle": self._pool.idle}

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()
        if self._signer is not None:
            await self._signer.close()


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
