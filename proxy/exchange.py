"""One exchange, from request to settled record: each phase one named call, in the order of `Exchange.run`."""

import asyncio
from time import monotonic

from proxy.admission import Admission
from proxy.auth import Caller
from proxy.delivery import Delivery, Underway, own_lines
from proxy.downstream import Downstream, Written
from proxy.kept import Kept
from proxy.ownership import response_not_found
from proxy.record import Record
from proxy.routing import Route
from proxy.sending import Sending
from proxy.services import Call, Services
from proxy.translated import KeptDelivery, TranslatedDelivery
from proxy.translation import Translating, Translation
from proxy.upstream import Upstream


class Exchange:
    """One client request and everything it causes."""

    __slots__ = (
        "_admission",
        "_call",
        "_caller",
        "_delivery",
        "_downstream",
        "_record",
        "_sending",
        "_services",
        "_task",
        "stopped",
    )

    def __init__(self, services: Services, call: Call, caller: Caller, downstream: Downstream, record: Record) -> None:
        self._services = services
        self._call = call
        self._caller = caller
        self._downstream = downstream
        self._record = record
        self._task = asyncio.current_task(downstream.connection.loop)
        self._admission = Admission(services, call, caller, downstream.request, record)
        self._sending: Sending | None = None
        self._delivery: Delivery | None = None
        self.stopped = False

    async def run(self) -> Written:
        """Serve the request.

        Raises GatewayError while the status is still open, CancelledError when the client leaves.
        """
        record, admission = self._record, self._admission
        try:
            route = await admission.route()
            record.provider, record.routed = route.provider, monotonic()
            if route.kept:
                kept = Kept(self._services.archive, self._services.bindings)
                return await kept.answer(self._call, self._downstream, record, own_lines(record))
            upstream = self._enter(route)
            with self._services.metrics.serving(upstream.name):
                return await self._ask(route, upstream)
        finally:
            if admission.upload is not None:
                record.bytes_in = admission.upload.received
                record.waited += admission.upload.waited

    async def _ask(self, route: Route, upstream: Upstream) -> Written:
        """Send the request up, translated where it has to be, and pass the answer on."""
        translation = await self._translate(route) if self._needs_translation(upstream) else None
        self._sending = sending = Sending(
            self._services,
            self._call,
            route,
            self._admission,
            record=self._record,
            prepared=None if translation is None else translation.prepared,
        )
        answer = await sending.answer()
        self._delivery = delivery = self._deliver(translation, client_gone=sending.client_gone)
        try:
            return await delivery.pass_on(upstream, answer)
        except BaseException:
            answer.close()
            raise

    def be_the_last(self) -> None:
        """Close the client's connection behind this exchange."""
        self._downstream.keep_alive = False

    def stop(self) -> None:
        """End the exchange: the gateway is going away."""
        self.stopped = True
        if self._sending is not None:
            self._sending.stopped = True
        if self._delivery is not None:
            self._delivery.stop()
        elif self._task is not None:
            self._task.cancel()

    def _enter(self, route: Route) -> Upstream:
        """Take the provider the request goes to, if it has what is asked of it."""
        upstream = self._services.upstreams[route.provider]
        record, call = self._record, self._call
        record.kind, record.otel_provider = upstream.kind.name, upstream.kind.otel_name
        if call.id is not None and not call.conversation and not upstream.kind.keeps_state:
            self._services.bindings.check_available(call.id)
            raise response_not_found(call.id)
        upstream.check_operation(call.operation)
        return upstream

    def _needs_translation(self, upstream: Upstream) -> bool:
        """Tell whether the request has to be written anew: what the provider does not keep it has to be told."""
        return not upstream.kind.keeps_state and self._call.reads_envelope

    async def _translate(self, route: Route) -> Translation:
        upload = self._admission.upload
        assert upload is not None  # noqa: S101  # a call that reads the envelope has a body
        translating = Translating(self._services, self._call, self._caller, self._admission, self._record)
        return await translating.translate(upload, route)

    def _deliver(self, translation: Translation | None, *, client_gone: bool) -> Delivery:
        state = Underway(
            self._services,
            self._call,
            self._caller,
            upload=self._admission.upload,
            downstream=self._downstream,
            record=self._record,
            client_gone=client_gone,
        )
        if translation is None:
            return Delivery(state)
        if translation.dialect is None or translation.context is None:
            return KeptDelivery(state, translation)
        return TranslatedDelivery(state, translation, translation.dialect, translation.context)
