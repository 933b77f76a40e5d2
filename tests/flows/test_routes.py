"""Which provider serves a request: the order of what may say so, and what a caller is told whom nothing routes."""

import orjson
import pytest

from tests.flows.calls import PLAIN
from tests.rig import scripts, wire
from tests.rig.gateway import gateway
from tests.rig.settings import ALICE, ALICE_KEY, config

HEADER = "x-tfy-provider-name"
MODELS = {"fast": "second/slow-but-fine", "sharp": "main/gpt-sharp", "vendor/model": "second/vendored"}


def key(name, **fields):
    return {"name": name, "tenant": "team-a", "key": f"{name}-key-0123456789", **fields}


KEYS = [
    ALICE,
    key("narrow", providers=["second"]),
    key("sworn", default_provider="second"),
    key("picky", models=["fast", "main/gpt-5", "plain"]),
    key("both", providers=["main", "second"]),
]

ORDER = [
    # key, header, model, provider, what the provider is asked for
    ("alice", None, "gpt-5", "main", "gpt-5"),
    ("alice", "second", "gpt-5", "second", "gpt-5"),
    ("alice", None, "second/gpt-5", "second", "gpt-5"),
    ("alice", None, "second/org/gpt-5", "second", "org/gpt-5"),
    ("alice", None, "nobody/gpt-5", "main", "nobody/gpt-5"),
    ("alice", None, "second/", "main", "second/"),
    ("alice", None, "fast", "second", "slow-but-fine"),
    ("alice", None, "vendor/model", "second", "vendored"),
    ("alice", "main", "fast", "main", "fast"),
    ("alice", "second", "fast", "second", "slow-but-fine"),
    ("alice", "main", "main/gpt-5", "main", "gpt-5"),
    ("alice", "main", "second/gpt-5", "main", "second/gpt-5"),
    ("sworn", None, "gpt-5", "second", "gpt-5"),
    ("sworn", None, "sharp", "main", "gpt-sharp"),
    ("sworn", None, "main/gpt-5", "main", "gpt-5"),
    ("sworn", "main", "gpt-5", "main", "gpt-5"),
    ("narrow", None, "gpt-5", "second", "gpt-5"),
    ("narrow", None, "fast", "second", "slow-but-fine"),
    ("picky", None, "fast", "second", "slow-but-fine"),
    ("picky", "second", "slow-but-fine", "second", "slow-but-fine"),
    ("picky", None, "gpt-5", "main", "gpt-5"),
    ("picky", None, "main/gpt-5", "main", "gpt-5"),
    ("picky", "second", "plain", "second", "plain"),
]


@pytest.fixture
async def gw(upstream, second_upstream, valkey):
    """Give a gateway with two providers, aliases, and keys that may use less than all of it."""
    for each in (upstream, second_upstream):
        each.on("POST", "/v1/responses", echo)
    routed = config(upstream, second_upstream, keys=KEYS, models=MODELS, default_provider="main")
    async with gateway(routed, redis_url=valkey.url) as running:
        yield running


async def echo(exchange):
    """Answer with a response under an id nobody used."""
    await scripts.json_answer(wire.response_object(wire.new_id()))(exchange)


async def create(gw, name="alice", header=None, **fields):
    headers = [] if header is None else [(HEADER, header)]
    secret = ALICE_KEY if name == "alice" else f"{name}-key-0123456789"
    return await gw.fetch("POST", "/v1/responses", key=secret, headers=headers, json={**PLAIN, **fields})


@pytest.mark.parametrize(("name", "header", "model", "provider", "asked"), ORDER)
async def test_route_is_the_first_thing_that_names_one(
    name, header, model, provider, asked, gw, upstream, second_upstream
):
    """Header, provider/model, alias, the key's default, the file's, the only one."""
    answer = await create(gw, name, header, model=model)
    assert (answer.status, answer.header("x-gateway-provider")) == (200, provider), answer.body
    (request,) = {"main": upstream, "second": second_upstream}[provider].requests
    assert request.json() == {**PLAIN, "model": asked}
    assert len(upstream.requests) + len(second_upstream.requests) == 1


NARROW = "This key may use: second."
REFUSED = [
    # key, header, model, status, code, what the message says besides
    ("alice", "nobody", "gpt-5", 400, "unknown_provider", "This key may use: main, second."),
    ("alice", "", "gpt-5", 400, "unknown_provider", "This key may use: main, second."),
    ("alice", "Main", "gpt-5", 400, "unknown_provider", "This key may use: main, second."),
    ("narrow", "nobody", "gpt-5", 400, "unknown_provider", NARROW),
    ("narrow", "main", "gpt-5", 400, "unknown_provider", NARROW),
    ("narrow", None, "main/gpt-5", 400, "unknown_provider", NARROW),
    ("narrow", None, "sharp", 403, "model_not_allowed", "may not use model 'sharp'"),
    ("picky", None, "sharp", 403, "model_not_allowed", "It may use: fast, main/gpt-5, plain."),
    ("picky", "second", "gpt-5", 403, "model_not_allowed", "It may use: fast, main/gpt-5, plain."),
    ("picky", None, "second/gpt-5", 403, "model_not_allowed", "It may use: fast, main/gpt-5, plain."),
    ("picky", "main", "fast", 403, "model_not_allowed", "It may use: fast, main/gpt-5, plain."),
]


@pytest.mark.parametrize(("name", "header", "model", "status", "code", "says"), REFUSED)
async def test_refusal_says_what_works_and_nothing_of_what_the_caller_may_not_see(
    name, header, model, status, code, says, gw, upstream, second_upstream
):
    """The shape is OpenAI's; a provider that is there but not for this key is not there."""
    answer = await create(gw, name, header, model=model)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    message = answer.json()["error"]["message"]
    assert says in message
    if name == "narrow":
        assert "main" not in message.replace(f"'{header}'", "").replace("'main'", "")
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert not upstream.requests
    assert not second_upstream.requests


async def test_provider_a_key_may_not_use_is_refused_like_one_that_is_not_there(gw):
    """But for the name, which the caller wrote."""
    for field in ("header", "model"):
        said = []
        for name in ("main", "none"):
            asked = {"header": name} if field == "header" else {"model": f"{name}/gpt-5"}
            if field == "model" and name == "none":
                continue
            answer = await create(gw, "narrow", **asked)
            said.append(answer.body.replace(f"'{name}'".encode(), b"NAME"))
        assert len(set(said)) == 1


UNDECIDED = [
    ({"model": "gpt-5"}, "model 'gpt-5'"),
    ({"model": "nobody/gpt-5"}, "model 'nobody/gpt-5'"),
    ({"model": None}, "this request"),
]


@pytest.mark.parametrize(("fields", "subject"), UNDECIDED)
@pytest.mark.parametrize("operation", ["responses", "responses/compact", "responses/input_tokens"])
async def test_request_that_nothing_routes_is_told_how_to_say_it(
    operation, fields, subject, upstream, second_upstream, valkey
):
    """With several providers and no default, somebody has to name one."""
    async with gateway(config(upstream, second_upstream, keys=KEYS[:1]), redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", f"/v1/{operation}", json={**PLAIN, **fields})
        conversation = await gw.fetch("POST", "/v1/conversations", json={})
    for refused, about in ((answer, subject), (conversation, "this request")):
        assert (refused.status, refused.json()["error"]["code"]) == (400, "provider_undecided")
        for said in (about, HEADER, "provider/model", "main, second"):
            assert said in refused.json()["error"]["message"]


async def test_key_with_a_list_of_models_has_to_name_one(gw):
    """A stored prompt could bring any model with it."""
    answer = await create(gw, "picky", model=None)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "model_required")


async def test_models_twice_are_refused_before_anybody_is_asked(gw, upstream, second_upstream):
    """What one parser reads is not what the next one reads."""
    body = b'{"model":"fast","input":"x","model":"main/gpt-forbidden"}'
    answer = await gw.fetch("POST", "/v1/responses", key="picky-key-0123456789", body=body)
    assert answer.status == 400
    assert not upstream.requests
    assert not second_upstream.requests


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "conversation object"])
@pytest.mark.parametrize("padding", [0, 2_000_000], ids=["small", "huge"])
async def test_default_route_follows_what_the_request_continues(field, padding, gw, upstream, second_upstream):
    """Nothing names a provider, so the one that holds what came before serves what comes next."""
    named, wrap = field.partition(" ")[0], (lambda owned: {"id": owned}) if "object" in field else str
    if named == "conversation":
        second_upstream.on("POST", "/v1/conversations", scripts.json_answer({"id": "conv_1", "object": "conversation"}))
        owned = (await gw.fetch("POST", "/v1/conversations", headers=[(HEADER, "second")], json={})).json()["id"]
    else:
        owned = (await create(gw, header="second")).json()["id"]
    before = len(second_upstream.requests)
    continued = {named: wrap(owned), "model": "gpt-5", "input": "x" * padding}
    answer = await gw.fetch("POST", "/v1/responses", body=orjson.dumps(continued))
    assert (answer.status, answer.header("x-gateway-provider")) == (200, "second"), answer.body
    assert second_upstream.requests[before].json() == continued
    assert not upstream.requests


@pytest.mark.parametrize("explicit", [{"header": "main"}, {"model": "main/gpt-5"}, {"model": "sharp"}], ids=str)
@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
async def test_explicit_route_elsewhere_than_what_it_continues_is_a_mismatch(
    explicit, field, gw, upstream, second_upstream
):
    """The provider named would not find it; the owner is told which one does."""
    second_upstream.on("POST", "/v1/conversations", scripts.json_answer({"id": "conv_1", "object": "conversation"}))
    if field == "conversation":
        owned = (await gw.fetch("POST", "/v1/conversations", headers=[(HEADER, "second")], json={})).json()["id"]
    else:
        owned = (await create(gw, header="second")).json()["id"]
    answer = await create(gw, **explicit, **{field: owned})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "provider_mismatch")
    assert answer.json()["error"]["param"] == field
    assert "'second'" in answer.json()["error"]["message"]
    assert not upstream.requests


async def test_header_does_not_outdo_a_binding(gw, upstream, second_upstream):
    """A call on an id goes where the id is, whatever else is named; a name that is not there is still a mistake."""
    created = await create(gw, header="second")
    rid = created.json()["id"]
    second_upstream.on("GET", f"/v1/responses/{rid}", scripts.json_answer(wire.response_object(rid)))
    answer = await gw.fetch("GET", f"/v1/responses/{rid}", headers=[(HEADER, "main")])
    assert (answer.status, answer.header("x-gateway-provider")) == (200, "second")
    mistaken = await gw.fetch("GET", f"/v1/responses/{rid}", headers=[(HEADER, "nobody")])
    assert (mistaken.status, mistaken.json()["error"]["code"]) == (400, "unknown_provider")
    assert not upstream.requests


async def test_id_of_a_provider_no_longer_configured_says_so(upstream, second_upstream, valkey):
    """Its owner learns why; nobody is asked in its place."""
    second_upstream.on("POST", "/v1/responses", echo)
    async with gateway(config(upstream, second_upstream), redis_url=valkey.url) as gw:
        rid = (await create(gw, header="second")).json()["id"]
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        retrieved = await gw.fetch("GET", f"/v1/responses/{rid}")
        continued = await create(gw, previous_response_id=rid)
        for answer in (retrieved, continued):
            assert answer.status == 404
            assert "Provider 'second'" in answer.json()["error"]["message"]
    assert not upstream.requests


async def test_answers_name_the_provider_that_gave_them(gw, upstream):
    """By its configured name in a header, by its kind as the last member of create's and retrieve's JSON."""
    created = await create(gw)
    rid = created.json()["id"]
    upstream.on("GET", f"/v1/responses/{rid}", scripts.json_answer(wire.response_object(rid)))
    upstream.on("GET", f"/v1/responses/{rid}/input_items", scripts.json_answer({"object": "list", "data": []}))
    retrieved = await gw.fetch("GET", f"/v1/responses/{rid}")
    listed = await gw.fetch("GET", f"/v1/responses/{rid}/input_items")
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events := wire.stream_events(rid)))
    streamed = await create(gw, stream=True)
    for answer in (created, retrieved):
        assert list(answer.json())[-1] == "provider"
        assert answer.json()["provider"] == "openai"
        assert answer.body == upstream_body(rid)[:-1] + b',"provider":"openai"}'
    assert listed.json() == {"object": "list", "data": []}
    assert streamed.body == b"".join(events)
    for answer in (created, retrieved, listed, streamed):
        assert answer.header("x-gateway-provider") == "main"
        assert answer.header("x-gateway-request-id").startswith("gw_")


def upstream_body(rid):
    return orjson.dumps(wire.response_object(rid))


async def test_model_list_is_what_the_caller_may_use(gw, upstream, second_upstream):
    """Aliases, each provider's own, spelled so that asking for them leads there."""
    for each, ids in ((upstream, ["gpt-5", "gpt-sharp"]), (second_upstream, ["slow-but-fine"])):
        each.on("GET", "/v1/models", scripts.json_answer({"object": "list", "data": [{"id": name} for name in ids]}))

    async def models(name):
        secret = ALICE_KEY if name == "alice" else f"{name}-key-0123456789"
        answer = await gw.fetch("GET", "/v1/models", key=secret)
        assert answer.status == 200
        return {entry["id"] for entry in answer.json()["data"]}

    everything = {"fast", "sharp", "vendor/model", "gpt-5", "gpt-sharp", "second/slow-but-fine"}
    assert await models("alice") == everything
    assert await models("narrow") == {"fast", "vendor/model", "slow-but-fine"}
    assert "sharp" not in await models("picky")
    hidden = await gw.fetch("GET", "/v1/models/sharp", key="narrow-key-0123456789")
    assert (hidden.status, hidden.json()["error"]["code"]) == (404, "model_not_found")
    assert (await gw.fetch("GET", "/v1/models/fast", key="narrow-key-0123456789")).json()["owned_by"] == "second"
