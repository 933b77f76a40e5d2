"""Two gateways on one Redis are one: what one of them binds the other routes, at once and with no header."""

import asyncio

import pytest

from tests.flows.calls import PLAIN, STREAMED
from tests.rig import scripts, wire
from tests.rig.gateway import bearer, gateway
from tests.rig.settings import ALICE, ALICE_KEY, BOB_KEY, config

VIA_SECOND = [("x-tfy-provider-name", "second")]
DELETED = {"object": "response", "deleted": True}


@pytest.fixture
async def replicas(upstream, second_upstream, valkey):
    """Give two gateways whose default is not the provider that the tests' responses come from."""
    replicated = config(upstream, second_upstream, default_provider="main")
    async with gateway(replicated, redis_url=valkey.url) as one, gateway(replicated, redis_url=valkey.url) as other:
        yield one, other


def keep(upstream, rid, **fields):
    """Make the provider hold a response: everything about it answers."""
    kept = scripts.json_answer(wire.response_object(rid, **fields))
    upstream.on("POST", "/v1/responses", kept)
    upstream.on("GET", f"/v1/responses/{rid}", kept)
    upstream.on("POST", f"/v1/responses/{rid}/cancel", kept)
    upstream.on("GET", f"/v1/responses/{rid}/input_items", scripts.json_answer({"object": "list", "data": []}))
    upstream.on("DELETE", f"/v1/responses/{rid}", scripts.json_answer({"id": rid, **DELETED}))


async def made(gw, upstream, rid, how):
    """Create a response through one gateway; yield once its id has reached the client, at whatever stage it is."""
    gate = asyncio.Event()
    body = {"json": PLAIN, "stream": STREAMED, "background": {**PLAIN, "background": True}}[how]
    if how == "stream":
        upstream.on("POST", "/v1/responses", scripts.sse_answer(wire.stream_events(rid), gates={1: gate}))
    async with gw.connect() as client:
        await client.request("POST", "/v1/responses", headers=[*bearer(ALICE_KEY), *VIA_SECOND], json=body)
        answer = await client.answer()
        await (answer.read_events(1) if how == "stream" else answer.read())
        assert rid.encode() in answer.body
        yield
        gate.set()
        await answer.read()
    yield


CALLS = {
    "retrieve": ("GET", "", None),
    "retrieve stream": ("GET", "?stream=true", None),
    "input_items": ("GET", "/input_items", None),
    "cancel": ("POST", "/cancel", None),
    "continue": ("POST", None, "previous_response_id"),
    "delete": ("DELETE", "", None),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("how", ["json", "stream", "background"])
async def test_response_is_known_to_the_other_gateway_at_once(how, call, replicas, upstream, second_upstream):
    """The id is bound before its client has read it, so that no second request can be too early."""
    rid = wire.new_id()
    keep(second_upstream, rid)
    one, other = replicas
    making = made(one, second_upstream, rid, how)
    await anext(making)
    if how == "stream":
        second_upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(wire.new_id())))
    if call == "retrieve stream":
        second_upstream.on("GET", f"/v1/responses/{rid}", scripts.sse_answer(wire.stream_events(rid)))
    method, below, field = CALLS[call]
    target = "/v1/responses" if below is None else f"/v1/responses/{rid}{below}"
    answer = await other.fetch(method, target, json=None if field is None else {**PLAIN, field: rid})
    assert (answer.status, answer.header("x-gateway-provider")) == (200, "second"), answer.body
    async for _ in making:
        pass
    assert second_upstream.requests[-1].method == method
    assert not upstream.requests


async def test_conversation_is_known_to_the_other_gateway(replicas, upstream, second_upstream):
    """Created through one, continued, read, extended and deleted through the other."""
    one, other = replicas
    cid = wire.new_id("conv")
    conversation = {"id": cid, "object": "conversation", "created_at": 1, "metadata": {}}
    second_upstream.on("POST", "/v1/conversations", scripts.json_answer(conversation))
    for method in ("GET", "POST", "DELETE"):
        second_upstream.on(method, f"/v1/conversations/{cid}*", scripts.json_answer(conversation))
    second_upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(wire.new_id())))
    assert (await one.fetch("POST", "/v1/conversations", headers=VIA_SECOND, json={})).status == 200
    path = f"/v1/conversations/{cid}"
    calls = [
        ("POST", "/v1/responses", {**PLAIN, "conversation": cid}),
        ("POST", "/v1/responses", {**PLAIN, "conversation": {"id": cid}}),
        ("GET", path, None),
        ("POST", f"{path}/items", {"items": []}),
        ("DELETE", f"{path}/items/msg_1", None),
        ("GET", f"{path}/items/msg_1", None),
        ("DELETE", path, None),
    ]
    for method, target, body in calls:
        answer = await other.fetch(method, target, json=body)
        assert (answer.status, answer.header("x-gateway-provider")) == (200, "second"), (method, target)
    assert (await other.fetch("GET", path)).status == 404
    assert not upstream.requests


async def test_bindings_survive_a_restart(upstream, second_upstream, valkey):
    """A gateway that starts with nothing but Redis knows what the one before it bound."""
    rid = wire.new_id()
    keep(second_upstream, rid)
    replicated = config(upstream, second_upstream, default_provider="main")
    async with gateway(replicated, redis_url=valkey.url) as gw:
        assert (await gw.fetch("POST", "/v1/responses", headers=VIA_SECOND, json=PLAIN)).status == 200
    async with gateway(replicated, redis_url=valkey.url) as gw:
        assert (await gw.fetch("GET", f"/v1/responses/{rid}")).header("x-gateway-provider") == "second"
        assert (await gw.fetch("GET", f"/v1/responses/{rid}", key=BOB_KEY)).status == 404


async def bound(gw, upstream):
    rid = wire.new_id()
    keep(upstream, rid)
    assert (await gw.fetch("POST", "/v1/responses", headers=VIA_SECOND, json=PLAIN)).status == 200
    return rid


FAILURES = {
    "error": (scripts.json_answer({"error": {"message": "try later"}}, 500), 500),
    "refused": (scripts.json_answer({"error": {"message": "in use"}}, 409), 409),
    "died": (scripts.no_answer(), 502),
    "cut": (scripts.cut_json({"id": "x", **DELETED}, 9), 502),
    "html": (scripts.html_answer(502), 502),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_delete_keeps_the_binding_when_the_provider_does_not_confirm(failure, replicas, second_upstream, valkey):
    """What may still be there stays the tenant's, through either gateway."""
    one, other = replicas
    rid = await bound(one, second_upstream)
    script, status = FAILURES[failure]
    second_upstream.on("DELETE", f"/v1/responses/{rid}", script)
    answer = await one.fetch("DELETE", f"/v1/responses/{rid}")
    assert answer.status == status
    assert len(valkey.keys()) == 1
    for gw in replicas:
        assert (await gw.fetch("GET", f"/v1/responses/{rid}")).status == 200
    second_upstream.on("DELETE", f"/v1/responses/{rid}", scripts.json_answer({"id": rid, **DELETED}))
    assert (await other.fetch("DELETE", f"/v1/responses/{rid}")).status == 200
    assert not valkey.keys()


@pytest.mark.parametrize("confirmation", [scripts.json_answer(DELETED), scripts.empty_answer(204)], ids=["json", "204"])
async def test_delete_forgets_the_binding_once_the_provider_confirmed(confirmation, replicas, second_upstream, valkey):
    """The id is unknown to both; neither asks the provider again."""
    one, other = replicas
    rid = await bound(one, second_upstream)
    second_upstream.on("DELETE", f"/v1/responses/{rid}", confirmation)
    confirmed = await one.fetch("DELETE", f"/v1/responses/{rid}")
    assert confirmed.status in (200, 204)
    assert not valkey.keys()
    asked = len(second_upstream.requests)
    for gw in (one, other):
        for method in ("GET", "DELETE"):
            answer = await gw.fetch(method, f"/v1/responses/{rid}")
            assert answer.status == 404
            assert answer.json()["error"]["message"] == f"Response with id '{rid}' not found."
    assert len(second_upstream.requests) == asked


async def test_delete_is_relayed_by_a_gateway_that_still_remembers(replicas, second_upstream):
    """It forwards what it takes for its caller's, and the provider's 404 is as good as its own."""
    one, other = replicas
    rid = await bound(one, second_upstream)
    assert (await other.fetch("GET", f"/v1/responses/{rid}")).status == 200
    gone = {"error": {"message": "gone for good", "type": "invalid_request_error", "param": None, "code": None}}
    second_upstream.on(
        "DELETE",
        f"/v1/responses/{rid}",
        scripts.json_answer({"id": rid, **DELETED}),
        scripts.json_answer(gone, 404),
    )
    assert (await one.fetch("DELETE", f"/v1/responses/{rid}")).status == 200
    second = await other.fetch("DELETE", f"/v1/responses/{rid}")
    assert (second.status, second.json()) == (404, gone)


async def test_second_delete_is_the_providers_to_answer_when_there_is_one_tenant(upstream, valkey):
    """Unknown ids are forwarded there, a deleted one too."""
    rid = wire.new_id()
    keep(upstream, rid)
    gone = {"error": {"message": "gone for good"}}
    script = scripts.json_answer({"id": rid, **DELETED}), scripts.json_answer(gone, 404)
    upstream.on("DELETE", f"/v1/responses/{rid}", *script)
    async with gateway(config(upstream, keys=[ALICE]), redis_url=valkey.url) as gw:
        assert (await gw.fetch("POST", "/v1/responses", json=PLAIN)).status == 200
        first, second = [await gw.fetch("DELETE", f"/v1/responses/{rid}") for _ in range(2)]
    assert (first.status, second.status, second.json()) == (200, 404, gone)


async def test_response_that_is_not_stored_is_not_bound(replicas, second_upstream, valkey):
    """There is nothing to come back for, except where it runs in the background."""
    one, other = replicas
    rid = wire.new_id()
    keep(second_upstream, rid)
    unstored = {**PLAIN, "store": False}
    await one.fetch("POST", "/v1/responses", headers=VIA_SECOND, json=unstored)
    assert not valkey.keys()
    assert (await other.fetch("GET", f"/v1/responses/{rid}")).status == 404
    await one.fetch("POST", "/v1/responses", headers=VIA_SECOND, json={**unstored, "background": True})
    assert (await other.fetch("GET", f"/v1/responses/{rid}")).status == 200


async def test_binding_expires_after_its_days(upstream, valkey):
    """Redis is told how long; nothing the gateway keeps there stays for good."""
    keep(upstream, wire.new_id())
    async with gateway(config(upstream, bindings={"ttl_days": 2}), redis_url=valkey.url) as gw:
        await gw.fetch("POST", "/v1/responses", json=PLAIN)
    (key,) = valkey.keys()
    assert 0 < valkey.run("TTL", key) <= 2 * 86_400
    assert len(valkey.run("GET", key)) < 32
