"""The client's side of an exchange: aiohttp's server protocol with deadlines, and answers written straight to it.

A `Downstream` writes heads and bodies to the transport itself: `web.Response` would cost a fifth of an exchange.
"""

import asyncio
import itertools
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from proxy.config import Config
from proxy.errors import BadRequest, DownstreamError, GatewayError, HeadersTooLarge, InternalError, RequestTimeout
from proxy.headers import render
from proxy.pausing import PausingProtocol

LINGER = 2.0
"""Seconds in which what a client still sends after an early answer is read and dropped."""
READ_BUFFER = 32_768
"""Bytes of a request body held while nobody reads; it may reach twice that."""
LINGER_NONE = struct.pack("ii", 1, 0)
"""`SO_LINGER` that makes of the next close a reset."""

BODILESS = frozenset({204, 304})

REASONS = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    426: b"Upgrade Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}

_ids = map(f"gw_{os.urandom(8).hex()}{{:06x}}".format, itertools.count())


def new_request_id() -> str:
    """Return an id no other request has, in this process or another; 16 hex digits of it name the process."""
    return next(_ids)


class ClientConnection(PausingProtocol, RequestHandler):
    """One client's connection: a request's head has to arrive in time; errors have OpenAI's shape."""

    __slots__ = ("_ever_paused", "_head_bytes", "_head_deadline", "_header_timeout", "loop", "on_writable")

    def __init__(self, server: "Server", *, header_timeout: float, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self.loop = self._loop
        self._ever_paused = False
        self._header_timeout = header_timeout
        self._head_deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self.on_writable: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect the first request's head in time."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Parse; while a head is incomplete its deadline runs and its bytes count."""
        super().data_received(data)
        if self._messages:
            self._drop_deadline()
            self._head_bytes = 0
            if isinstance(self._messages[-1][0], _ErrInfo):
                self._break_body(self._messages[-1][0].message)
        elif data and self._waiter is not None and not self._waiter.done():
            self._expect_head()
            self._head_bytes += len(data)
            if self._head_bytes > self.max_field_size:
                self._refuse(_headers_too_large())

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the deadline with the connection."""
        self._drop_deadline()
        self.on_writable = None
        super().connection_lost(exc)

    def _break_body(self, reason: str) -> None:
        """End the body whose framing the parser gave up, or its reader would wait for it in vain."""
        bodies = [payload for _, payload in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof():
                body.set_exception(web.RequestPayloadError(reason))
                body.feed_eof()

    def _expect_head(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = self._loop.call_later(self._header_timeout, self._head_late)

    def _drop_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_late(self) -> None:
        self._head_deadline = None
        if self._head_bytes:
            self._refuse(RequestTimeout("The request's head did not arrive in time."))
        else:
            # A connection opened in advance: an answer nobody asked for would be taken for the next request's.
            self.force_close()

    def _refuse(self, error: GatewayError) -> None:
        """Answer what never became a request, and hang up once the client had time to read it."""
        self._drop_deadline()
        self._write_refusal(error)
        self.close()
        self._head_deadline = self._loop.call_later(LINGER, self.force_close)

    def _write_refusal(self, error: GatewayError) -> None:
        if self.transport is not None:
            lines, body = _refusal_lines(), error.body()
            framing = b"Content-Length: %d\r\nConnection: close\r\n" % len(body)
            head = b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (error.status, REASONS[error.status], lines, framing)
            self.transport.write(head + body)
            self.transport.write_eof()

    async def linger(self) -> None:
        """Drop what the client still sends, so that no reset overtakes the answer; ends with the connection."""
        self.close()
        await asyncio.sleep(LINGER)

    def resume_writing(self) -> None:
        """Let the relay go on: the client reads again."""
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Any:
        """Answer what is not HTTP, or what nobody caught, in OpenAI's error shape; the connection closes."""
        if status < 500:  # noqa: PLR2004
            error: GatewayError = _malformed(exc, message)
        else:
            self.log_exception("Unhandled exception", exc_info=exc)
            error = InternalError("The gateway failed to handle the request.", code="internal_error")
        self._write_refusal(error)
        return Refusal(self)


def _refusal_lines() -> bytes:
    request_id = new_request_id()
    return render(
        (("Content-Type", "application/json"), ("x-gateway-request-id", request_id), ("x-request-id", request_id))
    )


def _headers_too_large() -> HeadersTooLarge:
    return HeadersTooLarge("The request's line or headers are over the gateway's limit.")


def _malformed(exc: BaseException | None, message: str | None) -> DownstreamError:
    first = (message or "").strip().partition("\n")[0].rstrip(":.")
    if isinstance(exc, LineTooLong) or first == "Too many headers received":
        return _headers_too_large()
    return BadRequest(f"The request is not valid HTTP: {first or 'it cannot be parsed'}.", code="malformed_request")


class Server(web.Server):
    """Makes a `ClientConnection` of every accepted connection."""

    def __init__(self, handler: Any, config: Config) -> None:
        super().__init__(handler, handler_cancellation=True)
        limits = config.limits
        self._settings: dict[str, Any] = {
            "header_timeout": limits.header_timeout,
            "loop": asyncio.get_running_loop(),
            "keepalive_timeout": config.server.keep_alive_timeout,
            "access_log": None,
            "max_line_size": limits.max_header_bytes,
            "max_field_size": limits.max_header_bytes,
            "lingering_time": LINGER,
            "read_bufsize": READ_BUFFER,
            "auto_decompress": False,
        }

    def __call__(self) -> RequestHandler:
        """Make the protocol of one connection."""
        return ClientConnection(self, **self._settings)


class Written:
    """What a handler returns once it has written its answer: tells aiohttp whether the connection goes on."""

    __slots__ = ("keep_alive",)

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, _request: web.BaseRequest) -> None:
        """Do nothing: the head is written."""

    async def write_eof(self) -> None:
        """Do nothing: the end is written."""


class Refusal(Written):
    """What aiohttp gets where no request was: the answer is written, the connection lingers and ends."""

    __slots__ = ("_connection",)

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__(keep_alive=False)
        self._connection = connection

    async def write_eof(self) -> None:
        """Wait until the client had time to read the answer."""
        await self._connection.linger()


class Downstream:
    """Writes one answer. `sent` counts body bytes; `head_sent` tells that the status can no longer change."""

    __slots__ = ("_chunked", "_modern", "_transport", "connection", "head_sent", "keep_alive", "request", "sent")

    def __init__(self, request: web.BaseRequest, *, keep_alive: bool) -> None:
        connection = request.protocol
        assert isinstance(connection, ClientConnection)  # noqa: S101
        self.request = request
        self.connection = connection
        self._transport = request.transport
        self._modern = request.version >= (1, 1)
        self.keep_alive = keep_alive and request.keep_alive and self._modern
        self.head_sent = False
        self.sent = 0
        self._chunked = False

    @property
    def paused(self) -> bool:
        """Whether the client does not read what was written."""
        return self.connection.writing_paused

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._transport is None or self._transport.is_closing()

    def head(self, status: int, lines: bytes, length: int | None) -> bytes:
        """Render the head of the answer; without a length the body is chunked, or ends with the connection."""
        self.head_sent = True
        body = self.request.content
        if not body.is_eof() or body.exception() is not None:
            self.keep_alive = False
        if status in BODILESS:
            framing = b""
        elif length is not None:
            framing = b"Content-Length: %d\r\n" % length
        elif self._modern:
            self._chunked = True
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            framing = b""
        reason = REASONS.get(status, b"")
        close = b"" if self.keep_alive else b"Connection: close\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (status, reason, lines, framing, close)

    def write(self, data: bytes, head: bytes = b"") -> None:
        """Write body bytes, and the head before them where they are the first."""
        if self._transport is None or self._transport.is_closing():
            return
        self.sent += len(data)
        if not data:
            self._transport.write(head)
        elif self._chunked:
            self._transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        else:
            self._transport.write(head + data if head else data)

    def finish(self) -> Written:
        """End the answer as complete."""
        if self._chunked and not self.gone and self._transport is not None:
            self._transport.write(b"0\r\n\r\n")
        return Written(keep_alive=self.keep_alive)

    def answer(self, status: int, lines: bytes, body: bytes) -> Written:
        """Write a whole answer at once."""
        head = self.head(status, lines, len(body))
        if self.request.method == "HEAD":
            body = b""
        self.write(body, head)
        return Written(keep_alive=self.keep_alive)

    def fail(self, error: GatewayError, lines: bytes) -> Written:
        """Write an error in OpenAI's shape; `lines` are the header lines it has besides its own."""
        return self.answer(error.status, lines + render(error.headers()), error.body())

    def abort(self) -> Written:
        """Cut the connection by a reset, so that the client cannot take what it has for the whole.

        To a client of HTTP/1.0 a mere end would be the body's own.
        """
        if self._transport is not None and not self._transport.is_closing():
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            self._transport.abort()
        return Written(keep_alive=False)
