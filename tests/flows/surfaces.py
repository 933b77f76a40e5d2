"""Every surface that takes an id: how to ask there, for what nobody knows and for what somebody owns."""

from typing import Any, NamedTuple

import orjson

from tests.rig import scripts, wire
from tests.rig.settings import ALICE_KEY

REQUEST_IDS = {"x-request-id", "x-gateway-request-id"}
CONVERSED = {"model": "gpt-4o-mini", "input": "on"}


class Surface(NamedTuple):
    """One way to name an id: in the path, or in the body under a field; `wrap` is how the field carries it."""

    name: str
    method: str
    target: str
    field: str = ""
    wrap: Any = str
    body: dict[str, Any] | None = None
    conversation: bool = False

    def request(self, owned):
        """Make the arguments of one request that names this id."""
        body = self.body
        if self.field:
            body = {**CONVERSED, **(body or {}), self.field: self.wrap(owned)}
        return {"method": self.method, "target": self.target.replace("{id}", owned), "json": body}


def _as_object(owned):
    return {"id": owned}


RESPONSES = [
    Surface("retrieve", "GET", "/v1/responses/{id}"),
    Surface("retrieve with include", "GET", "/openai/v1/responses/{id}?include%5B%5D=reasoning.encrypted_content"),
    Surface("retrieve stream", "GET", "/v1/responses/{id}?stream=true&starting_after=1"),
    Surface("delete", "DELETE", "/v1/responses/{id}"),
    Surface("cancel", "POST", "/v1/responses/{id}/cancel"),
    Surface("cancel with a body", "POST", "/v1/responses/{id}/cancel", body={}),
    Surface("input_items", "GET", "/v1/responses/{id}/input_items?limit=2"),
    Surface("create", "POST", "/v1/responses", "previous_response_id"),
    Surface("create stream", "POST", "/api/llm/responses", "previous_response_id", body={"stream": True}),
    Surface("create background", "POST", "/v1/responses", "previous_response_id", body={"background": True}),
    Surface("compact", "POST", "/v1/responses/compact", "previous_response_id"),
    Surface("input_tokens", "POST", "/v1/responses/input_tokens", "previous_response_id"),
]
CONVERSATIONS = [
    Surface("conversation", "GET", "/v1/conversations/{id}"),
    Surface("update conversation", "POST", "/v1/conversations/{id}", body={"metadata": {}}),
    Surface("delete conversation", "DELETE", "/v1/conversations/{id}"),
    Surface("add items", "POST", "/v1/conversations/{id}/items", body={"items": []}),
    Surface("list items", "GET", "/v1/conversations/{id}/items?limit=1"),
    Surface("item", "GET", "/v1/conversations/{id}/items/msg_1"),
    Surface("delete item", "DELETE", "/v1/conversations/{id}/items/msg_1"),
    Surface("converse", "POST", "/v1/responses", "conversation"),
    Surface("converse by object", "POST", "/v1/responses", "conversation", _as_object),
    Surface("converse stream", "POST", "/responses", "conversation", _as_object, {"stream": True}),
    Surface("input_tokens of it", "POST", "/v1/responses/input_tokens", "conversation"),
    Surface("compact of it", "POST", "/v1/responses/compact", "conversation"),
]
SURFACES = [*RESPONSES, *(surface._replace(conversation=True) for surface in CONVERSATIONS)]


async def own(gw, upstream, surface, key=ALICE_KEY):
    """Make, as alice, what the surface is about; return its id. Everything else the provider then answers with 418."""
    prefix = "conv" if surface.conversation else "resp"
    owned = wire.new_id(prefix)
    target = "/v1/conversations" if surface.conversation else "/v1/responses"
    made = {"id": owned, "object": "conversation"} if surface.conversation else wire.response_object(owned)
    upstream.on("POST", target, scripts.json_answer(made), upstream_unscripted)
    answer = await gw.fetch("POST", target, key=key, json={} if surface.conversation else CONVERSED)
    assert answer.status == 200, answer.body
    return owned


async def upstream_unscripted(exchange):
    """Answer, like the rig for what no script foresees, with a status no gateway makes up."""
    await scripts.json_answer({"error": {"message": "asked"}}, 418)(exchange)


def told(answer, named):
    """Return all that an answer tells, but for the id that was asked about and the ids of the request."""
    headers = [(name, value) for name, value in answer.headers if name.lower() not in REQUEST_IDS]
    return answer.status, headers, answer.body.replace(named.encode(), b"ID"), answer.end


def message(answer):
    """Return an error's message."""
    return orjson.loads(answer.body)["error"]["message"]
