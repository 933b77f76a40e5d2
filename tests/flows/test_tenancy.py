"""What another tenant owns is not there: on every surface, in every shape of request, whoever asks first."""

import gzip
import itertools

import orjson
import pytest
from backports import zstd

from tests.flows.surfaces import CONVERSED, SURFACES, Surface, own, told
from tests.rig import scripts, wire
from tests.rig.gateway import gateway
from tests.rig.http1 import chunk
from tests.rig.settings import ALICE, ALICE_KEY, BOB, BOB_KEY, config

MATE_KEY, NARROW_KEY = "mate-key-0123456789", "narrow-key-0123456789"
MATE = {"name": "mate", "tenant": "team-a", "key": MATE_KEY}
NARROW = {"name": "narrow", "tenant": "team-a", "key": NARROW_KEY, "providers": ["second"]}
EACH_SURFACE = pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
PADDING = "x" * 3_000_000


async def same_for_both(upstreams, key, owned, unknown, ask):
    """Check that a foreign id and one nobody has ever seen get the same answer, and that nobody was asked."""
    asked = [len(upstream.requests) for upstream in upstreams]
    foreign, missing = await ask(key, owned), await ask(key, unknown)
    assert told(foreign, owned) == told(missing, unknown)
    assert foreign.status in (400, 404)
    assert foreign.json()["error"]["message"].endswith("not found.")
    assert [len(upstream.requests) for upstream in upstreams] == asked


@EACH_SURFACE
@pytest.mark.parametrize("asker", ["bob", "narrow"])
async def test_foreign_id_is_answered_like_an_unknown_one(surface, asker, upstream, second_upstream, valkey):
    """Another tenant's key, or one that may not use the provider: the id is not there, and its owner keeps it."""
    keys = [ALICE, BOB, MATE, NARROW]
    own_default = config(upstream, second_upstream, keys=keys, default_provider="main")
    async with gateway(own_default, redis_url=valkey.url) as gw:

        def ask(key, named):
            return gw.fetch(key=key, **surface.request(named))

        owned = await own(gw, upstream, surface)
        unknown = wire.new_id(owned.partition("_")[0])
        upstreams = upstream, second_upstream
        await same_for_both(upstreams, {"bob": BOB_KEY, "narrow": NARROW_KEY}[asker], owned, unknown, ask)
        for key in (ALICE_KEY, MATE_KEY):
            assert (await ask(key, owned)).status == 418
    assert [request.path for request in upstream.requests[1:]] == [upstream.requests[1].path] * 2
    assert not second_upstream.requests


@EACH_SURFACE
@pytest.mark.parametrize("headers", [(), (("x-tfy-provider-name", "main"),)], ids=["no header", "header"])
async def test_foreign_id_is_answered_like_an_unknown_one_by_another_process(surface, headers, upstream, valkey):
    """A process that learns of the id from Redis tells no more than the one that bound it, whatever is named."""
    async with (
        gateway(config(upstream), redis_url=valkey.url) as one,
        gateway(config(upstream), redis_url=valkey.url) as gw,
    ):

        def ask(key, named):
            return gw.fetch(key=key, headers=headers, **surface.request(named))

        owned = await own(one, upstream, surface)
        unknown = wire.new_id(owned.partition("_")[0])
        await same_for_both([upstream], BOB_KEY, owned, unknown, ask)
        assert (await ask(ALICE_KEY, owned)).status == 418


def identity(body):
    return body


CODINGS = {"plain": ((), identity), "zstd": (("zstd",), zstd.compress), "gzip": (("gzip",), gzip.compress)}
CONTINUING = [surface for surface in SURFACES if surface.field]
HUGE = [
    *((surface, "plain") for surface in CONTINUING),
    *itertools.product((s for s in CONTINUING if s.name in {"create", "converse by object"}), ("zstd", "gzip")),
]


@pytest.mark.parametrize(("surface", "coding"), HUGE, ids=lambda part: getattr(part, "name", part))
async def test_foreign_id_behind_megabytes_never_completes_the_request(surface, coding, upstream, valkey):
    """Bytes may have gone up before the id was read: the request they belong to stays unfinished."""
    names, compress = CODINGS[coding]
    headers = [("Content-Type", "application/json"), *(("Content-Encoding", name) for name in names)]

    async with gateway(config(upstream, limits={"max_decompression_ratio": 100_000}), redis_url=valkey.url) as gw:

        def ask(key, named):
            request = surface.request(named)
            huge = {"model": "gpt-4o-mini", "instructions": PADDING, **request["json"]}
            body = compress(orjson.dumps(huge))
            return gw.fetch("POST", request["target"], key=key, headers=headers, body=body)

        owned = await own(gw, upstream, surface)
        unknown = wire.new_id(owned.partition("_")[0])
        bound = valkey.keys()
        foreign, missing = await ask(BOB_KEY, owned), await ask(BOB_KEY, unknown)
        assert told(foreign, owned) == told(missing, unknown)
        assert foreign.status in (400, 404)
        mine = await ask(ALICE_KEY, owned)
        assert mine.status == 418, mine.body
    started = upstream.requests[1:-1]
    assert [request.complete for request in started] == [False, False]
    assert upstream.requests[-1].complete
    assert valkey.keys() == bound


async def test_foreign_id_in_the_last_bytes_is_found_before_the_body_ends(upstream, valkey):
    """The answer comes while the body's end is still owed: the provider saw an opening it cannot act on."""
    surface = Surface("create", "POST", "/v1/responses", "previous_response_id")
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        owned = await own(gw, upstream, surface)
        upstream.on("POST", "/v1/responses", scripts.silence)
        body = orjson.dumps({"model": "gpt-4o-mini", "input": "x", "previous_response_id": owned, "user": "u"})
        head = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        await client.send(head + f"Authorization: Bearer {BOB_KEY}\r\n\r\n".encode(), chunk(body[:40]))
        refused = await upstream.received(2)
        await client.send(chunk(body[40:-1]))
        answer = await client.answer()
        await answer.read()
        await refused.closed.wait()
    assert (answer.status, answer.json()["error"]["code"]) == (400, "previous_response_not_found")
    assert not refused.complete


@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "escaped"])
async def test_foreign_id_is_found_however_it_is_written(escaped, upstream, valkey):
    """JSON escapes and percent-encoding change the bytes of an id, not whose it is."""
    surface = Surface("create", "POST", "/v1/responses", "previous_response_id")
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        owned = await own(gw, upstream, surface)
        name, value = ("previous\\u005fresponse_id", f"\\u0072{owned[1:]}") if escaped else (surface.field, owned)
        body = f'{{"model":"gpt-4o-mini","input":"on","{name}":"{value}"}}'.encode()
        path = f"/v1/responses/%72{owned[1:]}" if escaped else f"/v1/responses/{owned}"
        for key, statuses in ((BOB_KEY, (400, 404)), (ALICE_KEY, (418, 418))):
            created = await gw.fetch("POST", "/v1/responses", key=key, body=body)
            retrieved = await gw.fetch("GET", path, key=key)
            assert (created.status, retrieved.status) == statuses


async def test_first_reader_never_becomes_owner(upstream, valkey):
    """Asking for an id before it exists, or one that nobody bound, gives nobody a claim to it."""
    rid = wire.new_id()
    upstream.on("GET", "/v1/responses/*", scripts.json_answer(wire.response_object(rid)))
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(rid)))
    async with gateway(config(upstream, keys=[BOB]), redis_url=valkey.url) as gw:
        assert (await gw.fetch("GET", f"/v1/responses/{rid}", key=BOB_KEY)).status == 200
    assert not valkey.keys()
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        assert (await gw.fetch("GET", f"/v1/responses/{rid}", key=BOB_KEY)).status == 404
        assert (await gw.fetch("POST", "/v1/responses", json=CONVERSED)).status == 200
        assert (await gw.fetch("GET", f"/v1/responses/{rid}", key=BOB_KEY)).status == 404
        assert (await gw.fetch("GET", f"/v1/responses/{rid}")).status == 200


@pytest.mark.parametrize("processes", [1, 2])
async def test_id_stays_with_its_tenant_when_a_provider_uses_it_again(processes, upstream, valkey):
    """There are servers that let a client choose the id; choosing another tenant's gains nothing."""
    rid = wire.new_id()
    upstream.on("GET", "/v1/responses/*", scripts.json_answer(wire.response_object(rid)))
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(rid)))
    async with (
        gateway(config(upstream), redis_url=valkey.url) as one,
        gateway(config(upstream), redis_url=valkey.url) as other,
    ):
        again = one if processes == 1 else other
        await one.fetch("POST", "/v1/responses", json=CONVERSED)
        await again.fetch("POST", "/v1/responses", key=BOB_KEY, json=CONVERSED)
        for gw, (key, status) in itertools.product((one, other), ((BOB_KEY, 404), (ALICE_KEY, 200))):
            assert (await gw.fetch("GET", f"/v1/responses/{rid}", key=key)).status == status


@pytest.mark.parametrize("path", ["..", "%2e%2e", "..%2fresponses", "a%2f..%2fb", "%252e%252e", "..;x"])
async def test_id_that_climbs_never_reaches_the_provider(path, upstream, valkey):
    """Where unknown ids are forwarded, one that a provider could take for another path is not."""
    async with gateway(config(upstream, keys=[ALICE]), redis_url=valkey.url) as gw:
        answer = await gw.fetch("GET", f"/v1/responses/{path}")
        created = await gw.fetch("POST", "/v1/responses", json={**CONVERSED, "previous_response_id": "../files"})
    assert (answer.status, created.status) == (404, 400)
    assert not upstream.requests


POLICIES = [
    *itertools.product(SURFACES, (None, "refuse")),
    *((surface, "forward") for surface in SURFACES if surface.name in {"retrieve", "create", "conversation"}),
]


@pytest.mark.parametrize(("surface", "policy"), POLICIES, ids=lambda part: getattr(part, "name", part))
async def test_unknown_id_follows_the_policy_when_there_is_one_tenant(
    surface, policy, upstream, second_upstream, valkey
):
    """Forwarded to the provider the header names, else the default one; or refused."""
    named = wire.new_id("conv" if surface.conversation else "resp")
    bindings = {} if policy is None else {"unknown": policy}
    for each in (upstream, second_upstream):
        each.on("POST", "/v1/responses", scripts.json_answer({"error": {"message": "asked"}}, 418))
    single = config(upstream, second_upstream, keys=[ALICE, MATE], bindings=bindings, default_provider="second")
    async with gateway(single, redis_url=valkey.url) as gw:
        default = await gw.fetch(**surface.request(named))
        header = await gw.fetch(headers=[("x-tfy-provider-name", "main")], **surface.request(named))
    if policy == "refuse":
        assert {default.status, header.status} <= {400, 404}
        assert not upstream.requests
        assert not second_upstream.requests
    else:
        assert (default.status, header.status) == (418, 418)
        assert (default.header("x-gateway-provider"), header.header("x-gateway-provider")) == ("second", "main")
        assert (len(upstream.requests), len(second_upstream.requests)) == (1, 1)
    assert not valkey.keys()
