"""The HTTP edge: which operation a request asks for, who asks, and an answer in every case."""

import asyncio
import re
import traceback
from time import monotonic
from urllib.parse import unquote

from aiohttp import web

from proxy.auth import Caller, Refused
from proxy.catalogue import Catalogue
from proxy.downstream import Downstream, Written, new_request_id
from proxy.errors import (
    BadRequest,
    Draining,
    GatewayError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    UpgradeRequired,
)
from proxy.exchange import Exchange
from proxy.headers import render
from proxy.record import Record
from proxy.services import Call, Services

CLIENT_CLOSED_REQUEST = 499
"""Logged and counted where the client left before it had an answer; nobody receives it."""

# Methods by the shape of a path: the resource, how many segments, and the last one where it is fixed.
_RESPONSES = {
    (1, ""): {"POST": "create"},
    (2, "compact"): {"POST": "compact"},
    (2, "input_tokens"): {"POST": "input_tokens"},
    (2, ""): {"GET": "retrieve", "DELETE": "delete"},
    (3, "cancel"): {"POST": "cancel"},
    (3, "input_items"): {"GET": "input_items"},
}
_CONVERSATIONS = {1: {"POST"}, 2: {"GET", "POST", "DELETE"}, 3: {"GET", "POST"}, 4: {"GET", "DELETE"}}


def parse_target(prefixes: list[str], method: str, target: str, documented: str) -> Call:
    """Read what a request line asks for.

    `prefixes` end without a slash, the longest first; `documented` is the one that a caller who asks for something else
    is told. Raises BadRequest, NotFound or MethodNotAllowed.
    """
    path, mark, query = _origin_form(target).partition("?")
    if "#" in target:
        raise BadRequest("A request's URL ends before its fragment; write '#' in an id as %23.", code="invalid_url")
    for prefix in [] if _climbs(path) else prefixes:
        if path.startswith(f"{prefix}/"):
            call = _call(method, path[len(prefix) :], mark + query)
            if call is not None:
                return call
    asked = target.partition("?")[0][:256]
    raise NotFound(f"Unknown request URL: {method} {asked}. The API is under {documented}/responses.")


def _origin_form(target: str) -> str:
    """Cut off the scheme and the authority, which a client may put before the path."""
    if target.startswith("/"):
        return target
    _, _, rest = target.partition("://")
    return f"/{rest.partition('/')[2]}"


def _climbs(path: str) -> bool:
    """Tell whether a provider that decodes or normalises a path could take it for another one."""
    if {".", "%", ";"}.isdisjoint(path):
        return False
    decoded = re.split(r"[/\\]", unquote(unquote(path)))
    segments = [name for segment in decoded if (name := segment.partition(";")[0])]
    return not {".", ".."}.isdisjoint(segments) or len(segments) < len([*filter(None, path.split("/"))])


def _call(method: str, path: str, query: str) -> Call | None:
    path = path.removesuffix("/")
    resource, *rest = path[1:].split("/")
    depth = len(rest) + 1
    if "" in rest:
        return None
    if resource == "models":
        return _only(method, {"GET": Call("models", path + query, unquote("/".join(rest)) or None)})
    if resource == "conversations" and depth in _CONVERSATIONS and (depth <= 2 or rest[1] == "items"):  # noqa: PLR2004
        owned = unquote(rest[0]) if rest else None
        call = Call("conversations", path + query, owned, conversation=True, forgets=method == "DELETE" and depth == 2)  # noqa: PLR2004
        return _only(method, dict.fromkeys(_CONVERSATIONS[depth], call))
    if resource != "responses":
        return None
    operations = _RESPONSES.get((depth, rest[-1] if rest else ""))
    if operations is None or method not in operations:
        operations = _RESPONSES.get((depth, ""), operations)
    if operations is None:
        return None
    operation = operations.get(method, "")
    owned = unquote(rest[0]) if operation in {"retrieve", "delete", "cancel", "input_items"} else None
    return _only(method, dict.fromkeys(operations, Call(operation, path + query, owned, forgets=operation == "delete")))


def _only(method: str, calls: dict[str, Call]) -> Call:
    if method not in calls:
        allowed = sorted(calls)
        raise MethodNotAllowed(f"Method {method[:16]} is not allowed here; use {', '.join(allowed)}.", allowed=allowed)
    return calls[method]


class Handlers:
    """Serves every request of a worker. `active` are the exchanges under way."""

    def __init__(self, services: Services, catalogue: Catalogue) -> None:
        self._services = services
        self._catalogue = catalogue
        configured = [prefix.rstrip("/") for prefix in services.config.server.prefixes]
        self._documented = configured[0]
        self._prefixes = sorted(configured, key=len, reverse=True)
        self._creates = {f"{prefix}/responses": Call("create", "/responses") for prefix in self._prefixes}
        self.draining = False
        self.active: set[Exchange] = set()
        self._requests = 0
        self._none_left = asyncio.Event()
        self._none_left.set()

    def drain(self) -> None:
        """Close clients' connections behind the answers they wait for; what still comes is served in the same way."""
        self.draining = True
        for exchange in self.active:
            exchange.be_the_last()

    async def idle(self) -> None:
        """Wait until no request is being served."""
        await self._none_left.wait()

    async def handle(self, request: web.BaseRequest) -> Written:
        """Serve one request; the entry point aiohttp calls."""
        record = Record(new_request_id(), monotonic())
        record.method = request.method
        downstream = Downstream(request, keep_alive=not self.draining)
        self._requests += 1
        self._none_left.clear()
        try:
            return await self._serve(request, downstream, record)
        except GatewayError as error:
            return self._fail(downstream, record, error)
        except asyncio.CancelledError:
            record.status = record.status or CLIENT_CLOSED_REQUEST
            record.error_type = record.error_type or "client_gone"
            raise
        except Exception as error:  # noqa: BLE001
            return self._fail(downstream, record, self._unforeseen(record, error))
        finally:
            self._requests -= 1
            if not self._requests:
                self._none_left.set()
            record.bytes_out = downstream.sent
            self._settle(record)

    async def _serve(self, request: web.BaseRequest, downstream: Downstream, record: Record) -> Written:
        caller = self._authenticate(request, record)
        call = self._parse(request)
        record.operation = call.operation
        if call.operation == "models":
            began = monotonic()
            try:
                body = await self._catalogue.answer(caller, call.id)
            finally:
                record.waited += monotonic() - began
            record.status = 200
            return downstream.answer(200, self._lines(record), body)
        exchange = Exchange(self._services, call, caller, downstream, record)
        self.active.add(exchange)
        try:
            return await exchange.run()
        except asyncio.CancelledError:
            if exchange.stopped and not downstream.head_sent and not downstream.gone:
                raise Draining("The gateway is restarting. Send the request again.", retry_after=1) from None
            raise
        finally:
            self.active.discard(exchange)

    def _authenticate(self, request: web.BaseRequest, record: Record) -> Caller:
        try:
            caller = self._services.keys.caller(request.raw_headers)
        except Refused as refused:
            self._services.metrics.auth_failure(refused.reason)
            raise
        record.caller, record.tenant = caller.name, caller.tenant
        return caller

    def _parse(self, request: web.BaseRequest) -> Call:
        target = request._message.path  # noqa: SLF001  # as sent: ids stay percent-encoded
        call = self._creates.get(target) if request.method == "POST" else None
        if call is not None:
            return call
        upgrade = request.headers.get("Upgrade", "")
        if upgrade.lower() == "websocket" and _origin_form(target).partition("?")[0] in self._creates:
            raise UpgradeRequired("This endpoint does not speak WebSocket; send the request over HTTP.")
        return parse_target(self._prefixes, request.method, target, self._documented)

    def _lines(self, record: Record) -> bytes:
        pairs = [("Content-Type", "application/json"), ("x-gateway-request-id", record.request_id)]
        if record.provider:
            pairs.append(("x-gateway-provider", record.provider))
        return render((*pairs, ("x-request-id", record.request_id)))

    def _fail(self, downstream: Downstream, record: Record, error: GatewayError) -> Written:
        record.error_type = error.code or type(error).__name__
        if downstream.head_sent:
            return downstream.abort()
        record.status = error.status
        if record.streamed and not record.end:
            record.end = "upstream_error"
        return downstream.fail(error, self._lines(record))

    def _unforeseen(self, record: Record, error: Exception) -> GatewayError:
        """Report a defect by where it happened; its message could quote a body."""
        where = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        self._services.log.event("defect", request_id=record.request_id, type=type(error).__name__, where=where)
        return InternalError("The gateway failed to handle the request.", code="internal_error")

    def _settle(self, record: Record) -> None:
        record.ended = monotonic()
        self._services.metrics.settle(record)
        self._services.log.exchange(record)
