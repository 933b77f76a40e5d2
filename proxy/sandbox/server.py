"""The sandbox provider: a Responses API on loopback that needs no key and no network.

It stands behind the gateway like any other provider, for the demo, load tests and self-tests. It repeats what it is
told; beyond that a request decides by what it holds:

- a prompt that contains the name of a function tool, or a `tool_choice` that insists, gets a call of that function
  with the smallest arguments its schema admits; `text.format` with a JSON schema gets the smallest instance;
- `metadata: {"events_per_second": "50"}` sets the pace of its stream, and of its progress in the background; so does
  the header `x-sandbox-events-per-second`, for requests without that;
- `metadata: {"words": "200"}` sets the length of its text; `max_output_tokens` below that makes it incomplete;
- `metadata: {"silence": "75"}` makes it silent for as many seconds, in the middle of its stream or before its JSON;
- `metadata: {"status": "503"}` makes it refuse with that status, behind the silence.

Answers are kept in memory, up to a number and a weight; the oldest go first. Any model name and any key will do.
A client that leaves a stream cancels the response, unless it runs in the background.
"""

import asyncio
import contextlib
import math
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Any

import orjson
import uvloop
from aiohttp import web

from proxy import sse
from proxy.dialects.paging import listing, page
from proxy.dialects.replay import unfinished
from proxy.errors import BadRequest, GatewayError, MethodNotAllowed, NotFound, PayloadTooLarge
from proxy.sandbox import scripted
from proxy.sandbox.kept import Kept, Shelf
from proxy.sandbox.scripted import Json

MAX_BODY_BYTES = 67_108_864
MODEL = {"id": "sandbox", "object": "model", "created": 1_767_225_600, "owned_by": "responses-proxy"}
PACE_HEADER = "x-sandbox-events-per-second"
STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(
    *, events_per_second: float = 0, kept_entries: int = 100_000, kept_bytes: int = 67_108_864
) -> web.Application:
    """Return the provider as an application, its paths under `/v1`.

    `events_per_second` is the pace of requests that ask for none; 0 is as fast as it goes. Responses and
    conversations are each kept up to `kept_entries` and `kept_bytes`. Run it with `handler_cancellation`, or
    a client that leaves is noticed at the next write only.
    """
    sandbox = Sandbox(events_per_second, Shelf(kept_entries, kept_bytes), Shelf(kept_entries, kept_bytes))
    app = web.Application(middlewares=[_render_errors], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(_name_request)
    app.add_routes(sandbox.routes())
    return app


def serve(control_fd: int) -> int:
    """Serve on a free loopback port until the other end of a connected socket closes.

    Writes the base URL and a newline to it once connections are accepted.
    """
    # A terminal's Ctrl-C and a service manager's SIGTERM reach the whole group, and the gateway still has
    # streams to drain: it says when the sandbox goes, by closing the socket.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=control_fd) as control:
        uvloop.run(_serve(control))
    return 0


async def _serve(control: socket.socket) -> None:
    control.settimeout(0)
    runner = web.AppRunner(application(), handler_cancellation=True, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(control, f"http://127.0.0.1:{runner.addresses[0][1]}/v1\n".encode())
            while await loop.sock_recv(control, 256):
                continue
    finally:
        await runner.cleanup()


@web.middleware
async def _render_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except GatewayError as raised:
        error = raised
    except web.HTTPNotFound:
        error = NotFound(f"Invalid URL ({request.method} {request.path})")
    except web.HTTPMethodNotAllowed:
        error = MethodNotAllowed(f"Not allowed to {request.method} on {request.path}.")
    except web.HTTPRequestEntityTooLarge:
        error = PayloadTooLarge(f"The request is larger than {MAX_BODY_BYTES} bytes.")
    return _json(error.body(), status=error.status)


async def _name_request(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["x-request-id"] = f"req_{token_hex(16)}"


def _json(value: Any, *, status: int = 200) -> web.Response:
    body = value if isinstance(value, bytes) else scripted.render(value)
    return web.Response(body=body, status=status, content_type="application/json")


async def _read(request: web.Request) -> Json:
    try:
        body = orjson.loads(await request.read() or b"{}")
    except (orjson.JSONDecodeError, web.RequestPayloadError):
        body = None
    if not isinstance(body, dict):
        raise BadRequest("We could not parse the JSON body of your request: it must be a JSON object.")
    return body


class Sandbox:
    """The endpoints, over what is kept of responses and conversations."""

    def __init__(self, pace: float, responses: Shelf[Kept], conversations: Shelf[bytes]) -> None:
        self._pace = pace
        self._responses = responses
        self._conversations = conversations

    def routes(self) -> list[web.RouteDef]:
        """Return what is served, by method and path."""
        one, conversation = "/v1/responses/{id}", "/v1/conversations/{id}"
        return [
            web.post("/v1/responses", self.create),
            web.post("/v1/responses/compact", self.compact),
            web.post("/v1/responses/input_tokens", self.input_tokens),
            web.get(one, self.retrieve),
            web.delete(one, self.delete),
            web.post(f"{one}/cancel", self.cancel),
            web.get(f"{one}/input_items", self.input_items),
            web.post("/v1/conversations", self.create_conversation),
            web.get(conversation, self.retrieve_conversation),
            web.post(conversation, self.update_conversation),
            web.delete(conversation, self.delete_conversation),
            web.post(f"{conversation}/items", self.create_items),
            web.get(f"{conversation}/items", self.list_items),
            web.get(f"{conversation}/items/{{item}}", self.retrieve_item),
            web.delete(f"{conversation}/items/{{item}}", self.delete_item),
            web.get("/v1/models", self.models),
            web.get("/v1/models/{id}", self.model),
        ]

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /responses`."""
        body = await _read(request)
        wish = scripted.check(body)
        if wish.status is not None:
            await asyncio.sleep(wish.silence)
            return _json(scripted.REFUSAL, status=wish.status)
        items, context = self._input(body)
        response = scripted.answer(body, items, context, words=wish.words, now=int(time.time()))
        asked = (wish.events_per_second, scripted.parse_pace(request.headers.get(PACE_HEADER), PACE_HEADER), self._pace)
        pace = next(pace for pace in asked if pace is not None)
        kept = Kept.begin(response, items, pace=pace, now=time.monotonic(), silence=wish.silence)
        if response["store"] or kept.background:
            self._responses.put(response["id"], kept, kept.size)
        if not kept.background:
            return await self._foreground(request, kept, streamed=body.get("stream") is True)
        self._converse(kept)
        if body.get("stream"):
            return await self._stream(request, kept)
        return _json(unfinished(response, "queued"))

    async def _foreground(self, request: web.Request, kept: Kept, *, streamed: bool) -> web.StreamResponse:
        """Answer in full; the response is cancelled where its client leaves before the last event."""
        answer: web.StreamResponse = _json(kept.final)
        finished, kept.finished = kept.finished, math.inf
        try:
            if streamed:
                answer = await _open_stream(request)
                await _play(answer, kept)
            else:
                await asyncio.sleep(finished - kept.started)
        except (ConnectionError, asyncio.CancelledError):
            kept.cancel(time.monotonic())
            raise
        kept.finished = kept.started
        self._converse(kept)
        if streamed:
            await answer.write_eof()
        return answer

    async def _stream(self, request: web.Request, kept: Kept, after: int = -1) -> web.StreamResponse:
        answer = await _open_stream(request)
        await _play(answer, kept, after)
        await answer.write_eof()
        return answer

    def _input(self, body: Json) -> tuple[list[Json], list[Json]]:
        """Return a request's own items, and those before them in the chain or the conversation."""
        previous, conversation = body.get("previous_response_id"), body.get("conversation")
        if previous is not None and conversation is not None:
            message = "Mutually exclusive parameters: 'previous_response_id' and 'conversation'."
            raise BadRequest(message, code="mutually_exclusive_parameters")
        if previous is not None:
            context = self._chain(previous)
        elif conversation is not None:
            context = self._conversation(scripted.conversation_id(conversation))["items"]
        elif body.get("input") is None and body.get("prompt") is None:
            raise scripted.missing("input")
        else:
            context = []
        return scripted.parse_items(body.get("input")), context

    def _chain(self, previous: str) -> list[Json]:
        kept = self._responses.get(previous)
        if kept is None:
            raise BadRequest(
                f"Previous response with id '{previous}' not found.",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        turns: list[list[Json]] = []
        while kept is not None:
            answered = orjson.loads(kept.snapshot(time.monotonic()))["output"]
            turns.append(orjson.loads(kept.items) + answered)
            kept = self._responses.get(kept.previous) if kept.previous else None
        return [item for turn in reversed(turns) for item in turn]

    def _kept(self, request: web.Request) -> Kept:
        name = request.match_info["id"]
        kept = self._responses.get(name)
        if kept is None:
            raise NotFound(f"Response with id '{name}' not found.")
        return kept

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /responses/{id}`, as a stream where the query asks for one."""
        kept = self._kept(request)
        if request.query.get("stream") != "true":
            return _json(kept.snapshot(time.monotonic()))
        after = request.query.get("starting_after", "-1")
        if not after.removeprefix("-").isdecimal():
            raise BadRequest("Invalid type for 'starting_after': expected an integer.", param="starting_after")
        return await self._stream(request, kept, int(after[:9]))

    async def delete(self, request: web.Request) -> web.Response:
        """Answer `DELETE /responses/{id}`."""
        self._kept(request).cancel(time.monotonic())
        self._responses.remove(request.match_info["id"])
        return _json({"id": request.match_info["id"], "object": "response", "deleted": True})

    async def cancel(self, request: web.Request) -> web.Response:
        """Answer `POST /responses/{id}/cancel`; a response that has ended stays as it is."""
        kept = self._kept(request)
        if not kept.background:
            raise BadRequest("Cannot cancel a synchronous response.")
        kept.cancel(time.monotonic())
        return _json(kept.snapshot(time.monotonic()))

    async def input_items(self, request: web.Request) -> web.Response:
        """Answer `GET /responses/{id}/input_items`."""
        return _json(page(orjson.loads(self._kept(request).items), request.query))

    async def compact(self, request: web.Request) -> web.Response:
        """Answer `POST /responses/compact`."""
        body = await _read(request)
        scripted.check(body)
        items, context = self._input(body)
        return _json(scripted.compaction(context + items, int(time.time())))

    async def input_tokens(self, request: web.Request) -> web.Response:
        """Answer `POST /responses/input_tokens`."""
        body = await _read(request)
        items, context = self._input(body)
        count = scripted.count_tokens(context + items, body.get("instructions"))
        return _json({"object": "response.input_tokens", "input_tokens": count})

    def _conversation(self, name: str) -> Json:
        found = self._conversations.get(name)
        if found is None:
            raise NotFound(f"Conversation with id '{name}' not found.")
        conversation: Json = orjson.loads(found)
        return conversation

    def _keep(self, conversation: Json) -> web.Response:
        kept = scripted.render(conversation)
        self._conversations.put(conversation["id"], kept, len(kept))
        return _json({name: value for name, value in conversation.items() if name != "items"})

    def _converse(self, kept: Kept) -> None:
        """Add a turn to the conversation it belongs to, if that is still there."""
        response = orjson.loads(kept.final)
        name = response.get("conversation", {}).get("id")
        if name is not None and self._conversations.get(name) is not None:
            conversation = self._conversation(name)
            conversation["items"] += orjson.loads(kept.items) + response["output"]
            self._keep(conversation)

    async def create_conversation(self, request: web.Request) -> web.Response:
        """Answer `POST /conversations`."""
        body = await _read(request)
        return self._keep(
            {
                "id": scripted.new_id("conv"),
                "object": "conversation",
                "created_at": int(time.time()),
                "metadata": body.get("metadata") or {},
                "items": scripted.parse_items(body.get("items"), "items"),
            }
        )

    async def retrieve_conversation(self, request: web.Request) -> web.Response:
        """Answer `GET /conversations/{id}`."""
        return self._keep(self._conversation(request.match_info["id"]))

    async def update_conversation(self, request: web.Request) -> web.Response:
        """Answer `POST /conversations/{id}`."""
        metadata = (await _read(request)).get("metadata") or {}
        return self._keep({**self._conversation(request.match_info["id"]), "metadata": metadata})

    async def delete_conversation(self, request: web.Request) -> web.Response:
        """Answer `DELETE /conversations/{id}`."""
        name = request.match_info["id"]
        self._conversation(name)
        self._conversations.remove(name)
        return _json({"id": name, "object": "conversation.deleted", "deleted": True})

    async def create_items(self, request: web.Request) -> web.Response:
        """Answer `POST /conversations/{id}/items`."""
        body = await _read(request)
        conversation = self._conversation(request.match_info["id"])
        items = scripted.parse_items(body.get("items"), "items")
        self._keep({**conversation, "items": conversation["items"] + items})
        return _json(listing(items))

    async def list_items(self, request: web.Request) -> web.Response:
        """Answer `GET /conversations/{id}/items`."""
        return _json(page(self._conversation(request.match_info["id"])["items"], request.query))

    async def retrieve_item(self, request: web.Request) -> web.Response:
        """Answer `GET /conversations/{id}/items/{item_id}`."""
        return _json(self._item(request)[1])

    async def delete_item(self, request: web.Request) -> web.Response:
        """Answer `DELETE /conversations/{id}/items/{item_id}` with the conversation."""
        conversation, item = self._item(request)
        conversation["items"].remove(item)
        return self._keep(conversation)

    def _item(self, request: web.Request) -> tuple[Json, Json]:
        conversation = self._conversation(request.match_info["id"])
        name = request.match_info["item"]
        for item in conversation["items"]:
            if item["id"] == name:
                return conversation, item
        raise NotFound(f"Item with id '{name}' not found.")

    async def models(self, _request: web.Request) -> web.Response:
        """Answer `GET /models`."""
        return _json({"object": "list", "data": [MODEL]})

    async def model(self, request: web.Request) -> web.Response:
        """Answer `GET /models/{id}`."""
        name = request.match_info["id"]
        if name != MODEL["id"]:
            raise NotFound(f"The model '{name}' does not exist.", code="model_not_found", param="model")
        return _json(MODEL)


async def _open_stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers=STREAM_HEADERS)
    await answer.prepare(request)
    return answer


async def _play(answer: web.StreamResponse, kept: Kept, after: int = -1) -> None:
    """Write the events beyond a sequence number, each when it is due and in a write of its own."""
    if kept.stop is not None and kept.stop <= after:
        return
    for number, event in enumerate(kept.events()):
        if number <= after:
            continue
        # Also where nothing is to wait for: writes within one turn of the loop leave as one.
        await asyncio.sleep(max(0.0, kept.due(number) - time.monotonic()))
        last = kept.cut(number)
        sent = last or event
        await answer.write(sse.encode(sent["type"], scripted.render(sent)))
        if last is not None:
            return
