"""One exchange, from request to settled record: each phase one named call, in the order of `Exchange.run`."""

import asyncio
from time import monotonic

from proxy.admission import Admission
from proxy.auth import Caller
from proxy.delivery import Delivery
from proxy.downstream import Downstream, Written
from proxy.record import Record
from proxy.routing import Route
from proxy.sending import Sending
from proxy.services import Call, Services
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
        request, record, admission = self._downstream.request, self._record, self._admission
        try:
            route = await admission.route()
            upstream = self._enter(route)
            with self._services.metrics.serving(upstream.name):
                sending = Sending(self._services, self._call, route, admission, request=request, record=record)
                self._sending = sending
                answer = await sending.answer()
                self._delivery = delivery = self._deliver(client_gone=sending.client_gone)
                try:
                    return await delivery.pass_on(upstream, answer)
                except BaseException:
                    answer.close()
                    raise
        finally:
            if admission.upload is not None:
                record.bytes_in = admission.upload.received
                record.waited += admission.upload.waited

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
        upstream = self._services.upstreams[route.provider]
        record = self._record
        record.provider, record.kind, record.otel_provider = upstream.name, upstream.kind.name, upstream.kind.otel_name
        record.routed = monotonic()
        upstream.check_operation(self._call.operation)
        return upstream

    def _deliver(self, *, client_gone: bool) -> Delivery:
        return Delivery(
            self._services,
            self._call,
            self._caller,
            upload=self._admission.upload,
            downstream=self._downstream,
            record=self._record,
            client_gone=client_gone,
        )
