"""The answer to a translation on its way to the client: in the Responses API whatever the provider speaks, and kept."""

from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import orjson

from proxy.archive import Entry, EventLog
from proxy.bindings import KEPT, Binding
from proxy.delivery import FIRST_REDIRECT, STREAM_LINES, WHOLE_BODY, Delivery, Underway, loss
from proxy.dialects.base import Context, Dialect, Failure
from proxy.dialects.failures import TOO_LARGE
from proxy.dialects.replay import render_replay
from proxy.dialects.responses import tell_previous
from proxy.downstream import Written
from proxy.errors import BadAnswer, PayloadTooLarge
from proxy.headers import render_down, render_names
from proxy.record import Record
from proxy.relay import Outcome
from proxy.tap import EventTap, JsonTap, put_down
from proxy.translating import KeepingTap, TranslatingTap, note_end
from proxy.translation import Translation
from proxy.upstream import Answer, Upstream

OK: Final = 200
JSON_LINES: Final = b"Content-Type: application/json\r\n"
EVENT_LINES: Final = b"Content-Type: text/event-stream; charset=utf-8\r\n"
WRITTEN_ANEW: Final = frozenset({b"content-type"})


class KeptDelivery(Delivery):
    """Passes on what a provider sent that keeps nothing, and keeps the response where the request did not refuse it."""

    __slots__ = ("_bound", "_bound_id", "_ended", "_log", "_translation")

    def __init__(self, underway: Underway, translation: Translation) -> None:
        super().__init__(underway)
        self._translation = translation
        self._log = EventLog(self._services.config.archive.max_response_bytes)
        self._bound = False
        self._bound_id = ""
        self._ended: Callable[[], bytes | None] = lambda: None
        """Returns the response as it ended, as JSON; None before. Raises PayloadTooLarge for one nested too deeply."""

    def _lines(self, answer: Answer) -> bytes:
        return super()._lines(answer) + self._dropped_line()

    def _dropped_line(self) -> bytes:
        names = render_names(self._translation.dropped)
        return b"x-gateway-dropped: %b\r\n" % names if names else b""

    @property
    def _remember(self) -> Callable[[bytes], None]:
        return _ignore if self._translation.keeping is None else self._log.append

    def _tap(self) -> EventTap:
        limit = self._services.config.archive.max_response_bytes
        tap = KeepingTap(self._record, limit=limit, log=self._remember, previous=self._translation.previous)
        self._ended = lambda: None if tap.response is None else _render(tap.response)
        return tap

    async def _pass_on_body(self, upstream: Upstream, answer: Answer, *, json: bool) -> Written:
        previous = self._translation.previous
        if not json or (self._translation.keeping is None and previous is None):
            return await super()._pass_on_body(upstream, answer, json=json)
        body = await self._read_all(answer)
        if previous is not None:
            body = tell_previous(body, previous)
        tap = JsonTap(self._record, self._splice(upstream), max_depth=self._services.config.limits.max_json_depth)
        shown = tap.whole(body)
        if tap.cut_short and not answer.framed:
            raise loss(Outcome.CUT)
        if tap.identified:
            self._ended = lambda: _checked(body)
            await self._bind()
        answer.release()
        return self._downstream.answer(answer.status, self._lines(answer), shown)

    def _splice(self, upstream: Upstream) -> bytes:
        return b'"provider":"%b"' % upstream.kind.name.encode()

    async def _read_all(self, answer: Answer) -> bytes:
        """Read a body to its end. Raises BadAnswer for one that is too large, or has none."""
        body = await self._read_up_to(answer, self._services.config.archive.max_response_bytes)
        if not answer.body.at_eof():
            raise BadAnswer(TOO_LARGE.message, code=TOO_LARGE.code)
        return body

    # -- what is left behind ---------------------------------------------------------------------------------------

    async def _bind(self) -> None:
        keeping, record = self._translation.keeping, self._record
        if keeping is None or not record.response_id:
            return
        began = monotonic()
        if record.response_id != self._bound_id:
            await self._bind_kept(record)
        if self._bound:
            await self._keep()
        self._binding_time += monotonic() - began

    async def _bind_kept(self, record: Record) -> None:
        """Bind the response by the id it has now: some gateways in front of a provider rewrite it in the last event."""
        bindings, before = self._services.bindings, self._bound_id if self._bound else None
        self._bound_id = record.response_id
        self._bound = await bindings.bind(record.response_id, Binding(record.provider, self._caller.tenant, KEPT))
        if before is not None:
            await bindings.forget(before)
        record.bound = monotonic()

    def _entry(self, response: bytes) -> Entry:
        keeping, record = self._translation.keeping, self._record
        assert keeping is not None  # noqa: S101
        return Entry(
            tenant=self._caller.tenant,
            provider=record.provider,
            kind=record.kind,
            model=record.model,
            previous=keeping.previous,
            input=keeping.input,
            response=response,
            events=self._log.blocks() if record.streamed else (),
        )

    async def _keep(self) -> None:
        """Keep the response if it has ended."""
        record = self._record
        try:
            response = self._ended()
            if response is not None:
                await self._services.archive.keep(record.response_id, self._entry(response))
        except PayloadTooLarge as error:
            # The client has it, or will: that it cannot be asked for again must not take it away.
            self._services.log.event("response_not_kept", request_id=record.request_id, reason=error.message)
            await self._services.bindings.forget(record.response_id)


class TranslatedDelivery(KeptDelivery):
    """Passes on the answer of a provider that speaks another format, in the Responses API."""

    __slots__ = ("_context", "_dialect")

    def __init__(self, underway: Underway, translation: Translation, dialect: Dialect, context: Context) -> None:
        super().__init__(underway, translation)
        self._dialect = dialect
        self._context = context

    async def pass_on(self, upstream: Upstream, answer: Answer) -> Written:
        """Choose how to read the answer, and relay it; raises as `Delivery.pass_on` does."""
        if answer.status < FIRST_REDIRECT:
            # What is written has a body, also where 204 said that there is none.
            answer.status = OK
        return await super().pass_on(upstream, answer)

    def _lines(self, answer: Answer) -> bytes:
        record = self._record
        own = EVENT_LINES if record.streamed else JSON_LINES
        return own + super()._lines(answer)

    def _crossing(self, answer: Answer) -> bytes:
        return render_down(answer.raw_headers, answer.status, WRITTEN_ANEW)

    def _is_stream(self, content_type: str) -> bool:
        """Tell by what was asked for; an answer in JSON all the same is an error, or the whole of it."""
        return self._context.create.stream and self._call.operation == "create" and "json" not in content_type

    def _tap(self) -> EventTap:
        self._record.response_id = self._context.response_id
        tap = TranslatingTap(self._dialect.parse_stream(self._context), self._record, self._remember)
        self._ended = lambda: tap.response
        return tap

    async def _pass_on_error(self, upstream: Upstream, answer: Answer) -> Written:
        """Tell the provider's error in the API's terms."""
        body = upstream.redact(await self._read_up_to(answer, WHOLE_BODY))
        answer.close()
        return self._fail(answer, self._dialect.parse_error(answer.status, body))

    def _fail(self, answer: Answer, failure: Failure) -> Written:
        record = self._record
        record.status, record.error_type = failure.status, failure.code
        return self._downstream.answer(failure.status, self._lines(answer), failure.body())

    async def _pass_on_body(self, upstream: Upstream, answer: Answer, *, json: bool) -> Written:  # noqa: ARG002
        body = await self._read_all(answer)
        answer.release()
        if self._call.operation != "create":
            return self._pass_on_count(answer, body)
        response = self._dialect.parse_response(body, self._context)
        if isinstance(response, Failure):
            return self._fail(answer, response)
        content = orjson.dumps(response)
        self._ended = lambda: content
        if not self._context.create.stream:
            put_down(self._record, response)
            await self._bind()
            return self._downstream.answer(200, self._lines(answer), b"%b,%b}" % (content[:-1], self._splice(upstream)))
        # Asked for a stream, the provider answered in one piece.
        self._record.streamed = True
        note_end(self._record, response)
        frames = render_replay(response)
        self._remember(frames)
        await self._bind()
        return self._downstream.answer(200, self._lines(answer) + STREAM_LINES, frames)

    def _pass_on_count(self, answer: Answer, body: bytes) -> Written:
        count = self._dialect.parse_count(body)
        if count is None:
            raise BadAnswer("The provider's answer does not tell a number of tokens.")
        counted = orjson.dumps({"object": "response.input_tokens", "input_tokens": count})
        return self._downstream.answer(200, self._lines(answer), counted)


def _checked(body: bytes) -> bytes:
    """Return a response in JSON. Raises PayloadTooLarge for one that could not be written again."""
    with suppress(orjson.JSONDecodeError):
        _render(orjson.loads(body))
    return body


def _render(response: Any) -> bytes:
    """Render a response. Raises PayloadTooLarge for one that could not be, within an event or a list of items."""
    try:
        orjson.dumps([[[response]]])
        return orjson.dumps(response)
    except orjson.JSONEncodeError:
        raise PayloadTooLarge("The response is nested too deeply.") from None


def _ignore(_frames: bytes) -> None:
    """Remember nothing."""
