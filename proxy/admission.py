"""Whether a request may go up, and to which provider: reads as little of the body as that takes.

`route` chooses; `check` is asked again whenever more of the body is known, and has to have passed
for the whole envelope before the body's last byte leaves.
"""

from aiohttp import web

from proxy.auth import Caller
from proxy.bindings import KEPT, Binding
from proxy.errors import BadRequest, GatewayError, NotFound
from proxy.ownership import Claim, conversation_not_found, previous_response_not_found, response_not_found
from proxy.record import Record
from proxy.routing import DEFAULT, NAMED, Route
from proxy.services import Call, Services
from proxy.upload import Upload

PROVIDER_HEADER = "x-tfy-provider-name"
REFERENCES = ("previous_response_id", "conversation")


class Admission:
    """The way of one request to its provider's door."""

    __slots__ = (
        "_call",
        "_caller",
        "_checked",
        "_header",
        "_record",
        "_services",
        "request",
        "upload",
    )

    def __init__(
        self, services: Services, call: Call, caller: Caller, request: web.BaseRequest, record: Record
    ) -> None:
        self._services = services
        self._call = call
        self._caller = caller
        self.request = request
        self._record = record
        self._header = request.headers.get(PROVIDER_HEADER)
        self._checked: set[str] = set()
        self.upload: Upload | None = None
        if request.body_exists or request.content_length:
            self.upload = Upload(request, services.config.limits)
        elif call.reads_envelope:
            raise BadRequest("The request has no body; it needs a JSON object.", code="invalid_json")

    async def route(self) -> Route:
        """Choose the provider.

        Raises BadRequest, Forbidden, NotFound or BindingsUnavailable.
        """
        router = self._services.router
        named = router.named(self._caller, self._header) if self._header is not None else None
        if self._call.id is not None:
            route = await self._route_of_id(self._call.id, named)
            self._expect_continue()
            return route
        if self.upload is None:
            return named or self._default(None)
        self._expect_continue()
        found = named or await self._look_ahead(self.upload)
        if named is not None and not self.upload.ended:
            await self.upload.more()
        model = self.upload.envelope.model
        if found is None:
            found = await self._route_of_references(self.upload)
        return self._settle_model(self.upload, found or self._default(model))

    async def _look_ahead(self, upload: Upload) -> Route | None:
        """Read on until the model names a provider, or it is clear that it names none."""
        if not self._call.reads_envelope:
            return None
        router, caller = self._services.router, self._caller
        only = len(router.allowed(caller)) == 1

        found: Route | None = None

        def decided() -> bool:
            nonlocal found
            if upload.model_seen:
                found = router.by_model(caller, upload.envelope.model)
            return found is not None or (only and upload.model_seen)

        await upload.look_ahead(decided)
        return found

    def _default(self, model: str | None) -> Route:
        route = self._services.router.default(self._caller)
        if route is None:
            raise self._services.router.undecided(self._caller, model)
        return route

    async def _route_of_id(self, owned: str, named: Route | None) -> Route:
        missing = conversation_not_found(owned) if self._call.conversation else response_not_found(owned)
        binding = await self._holder(owned, missing)
        if binding is None:
            route = named or self._services.router.default(self._caller)
            if route is None:
                raise missing
            return route
        kept = bool(binding.flags & KEPT)
        if kept and self._call.conversation:
            raise missing
        return Route(binding.provider, NAMED, kept=kept)

    async def _holder(self, owned: str, missing: GatewayError) -> Binding | None:
        """Return what an id is bound to; None where nobody bound it and the caller may try its luck."""
        binding = await self._services.ownership.binding_of(Claim(self._caller, owned, self._header, missing))
        if binding is None:
            return None
        if binding.provider not in self._services.upstreams and not binding.flags & KEPT:
            raise NotFound(f"Provider '{binding.provider}', which holds '{owned}', is no longer configured.")
        return binding

    async def _route_of_references(self, upload: Upload) -> Route | None:
        """Follow what the request continues, where nothing else names a provider."""
        for field in REFERENCES:
            reference = getattr(upload.envelope, field)
            if reference is not None and self._call.reads_envelope:
                binding = await self._claim(field, reference)
                if binding is not None and binding.provider in self._services.upstreams:
                    return Route(binding.provider, DEFAULT)
        return None

    async def check(self, route: Route) -> None:
        """Check what the body has said so far: the model, and whose the things are that it continues.

        Raises as `route` does.
        """
        upload = self.upload
        if upload is None or not self._call.reads_envelope:
            return
        self._settle_model(upload, route)
        for field in REFERENCES:
            reference = getattr(upload.envelope, field)
            if reference is None or field in self._checked:
                continue
            binding = await self._claim(field, reference)
            if binding is not None and not self._continues(binding, route):
                raise BadRequest(
                    f"'{field}' belongs to provider '{binding.provider}', but the request goes to '{route.provider}'. "
                    f"Name '{binding.provider}' in {PROVIDER_HEADER}.",
                    code="provider_mismatch",
                    param=field,
                )

    def _continues(self, binding: Binding, route: Route) -> bool:
        """Tell whether a route can go on with what is bound: what the gateway keeps it tells any that keeps nothing."""
        keeps_state = self._services.upstreams[route.provider].kind.keeps_state
        return not keeps_state if binding.flags & KEPT else binding.provider == route.provider

    def _settle_model(self, upload: Upload, route: Route) -> Route:
        """Settle the model once it is known: whether the caller may use it, and what the provider calls it."""
        if "model" in self._checked or not upload.model_seen or not self._call.reads_envelope:
            return route
        model = upload.envelope.model
        route = self._services.router.complete(self._caller, route, model)
        if route.model is not None and route.model != model:
            upload.rewrite(route.model)
        self._record.model = route.model or model or ""
        self._checked.add("model")
        return route

    async def _claim(self, field: str, reference: str) -> Binding | None:
        missing = previous_response_not_found if field == "previous_response_id" else conversation_not_found
        binding = await self._holder(reference, missing(reference))
        self._checked.add(field)
        return binding

    def _expect_continue(self) -> None:
        if self.request.headers.get("Expect", "").lower() == "100-continue" and self.request.transport is not None:
            self.request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
