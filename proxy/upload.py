"""A request body on its way up: decoded, scanned, and held back where it must be.

Bytes may leave as soon as the provider is known. What stays: a `model` still incomplete, which may have to be
replaced, and everything from the closing brace on, until the envelope was read to its end and every check has passed.
"""

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic

import aiohttp
import orjson
from aiohttp import web

from proxy.codings import Decoder, decoder
from proxy.config import Limits
from proxy.envelope import EnvelopeScanner, ScanError
from proxy.errors import BadRequest, PayloadTooLarge, RequestTimeout

IDENTITY = ("", "identity")


class Upload:
    """The body of one request. `received` counts bytes as sent, `waited` the seconds spent waiting for the client."""

    __slots__ = (
        "_content",
        "_decoder",
        "_growth",
        "_held",
        "_length",
        "_limits",
        "_model",
        "_next",
        "_pieces",
        "_released",
        "_scanner",
        "_started",
        "ended",
        "envelope",
        "received",
        "waited",
    )

    def __init__(self, request: web.BaseRequest, limits: Limits) -> None:
        self._content = request.content
        self._limits = limits
        self._scanner = EnvelopeScanner(max_depth=limits.max_json_depth)
        self.envelope = self._scanner.envelope
        """What the body has said so far."""
        self._decoder: Decoder | None = None
        self._length: int | None = request.content_length
        if self._length is not None and self._length > limits.max_body_bytes:
            raise self._too_large()
        if request.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
            raise BadRequest("Transfer-Encoding must be 'chunked' and nothing else.", code="malformed_request")
        coding = ", ".join(request.headers.getall("Content-Encoding", ())).strip().lower()
        if coding not in IDENTITY:
            limit, ratio = limits.max_body_bytes, limits.max_decompression_ratio
            self._decoder = decoder(coding, max_output=limit, max_ratio=ratio)
            self._length = None
        self._pieces: Iterator[bytes] = iter(())
        self._next: bytes | None = None
        self._held = bytearray()
        self._released = 0
        self._model: bytes | None = None
        self._growth = 0
        self._started = False
        self.ended = False
        self.received = 0
        self.waited = 0.0

    @property
    def model_seen(self) -> bool:
        """Whether `model` has been read whole, or can no longer come."""
        return self.ended or self._scanner.seen("model")

    async def look_ahead(self, decided: Callable[[], bool]) -> None:
        """Read until `decided`, the end of the body, or the look-ahead limit."""
        while not self.ended and len(self._held) < self._limits.look_ahead_bytes:
            await self.more()
            if decided():
                return

    async def whole(self, limit: int) -> bytes:
        """Read to the end, and take everything: for a request that is written anew. Raises as `more` does."""
        while not self.ended and len(self._held) <= limit:
            await self.more()
        if len(self._held) > limit:
            raise PayloadTooLarge(f"The request's body is over {limit} bytes, the limit for this provider.")
        return self.release_all()

    async def more(self) -> None:
        """Read and scan what has arrived, waiting for at least one byte.

        Raises BadRequest, PayloadTooLarge or RequestTimeout.
        """
        piece = self._next
        if piece is None:
            self._pieces = self._decode(await self._read())
            piece = next(self._pieces, b"")
        self._scan(piece)
        self._next = next(self._pieces, None)
        if self._next is None and self._content.at_eof():
            self._finish()

    def _decode(self, chunk: bytes) -> Iterator[bytes]:
        return iter((chunk,)) if self._decoder is None else self._decoder.feed(chunk)

    async def _read(self) -> bytes:
        content = self._content
        try:
            chunk = content.read_nowait(-1) if content.is_eof() else await self._wait()
        except (aiohttp.ClientError, web.RequestPayloadError, ValueError) as error:
            raise _broken() from error
        self.received += len(chunk)
        if self.received > self._limits.max_body_bytes:
            raise self._too_large()
        return chunk

    async def _wait(self) -> bytes:
        began = monotonic()
        try:
            async with asyncio.timeout(self._limits.body_timeout):
                return await self._content.readany()
        except TimeoutError as error:
            raise RequestTimeout("The request's body stopped arriving.") from error
        finally:
            self.waited += monotonic() - began

    def _scan(self, piece: bytes) -> None:
        try:
            self._scanner.feed(piece)
        except ScanError as error:
            raise BadRequest(str(error), code=error.code, param=error.param) from error
        self._held += piece
        end, limit = self._scanner.end, self._limits.look_ahead_bytes
        if end is not None and self._released + len(self._held) - end > limit:
            raise PayloadTooLarge(f"The request's body has more than {limit} bytes of white space behind its end.")

    def _finish(self) -> None:
        if self._content.exception() is not None:
            # What came before the broken chunk may look whole.
            raise _broken()
        if self._decoder is not None:
            for piece in self._decoder.close():
                self._scan(piece)
        try:
            self._scanner.close()
        except ScanError as error:
            raise BadRequest(str(error), code=error.code, param=error.param) from error
        self.ended = True

    def rewrite(self, model: str) -> None:
        """Replace the model's name, in place, before its bytes are released."""
        span = self.envelope.model_span
        if span is None:
            return
        token = orjson.dumps(model)
        growth = len(token) - (span[1] - span[0])
        if self._started and self._length is not None:
            # The length is announced: JSON allows blanks behind a value.
            token += b" " * -growth
            growth = 0
        self._model = token
        self._growth = growth

    def start(self, *, may_grow: bool) -> int | None:
        """Return the Content-Length to announce, None for a chunked body; `may_grow`: a longer model may yet come."""
        self._started = True
        if self.ended:
            self._length = len(self._held) + self._growth
        elif self._length is not None:
            self._length = None if may_grow and not self.model_seen else self._length + self._growth
        return self._length

    def release(self) -> bytes:
        """Take what may go up before every check has passed."""
        stop = self._scanner.end if self._scanner.end is not None else self._released + len(self._held)
        if self._scanner.holding is not None:
            stop = min(stop, self._scanner.holding)
        return self._take(stop - self._released)

    def release_all(self) -> bytes:
        """Take the rest: every check has passed."""
        return self._take(len(self._held))

    def _take(self, count: int) -> bytes:
        if count <= 0:
            return b""
        start = self._released
        piece = bytes(self._held[:count])
        del self._held[:count]
        self._released += count
        span = self.envelope.model_span
        if self._model is not None and span is not None and start <= span[0] < self._released:
            piece = piece[: span[0] - start] + self._model + piece[span[1] - start :]
        return piece

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The request's body is over {self._limits.max_body_bytes} bytes.")


def _broken() -> BadRequest:
    return BadRequest("The request's body is not valid HTTP.", code="malformed_request")
