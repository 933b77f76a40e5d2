"""A request that goes up in another form than its client's: read whole, completed from what is kept, rendered.

Two reasons there are: the provider speaks another format, or it keeps no responses, so that what a request continues
has to be told to it again.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from proxy import __version__
from proxy.admission import Admission
from proxy.auth import Caller
from proxy.dialects.base import Context, Dialect, Rendered
from proxy.dialects.create import Create, read_create, refuse_depth
from proxy.dialects.identity import identify_items
from proxy.dialects.items import Image
from proxy.dialects.media import data_url
from proxy.dialects.remote import Remote, put_in, remote_parts
from proxy.errors import BadRequest, PayloadTooLarge
from proxy.headers import render, render_up
from proxy.record import Record
from proxy.references import References
from proxy.routing import Route
from proxy.services import Call, Services
from proxy.upload import Upload
from proxy.upstream import Upstream

MIN_ROOM = 512
"""Bytes that an answer takes at least."""
MAX_REMOTE = 500
"""Images and documents that are fetched for one request, as many as OpenAI takes images."""
USER_AGENT = ("User-Agent", f"responses-proxy/{__version__}")


class Prepared(NamedTuple):
    """A request the gateway wrote itself: the target below the provider's base URL, header lines, the body."""

    target: str
    lines: bytes
    body: bytes


class Keeping(NamedTuple):
    """What is kept of a request once it is answered: its own input items, and the response it continues."""

    input: list[dict[str, Any]]
    previous: str | None


@dataclass(frozen=True, slots=True)
class Translation:
    """A request in the provider's form, and what the way back has to know of it.

    `dialect` and `context` are None where the provider answers in the Responses API itself. `dropped` names what of
    the request the provider is not told. `keeping` is None where nothing is to be left behind. `previous` is the id of
    the response it continues where the provider, which answers in the API itself, does not know it.
    """

    prepared: Prepared
    dialect: Dialect | None
    context: Context | None
    keeping: Keeping | None
    dropped: tuple[str, ...]
    previous: str | None = None


class Translating:
    """Makes one translation."""

    def __init__(self, services: Services, call: Call, caller: Caller, admission: Admission, record: Record) -> None:
        self._services = services
        self._call = call
        self._caller = caller
        self._admission = admission
        self._record = record
        self._response_id = f"resp_{secrets.token_hex(24)}"
        self._room = services.config.archive.max_response_bytes
        self._fetchable = services.config.limits.max_translated_body_bytes

    async def translate(self, upload: Upload, route: Route) -> Translation:
        """Read the request and render it. Every check of the admission has passed before anything is looked up.

        Raises BadRequest, Forbidden, NotFound, PayloadTooLarge, RequestTimeout or BindingsUnavailable.
        """
        body = await self._read(upload)
        await self._admission.check(route)
        upstream, model = self._services.upstreams[route.provider], self._record.model
        if not model:
            raise BadRequest("The request names no 'model'.", code="missing_required_parameter", param="model")
        own = identify_items(body.get("input"), self._response_id)
        references = References(self._services, self._caller)
        history = await references.history(body.get("previous_response_id"))
        resolved = await references.resolve(own)
        dialect = upstream.dialect(model)
        if dialect is None:
            refuse_depth(body)
            keeping = self._keeping(body, own)
            items = [*history, *resolved] if history or resolved is not own else None
            prepared, dropped = self._render_native(upstream, body, items)
            previous = body.get("previous_response_id") if self._call.operation == "create" else None
            return Translation(prepared, None, None, keeping, dropped, previous)
        create = read_create({**body, "input": resolved}, upstream.name, model, history=history, hosted=dialect.hosted)
        keeping = self._keeping(body, own)
        create = await self._fetch(create, dialect)
        rendered = self._render(dialect, create)
        prepared = Prepared(rendered.path, self._lines(rendered, upstream), rendered.body)
        return Translation(prepared, dialect, self._context(create), keeping, rendered.dropped)

    async def _read(self, upload: Upload) -> dict[str, Any]:
        content = await upload.whole(self._services.config.limits.max_translated_body_bytes)
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"The request's body cannot be read as JSON: {error}.", code="invalid_json") from error
        assert isinstance(body, dict)  # noqa: S101  # the envelope was read
        return body

    def _keeping(self, body: Mapping[str, Any], own: list[dict[str, Any]]) -> Keeping | None:
        """Tell what is to be kept, and how much room that leaves for the answer. Raises PayloadTooLarge for none."""
        if self._call.operation != "create" or body.get("store") is False:
            return None
        self._room -= len(orjson.dumps(own))
        if self._room < MIN_ROOM:
            limit = self._services.config.archive.max_response_bytes
            raise PayloadTooLarge(
                f"The input leaves no room for an answer within the {limit} bytes that are kept of a response and its "
                "input. Set 'store' to false to have it all the same.",
                param="store",
            )
        return Keeping(own, body.get("previous_response_id"))

    def _context(self, create: Create) -> Context:
        limit = self._room
        return Context(create, self._response_id, int(time.time()), time.time, limit)

    async def _fetch(self, create: Create, dialect: Dialect) -> Create:
        """Put the content in the place of URLs that the provider would not follow, no more than a body may hold."""
        parts = remote_parts(create, dialect.fetches)
        if not parts:
            return create
        if len(parts) > MAX_REMOTE:
            raise BadRequest(f"More than {MAX_REMOTE} URLs would have to be fetched for this provider.", param="input")
        began = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                fetching = {part: group.create_task(self._fetch_one(part)) for part in parts}
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._record.waited += time.monotonic() - began
        return put_in(create, {part: task.result() for part, task in fetching.items()})

    async def _fetch_one(self, part: Remote) -> str:
        field = "image_url" if isinstance(part, Image) else "file_url"
        fetched = await self._services.fetcher.fetch(part.url or "", f"{part.param}.{field}")
        self._fetchable -= len(fetched.content)
        if self._fetchable < 0:
            limit = self._services.config.limits.max_translated_body_bytes
            raise PayloadTooLarge(f"What the request's URLs lead to is over {limit} bytes in all.", param="input")
        return data_url(fetched.type, fetched.content)

    def _render(self, dialect: Dialect, create: Create) -> Rendered:
        if self._call.operation == "create":
            return dialect.render_request(create)
        if dialect.render_count is None:
            raise BadRequest("This provider does not count tokens.", code="unsupported_operation")
        return dialect.render_count(create)

    def _lines(self, rendered: Rendered, upstream: Upstream) -> bytes:
        headers = (USER_AGENT, *rendered.headers)
        return render(pair for pair in headers if pair[0].lower().encode() not in upstream.own_headers)

    def _render_native(
        self, upstream: Upstream, body: Mapping[str, Any], items: list[dict[str, Any]] | None
    ) -> tuple[Prepared, tuple[str, ...]]:
        """Render a request for the Responses API of a provider that keeps nothing."""
        for name in ("background", "conversation"):
            if body.get(name):
                raise BadRequest(f"{name} is not available with this provider.", param=name)
        told = {name: value for name, value in body.items() if name != "previous_response_id"}
        told["model"] = self._record.model
        if items is not None:
            told["input"] = [_untold(item) for item in items]
        if told.get("store") is not False:
            told.pop("store", None)
        fitted, dropped = upstream.kind.fit_request(told)
        lines = render_up(self._admission.request.raw_headers, upstream.own_headers)
        return Prepared(self._call.target, lines, orjson.dumps(fitted)), dropped


def _untold(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item of a request as clients write it: ids and statuses of what the model did not say are ours."""
    if item.get("type") not in ("function_call_output", "custom_tool_call_output", "message"):
        return item
    if item.get("role") == "assistant":
        return item
    return {name: value for name, value in item.items() if name not in ("id", "status")}
