"""Whether a request may go up, and to which provider: reads as little of the body as that takes.

`route` chooses; `check` is asked again whenever more of the body is known, and has to have passed
for the whole envelope before the body's last byte leaves.
"""

from aiohttp import web

from proxy.auth import Caller
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
        "_request",
        "_services",
        "upload",
    )

    def __init__(
        self, services: Services, call: Call, caller: Caller, request: web.BaseRequest, record: Record
    ) -> None:
        self._services = services
        self._call = call
        self._caller = caller
        self._request = request
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
        provider = await self._holder(owned, missing)
        if provider is None:
            route = named or self._services.router.default(self._caller)
            if route is None:
                raise missing
            return route
        return Route(provider, NAMED)

    async def _holder(self, owned: str, missing: GatewayError) -> str | None:
        """Return the provider that holds an id; None where nobody bound it and the caller may try its luck."""
        provider = await self._services.ownership.provider_of(Claim(self._caller, owned, self._header, missing))
        if provider is not None and provider not in self._services.upstreams:
            raise NotFound(f"Provider '{provider}', which holds '{owned}', is no longer configured.")
        return provider

    async def _route_of_references(self, upload: Upload) -> Route | None:
        """Follow what the request continues, where nothing else names a provider."""
        for field in REFERENCES:
            reference = getattr(upload.envelope, field)
            if reference is not None and self._call.reads_envelope:
                provider = await self._claim(field, reference)
                if provider is not None:
                    return Route(provider, DEFAULT)
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
            provider = await self._claim(field, reference)
            if provider is not None and provider != route.provider:
                raise BadRequest(
                    f"'{field}' belongs to provider '{provider}', but the request goes to '{route.provider}'. "
                    f"Name '{provider}' in {PROVIDER_HEADER}.",
                    code="provider_mismatch",
                    param=field,
                )

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

    async def _claim(self, field: str, reference: str) -> str | None:
        missing = previous_response_not_found if field == "previous_response_id" else conversation_not_found
        provider = await self._holder(reference, missing(reference))
        self._checked.add(field)
        return provider

    def _expect_continue(self) -> None:
        if self._request.headers.get("Expect", "").lower() == "100-continue" and self._request.transport is not None:
            self._request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
