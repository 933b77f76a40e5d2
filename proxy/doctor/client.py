"""A client that notes when each piece of an answer arrives, and how the answer ended."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic
from typing import Any, Self

import aiohttp
import orjson

from proxy import __version__
from proxy.sse import Framer, data_of, split

CONNECT = 10.0
"""Seconds for a connection to come up."""
PATIENCE = 60.0
"""Seconds of silence after which an answer is given up."""
EVENT_LIMIT = 1_048_576
REQUEST_ID = "x-gateway-request-id"
PROCESS_LENGTH = len("gw_") + 16
"""A request id begins with what is the same for all of one gateway process."""
TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})

FOREIGN = (aiohttp.ClientError, OSError, TimeoutError)
"""What aiohttp raises where there is no answer, or not all of it."""


class Unreachable(Exception):
    """No answer came; the message says what happened instead."""


@dataclass(slots=True)
class Answer:
    """One answer. Times are seconds on one monotonic clock."""

    status: int
    version: str
    headers: Mapping[str, str]
    body: bytes
    began: float
    ended: float

    @property
    def took(self) -> float:
        """Return the seconds from the request to the answer's end."""
        return self.ended - self.began

    @property
    def from_gateway(self) -> bool:
        """Whether a gateway made the answer or passed it on."""
        return bool(process_of(self.headers))

    @property
    def process(self) -> str:
        """Return what tells the gateway's processes apart; empty where the answer is no gateway's."""
        return process_of(self.headers)

    @property
    def from_provider(self) -> bool:
        """Whether the gateway had chosen a provider before the answer was made."""
        return "x-gateway-provider" in self.headers

    def json(self) -> Any:
        """Parse the body; an empty object where it is no JSON object."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def error(self) -> dict[str, Any]:
        """Return the error of an answer in OpenAI's shape; empty where it has none."""
        found = self.json().get("error")
        return found if isinstance(found, dict) else {}

    def told(self) -> str:
        """Return the status and, where it is an error, its message."""
        message = self.error.get("message")
        return f"status {self.status}: {message}" if message else f"status {self.status}"


def process_of(headers: Mapping[str, str]) -> str:
    """Read the gateway process from an answer's request id; where the header was taken away, from its stand-in."""
    named = headers.get(REQUEST_ID) or headers.get("x-request-id", "")
    return named[:PROCESS_LENGTH] if named.startswith("gw_") else ""


@dataclass(slots=True)
class Recording:
    """A stream as it came. `end` is `whole`, `cut`, `silent` or `left`; empty while it goes on."""

    began: float
    status: int = 0
    version: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    head_at: float = 0.0
    ended: float = 0.0
    end: str = ""
    pieces: list[float] = field(default_factory=list)
    """When bytes came."""
    arrivals: list[float] = field(default_factory=list)
    """When each event came."""
    events: list[dict[str, Any]] = field(default_factory=list)
    comments: int = 0
    body: bytes = b""
    """The beginning of an answer that is no stream."""

    def take(self, piece: bytes, framer: Framer) -> None:
        """Note a piece that came just now."""
        now = monotonic()
        self.pieces.append(now)
        self.body = self.body or piece[:4096]
        for raw in split(framer.feed(piece)):
            data = data_of(raw)
            if not data:
                self.comments += 1
                continue
            try:
                event = orjson.loads(data)
            except orjson.JSONDecodeError:
                continue
            self.arrivals.append(now)
            self.events.append(event if isinstance(event, dict) else {})

    @property
    def finished(self) -> bool:
        """Whether the response's last event came."""
        return bool(self.events) and self.events[-1].get("type") in TERMINAL

    @property
    def response_id(self) -> str:
        """Return the id the stream announced; empty where it did not."""
        first = self.events[0].get("response") if self.events else None
        return str(first.get("id", "")) if isinstance(first, dict) else ""

    @property
    def longest_silence(self) -> float:
        """Return the longest time in which nothing came, from the request to the end."""
        times = [self.began, *self.pieces, self.ended]
        return max((after - before for before, after in pairwise(times)), default=0.0)

    def answer(self) -> Answer:
        """Return the head and the beginning of the body, as of an answer that is no stream."""
        return Answer(self.status, self.version, self.headers, self.body, self.began, self.ended)


def _never(_: Recording) -> bool:
    return False


class Client:
    """What an application does, with one gateway key, at one base URL.

    `connections` counts those that were made. Use as `async with Client(…) as client:`.
    """

    def __init__(self, url: str, key: str, *, tls: ssl.SSLContext | None = None) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self.key_header = "Authorization"
        self.connections = 0
        self.tls = tls
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_end.append(self._count)
        self._session = self._make(tracing, kept=True)
        self._fresh = self._make(tracing, kept=False)

    def _make(self, tracing: aiohttp.TraceConfig, *, kept: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self.tls or True, force_close=not kept, limit=0)
        return aiohttp.ClientSession(
            connector=connector,
            trace_configs=[tracing],
            headers={"User-Agent": f"responses-proxy-doctor/{__version__}"},
        )

    async def _count(self, *_: object) -> None:
        self.connections += 1

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self._session.close()
        await self._fresh.close()

    def at(self, url: str) -> "Client":
        """Return a client with the same key for another base URL."""
        client = Client(url, self.key, tls=self.tls)
        client.key_header = self.key_header
        return client

    def credential(self, key: str | None) -> dict[str, str]:
        """Make the header that carries a key; none for None."""
        if key is None:
            return {}
        return {self.key_header: f"Bearer {key}" if self.key_header == "Authorization" else key}

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        fresh: bool = False,
        patience: float = PATIENCE,
    ) -> Answer:
        """Ask, and read the whole answer; `fresh` is over a connection of its own.

        `body` is JSON or, as bytes or a generator of them, sent as it is. `headers` stand for the key's, where given
        with an empty `Authorization` or `api-key`. Raises Unreachable.
        """
        began = monotonic()
        try:
            async with self._ask(method, path, body, headers or {}, fresh=fresh, patience=patience) as answer:
                content = await answer.read()
        except FOREIGN as error:
            raise Unreachable(reason(error)) from error
        return Answer(answer.status, _version(answer), answer.headers, content, began, monotonic())

    async def record(
        self,
        body: Any,
        *,
        patience: float = PATIENCE,
        enough: Callable[[Recording], bool] = _never,
    ) -> Recording:
        """Create with a stream and note what comes; once it is `enough`, hang up.

        Raises Unreachable where no answer begins.
        """
        recording, framer = Recording(monotonic()), Framer(EVENT_LIMIT)
        stream = {**body, "stream": True}
        try:
            async with self._ask("POST", "/responses", stream, {}, fresh=False, patience=patience) as answer:
                recording.head_at = monotonic()
                recording.status, recording.version = answer.status, _version(answer)
                recording.headers = answer.headers
                async for piece in answer.content.iter_any():
                    recording.take(piece, framer)
                    if enough(recording):
                        recording.end = "left"
                        _hang_up(answer)
                        break
        except FOREIGN as error:
            if not recording.status:
                raise Unreachable(reason(error)) from error
            recording.end = "silent" if isinstance(error, TimeoutError) else "cut"
        recording.end = recording.end or "whole"
        recording.ended = monotonic()
        return recording

    @asynccontextmanager
    async def _ask(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], *, fresh: bool, patience: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = self._fresh if fresh else self._session
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=patience)
        given = {name: value for name, value in {**self.credential(self.key), **headers}.items() if value}
        content = {"json": body} if isinstance(body, dict) else {"data": body}
        async with session.request(
            method, self.url + path, headers=given, timeout=timeout, allow_redirects=False, **content
        ) as answer:
            yield answer


def _hang_up(answer: aiohttp.ClientResponse) -> None:
    """Leave as a process does that ends: by TCP, without a word of TLS that would wait for its answer."""
    if answer.connection is not None and answer.connection.transport is not None:
        answer.connection.transport.abort()
    answer.close()


def _version(answer: aiohttp.ClientResponse) -> str:
    return "HTTP/?" if answer.version is None else f"HTTP/{answer.version.major}.{answer.version.minor}"


def reason(error: BaseException) -> str:
    """Say in a line why there was no answer."""
    if isinstance(error, aiohttp.ServerTimeoutError | asyncio.TimeoutError):
        return "nothing came in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error)
    return str(error) or type(error).__name__
