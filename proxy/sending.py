"""The request on its way up: connection, head, body as it arrives, and the head of the answer.

Nothing is sent twice, but for one case: a pooled connection that turned out stale before a byte came back,
with everything sent so far still at hand.
"""

import asyncio
from time import monotonic

from proxy.admission import Admission
from proxy.errors import Disconnected, FirstByteTimeout, UpstreamError
from proxy.headers import render_up
from proxy.record import Record
from proxy.routing import Route
from proxy.services import Call, Services
from proxy.translation import Prepared
from proxy.upstream import Answer, Line, Upstream

LAST_CHUNK = b"0\r\n\r\n"
FIRST_ERROR = 400


class Sending:
    """One request to one provider: the client's own, on its way, or one `prepared` in its place."""

    __slots__ = (
        "_admission",
        "_call",
        "_chunked",
        "_complete",
        "_may_grow",
        "_prepared",
        "_record",
        "_replay_limit",
        "_request",
        "_route",
        "_sent",
        "_signed",
        "_upstream",
        "client_gone",
        "stopped",
    )

    def __init__(
        self,
        services: Services,
        call: Call,
        route: Route,
        admission: Admission,
        *,
        record: Record,
        prepared: Prepared | None = None,
    ) -> None:
        self._upstream: Upstream = services.upstreams[route.provider]
        self._may_grow = services.router.may_rewrite(route.provider)
        self._replay_limit = services.config.limits.look_ahead_bytes
        self._call = call
        self._route = route
        self._admission = admission
        self._request = admission.request
        self._record = record
        self._prepared = prepared
        self._signed: bytes | None = None
        self._sent: bytearray | None = bytearray()
        self._complete = False
        self._chunked = False
        self.client_gone = False
        self.stopped = False

    async def answer(self) -> Answer:
        """Send the request, return the head of its answer.

        Raises GatewayError; CancelledError when the client leaves, except where the response is `background`:
        then `client_gone` is set and the answer is waited for.
        """
        await self._admission.check(self._route)
        if self._upstream.signs:
            self._signed = await self._sign()
        line = await self._connect(fresh=False)
        try:
            return await self._over(line)
        except UpstreamError as error:
            if not isinstance(error, Disconnected) or not line.stale or self._sent is None:
                error.retry_safe = error.retry_safe or not self._complete
                raise
        self._record.retried = True
        # The stale connection may have interrupted a check of what the body had just said.
        await self._admission.check(self._route)
        try:
            return await self._over(await self._connect(fresh=True))
        except UpstreamError as error:
            # What went over the stale connection was complete: the provider may have acted on it.
            error.retry_safe = error.retry_safe and not self._complete
            raise

    async def _sign(self) -> bytes:
        prepared = self._prepared
        if prepared is None:
            return await self._upstream.sign(self._request.method, self._call.target)
        return await self._upstream.sign("POST", prepared.target, prepared.body)

    async def _connect(self, *, fresh: bool) -> Line:
        began = monotonic()
        try:
            return await self._upstream.connect(fresh=fresh)
        finally:
            self._record.connected = monotonic()
            self._record.waited += self._record.connected - began

    async def _over(self, line: Line) -> Answer:
        upload = self._admission.upload
        began, counted = monotonic(), upload.waited if upload is not None else 0.0
        try:
            if self._sent:
                line.write(bytes(self._sent))
            if self._complete or self._prepared or upload is None or (upload.ended and not self._sent):
                if not self._complete:
                    self._put_whole(line)
                answer = await self._wait(line)
            else:
                answer = await self._stream(line)
        except BaseException:
            line.close()
            raise
        finally:
            # An upload counts itself what it waited for the client.
            own = upload.waited - counted if upload is not None else 0.0
            self._record.waited += monotonic() - began - own
        self._record.head_received = monotonic()
        return answer

    def _put(self, line: Line, data: bytes) -> None:
        """Write, and keep what was written while it is little enough to be written again."""
        if self._sent is not None:
            self._sent += data
            if len(self._sent) > self._replay_limit:
                self._sent = None
        line.write(data)

    def _head(self, framing: bytes) -> bytes:
        if self._prepared is not None:
            return self._upstream.head("POST", self._prepared.target, self._prepared.lines, framing, self._signed)
        lines = render_up(self._request.raw_headers, self._upstream.own_headers)
        return self._upstream.head(self._request.method, self._call.target, lines, framing, self._signed)

    def _put_whole(self, line: Line) -> None:
        upload = self._admission.upload
        self._complete = True
        if self._prepared is not None:
            body = self._prepared.body
            self._put(line, self._head(b"Content-Length: %d\r\n" % len(body)) + body)
        elif upload is not None:
            upload.start(may_grow=False)
            body = upload.release_all()
            self._put(line, self._head(b"Content-Length: %d\r\n" % len(body)) + body)
        else:
            self._put(line, self._head(b"" if self._request.method == "GET" else b"Content-Length: 0\r\n"))

    async def _wait(self, line: Line) -> Answer:
        """Wait for the answer to a request that is sent; a background response survives its client."""
        while True:
            try:
                return await line.answer()
            except asyncio.CancelledError:
                if not self._survives():
                    raise
                self.client_gone = True

    def _survives(self) -> bool:
        """Tell whether the exchange goes on without its client, and if so take the cancellation back."""
        upload = self._admission.upload
        task = asyncio.current_task()
        if self.stopped or self.client_gone or upload is None or not upload.envelope.background or task is None:
            return False
        task.uncancel()
        return True

    async def _stream(self, line: Line) -> Answer:
        """Send the body as it arrives while watching for an answer that does not wait for it."""
        sending = asyncio.create_task(self._put_body(line))
        answering = asyncio.create_task(line.answer(bounded=False))
        try:
            await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
            # A provider that refuses may hang up at once: its answer counts, not that nothing could be sent any more.
            if answering.done() and not (sending.done() and sending.exception() is None):
                answer = answering.result()
                if answer.status >= FIRST_ERROR:
                    answer.reusable = False
                    return answer
            await sending
            await self._wait_for_head(answering)
            return answering.result()
        finally:
            sending.cancel()
            answering.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)

    async def _wait_for_head(self, answering: asyncio.Task[Answer]) -> None:
        """Wait as `_wait` does, for an answer that was watched for while the body went up."""
        timeout = self._upstream.timeouts.first_byte
        while not answering.done():
            try:
                await asyncio.wait({answering}, timeout=timeout)
            except asyncio.CancelledError:
                if not self._survives():
                    raise
                self.client_gone = True
            else:
                if not answering.done():
                    raise FirstByteTimeout(f"The provider sent no byte within {timeout:g} s.")

    async def _put_body(self, line: Line) -> None:
        upload = self._admission.upload
        if upload is None:
            return
        if not self._sent:
            length = upload.start(may_grow=self._may_grow)
            self._chunked = length is None
            framing = b"Transfer-Encoding: chunked\r\n" if length is None else b"Content-Length: %d\r\n" % length
            self._put(line, self._head(framing))
        while not upload.ended:
            self._put(line, self._framed(upload.release()))
            if line.connection.writing_paused:
                await self._wait_for_room(line)
            await upload.more()
            await self._admission.check(self._route)
        self._complete = True
        self._put(line, self._framed(upload.release_all()) + (LAST_CHUNK if self._chunked else b""))

    async def _wait_for_room(self, line: Line) -> None:
        timeout = self._upstream.timeouts.idle
        try:
            async with asyncio.timeout(timeout):
                await line.connection.writable()
        except TimeoutError as error:
            raise FirstByteTimeout(f"The provider read nothing of the request for {timeout:g} s.") from error

    def _framed(self, piece: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked and piece else piece
