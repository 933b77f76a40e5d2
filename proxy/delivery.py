"""One provider's answer on its way to the client: how it is read, relayed, bound and ended."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from proxy.auth import Caller
from proxy.bindings import BACKGROUND, CONVERSATION, Binding
from proxy.downstream import Downstream, Written
from proxy.errors import BadAnswer, Draining, GatewayError
from proxy.headers import find, render_down
from proxy.record import Record
from proxy.relay import Outcome, Relay
from proxy.services import Call, Services
from proxy.tap import EventTap, JsonTap, RawTap, StreamTap, Tap
from proxy.upload import Upload
from proxy.upstream import FOREIGN, Answer, Upstream, mapped

WHOLE_BODY = 65_536
"""Bytes of a body that are read whole before its head goes on: an error, or JSON that announces its length."""
STREAM_LINES = b"Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n"
SPLICED = frozenset({"create", "retrieve"})
FIRST_REDIRECT, FIRST_ERROR = 300, 400

LOSSES = {
    Outcome.CUT: ("upstream_cut", "The provider's connection broke before the response was complete."),
    Outcome.WHOLE: ("upstream_cut", "The provider closed the stream before the response was complete."),
    Outcome.IDLE: ("idle_timeout", "The provider fell silent before the response was complete."),
    Outcome.STOPPED: ("drained", "The gateway is restarting; the response is not complete."),
}


class Underway(NamedTuple):
    """An exchange whose request has been sent. `client_gone`: the response goes on without its client."""

    services: Services
    call: Call
    caller: Caller
    upload: Upload | None
    downstream: Downstream
    record: Record
    client_gone: bool


class Delivery:
    """The answer to one exchange, as its provider sent it."""

    __slots__ = (
        "_binding_time",
        "_call",
        "_caller",
        "_client_gone",
        "_downstream",
        "_record",
        "_relay",
        "_services",
        "_task",
        "_upload",
    )

    def __init__(self, underway: Underway) -> None:
        self._services = underway.services
        self._call = underway.call
        self._caller = underway.caller
        self._upload = underway.upload
        self._downstream = underway.downstream
        self._record = underway.record
        self._client_gone = underway.client_gone
        self._task = asyncio.current_task(underway.downstream.connection.loop)
        self._binding_time = 0.0
        self._relay: Relay | None = None

    def stop(self) -> None:
        """End the answer: the gateway is going away."""
        if self._relay is not None:
            self._relay.stop()
        elif self._task is not None:
            self._task.cancel()

    async def pass_on(self, upstream: Upstream, answer: Answer) -> Written:
        """Choose how to read the answer, and relay it.

        Raises GatewayError while the status is still open, CancelledError when the client leaves.
        """
        record = self._record
        record.status = answer.status
        named = find(answer.raw_headers, b"x-request-id")
        if named is not None:
            record.upstream_request_id = upstream.redact(named).decode("utf-8", "replace")
        if answer.status >= FIRST_ERROR:
            return await self._pass_on_error(upstream, answer)
        if answer.status >= FIRST_REDIRECT:
            raise BadAnswer("The provider answered with a redirect; its base_url is not the final one.")
        content_type = answer.headers.get("Content-Type", "").lower()
        if self._is_stream(content_type):
            return await self._pass_on_stream(answer)
        return await self._pass_on_body(upstream, answer, json="json" in content_type)

    def _is_stream(self, content_type: str) -> bool:
        return content_type.startswith("text/event-stream")

    def _lines(self, answer: Answer) -> bytes:
        """Render the header lines of the answer: the provider's that cross, and the gateway's own."""
        record = self._record
        lines = self._services.upstreams[record.provider].redact(self._crossing(answer))
        return lines + own_lines(record, named=find(answer.raw_headers, b"x-request-id") is not None)

    def _crossing(self, answer: Answer) -> bytes:
        """Render what of the provider's head the client is told."""
        return render_down(answer.raw_headers, answer.status)

    # -- bodies that are not streams -------------------------------------------------------------------------------

    async def _pass_on_error(self, upstream: Upstream, answer: Answer) -> Written:
        """Pass a provider's error on as it is, whatever its shape, but for credentials it repeats."""
        body = await self._read_up_to(answer, WHOLE_BODY)
        self._record.error_type = upstream.kind.parse_error(upstream.redact(body)).code or str(answer.status)
        if not answer.body.at_eof():
            tap = upstream.redacting()
            head = self._downstream.head(answer.status, self._lines(answer), None)
            self._downstream.write(tap.feed(body, 0.0), head)
            return await self._relay_body(answer, tap)
        answer.release()
        return self._downstream.answer(answer.status, self._lines(answer), upstream.redact(body))

    async def _pass_on_body(self, upstream: Upstream, answer: Answer, *, json: bool) -> Written:
        """Pass on a body that is no stream; a small one in one piece, so that a failure can still be told."""
        if not json:
            return await self._relay_body(answer, RawTap())
        splice = b'"provider":"%b"' % upstream.kind.name.encode() if self._call.operation in SPLICED else b""
        tap = JsonTap(self._record, splice, max_depth=self._services.config.limits.max_json_depth)
        if not answer.body.is_eof() and (self._background or not 0 < _announced(answer) <= WHOLE_BODY):
            return await self._relay_body(answer, tap)
        body = tap.whole(_complete(answer) or await self._read_up_to(answer, WHOLE_BODY))
        if tap.cut_short and not answer.framed:
            raise loss(Outcome.CUT)
        if tap.identified:
            await self._bind()
        if self._call.forgets:
            await self._confirm()
        answer.release()
        return self._downstream.answer(answer.status, self._lines(answer), body)

    async def _read_up_to(self, answer: Answer, limit: int) -> bytes:
        """Read a body to its end, or until there is more than `limit` of it; some keep it alive by white space."""
        body = answer.body
        began = monotonic()
        pieces: list[bytes] = []
        read, idle = 0, self._services.upstreams[self._record.provider].timeouts.idle
        try:
            async with asyncio.timeout(idle) as patience:
                while not body.at_eof() and read <= limit:
                    pieces.append(await body.readany())
                    read += len(pieces[-1])
                    patience.reschedule(answer.connection.loop.time() + idle)
        except TimeoutError as error:
            raise BadAnswer("The provider fell silent in the middle of its answer.") from error
        except FOREIGN as error:
            raise mapped(error) from error
        finally:
            self._record.waited += monotonic() - began
        return b"".join(pieces)

    async def _relay_body(self, answer: Answer, tap: JsonTap | RawTap) -> Written:
        record, downstream = self._record, self._downstream
        length = _announced(answer) if isinstance(tap, RawTap) and _announced(answer) >= 0 else None
        head = None if downstream.head_sent else lambda: downstream.head(answer.status, self._lines(answer), length)
        outcome = await self._run(answer, tap, head)
        if outcome is Outcome.WHOLE and tap.cut_short and not answer.framed:
            outcome = Outcome.CUT
        if outcome is Outcome.WHOLE:
            if self._call.forgets:
                await self._confirm()
            answer.release()
            if not downstream.head_sent:
                return downstream.answer(answer.status, self._lines(answer), b"")
            return downstream.finish()
        answer.close()
        if outcome is Outcome.STALLED:
            return downstream.abort()
        record.error_type, _ = LOSSES[outcome]
        if not downstream.head_sent:
            raise loss(outcome)
        return downstream.abort()

    # -- streams ---------------------------------------------------------------------------------------------------

    def _tap(self) -> EventTap:
        """Make the reader of a stream."""
        return StreamTap(self._record, limit=self._services.config.limits.look_ahead_bytes)

    async def _pass_on_stream(self, answer: Answer) -> Written:
        record, downstream = self._record, self._downstream
        record.streamed = True
        tap = self._tap()
        lines = self._lines(answer) + STREAM_LINES
        try:
            with self._services.metrics.streaming(record.provider):
                outcome = await self._run(answer, tap, lambda: downstream.head(answer.status, lines, None))
        except asyncio.CancelledError:
            record.end = record.end or "client_gone"
            raise
        if tap.finished and outcome is not Outcome.STALLED:
            if tap.abandoned:
                answer.close()
                downstream.keep_alive = False
            answer.release()
            return downstream.finish()
        answer.close()
        if outcome is Outcome.STALLED:
            record.end = "client_gone"
            return downstream.abort()
        return await self._end_loudly(tap, outcome)

    async def _end_loudly(self, tap: EventTap, outcome: Outcome) -> Written:
        """End a stream that has no end of its own: by an event where one can be placed, by a broken connection else."""
        record, downstream = self._record, self._downstream
        record.end, message = LOSSES[outcome]
        record.error_type = record.end
        if not downstream.head_sent:
            raise loss(outcome)
        end = record.end
        event = tap.broken("server_error", message)
        record.end = record.error_type = end
        if event is None:
            return downstream.abort()
        if tap.identified:
            await self._bind()
        downstream.write(event)
        downstream.keep_alive = False
        return downstream.finish()

    async def _run(self, answer: Answer, tap: Tap, head: Callable[[], bytes] | None) -> Outcome:
        """Relay a body; where the response is a background one, to its end even without a client."""
        record = self._record
        timeouts = self._services.upstreams[record.provider].timeouts
        self._relay = relay = Relay(answer, self._downstream, tap, head, timeouts)
        if self._client_gone:
            relay.detach()
        began, binding = monotonic(), self._binding_time
        try:
            while True:
                try:
                    return await relay.run(self._bind)
                except asyncio.CancelledError:
                    if not self._outlives_client():
                        raise
                    relay.detach()
        finally:
            relay.close()
            record.waited += monotonic() - began - (self._binding_time - binding)

    def _outlives_client(self) -> bool:
        """Take the cancellation back, once, where the response is to go on without its client."""
        if self._client_gone or not self._background or self._task is None:
            return False
        self._client_gone = True
        self._task.uncancel()
        return True

    # -- bindings --------------------------------------------------------------------------------------------------

    @property
    def _background(self) -> bool:
        return self._upload is not None and self._upload.envelope.background

    async def _bind(self) -> None:
        """Bind the id the answer carries to its provider and tenant, where it can be asked for again."""
        flags = self._binding_flags()
        if flags is None:
            return
        record = self._record
        began = monotonic()
        binding = Binding(record.provider, self._caller.tenant, flags)
        await self._services.bindings.bind(record.response_id, binding)
        record.bound = monotonic()
        self._binding_time += record.bound - began

    def _binding_flags(self) -> int | None:
        if self._call.operation == "create" and self._upload is not None:
            envelope = self._upload.envelope
            stored = envelope.store is not False or envelope.background
            return (BACKGROUND if envelope.background else 0) if stored else None
        if self._call.operation == "conversations" and self._call.id is None:
            return CONVERSATION
        return None

    async def _confirm(self) -> None:
        """Forget a binding once the provider has confirmed that what it leads to is gone."""
        if self._call.id is not None:
            await self._services.bindings.forget(self._call.id)


def own_lines(record: Record, *, named: bool = False) -> bytes:
    """Render the gateway's own header lines; its id of a request stands for the provider's, unless that `named` one."""
    request_id = record.request_id.encode()
    lines = b"x-gateway-provider: %b\r\nx-gateway-request-id: %b\r\n" % (record.provider.encode(), request_id)
    return lines if named else lines + b"x-request-id: %b\r\n" % request_id


def loss(outcome: Outcome) -> GatewayError:
    """Make the error for a body that was lost before any of it was passed on."""
    _, message = LOSSES[outcome]
    return Draining(message, retry_after=1) if outcome is Outcome.STOPPED else BadAnswer(message)


def _complete(answer: Answer) -> bytes:
    """Return an answer's body where it has come with its head; else nothing."""
    body = answer.body
    return body.read_nowait(-1) if body.is_eof() and body.exception() is None else b""


def _announced(answer: Answer) -> int:
    """Return how long an answer's body will be, -1 where its head does not tell."""
    announced = answer.headers.get("Content-Length", "")
    return int(announced) if announced.isdigit() and "Content-Encoding" not in answer.headers else -1
