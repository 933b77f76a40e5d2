"""Each kind of provider as it is: base path, credentials, ids, errors, and what it does not offer."""

import uuid
from urllib.parse import urlsplit

import pytest

from proxy.providers import REGISTRY
from proxy.providers.base import native
from proxy.sandbox.server import MODEL, PACE_HEADER
from tests.flows.calls import PLAIN
from tests.rig import scripts, wire
from tests.rig.gateway import gateway
from tests.rig.replay import recordings
from tests.rig.sandbox import serving
from tests.rig.settings import ALICE_KEY, BOB_KEY, UPSTREAM_KEY, config, provider

BEARER = ("Authorization", f"Bearer {UPSTREAM_KEY}")
KINDS = {
    # kind: the path its base URL has, what it authenticates with
    "openai": ("/v1", BEARER),
    "azure-openai": ("/openai/v1", ("api-key", UPSTREAM_KEY)),
    "xai": ("/v1", BEARER),
    "groq": ("/openai/v1", BEARER),
    "together-ai": ("/v1", BEARER),
    "openrouter": ("/api/v1", BEARER),
    "mistral": ("/v1", BEARER),
    "huggingface": ("/v1", BEARER),
    "bedrock-openai": ("/openai/v1", BEARER),
    "openai-compatible": ("/v1", BEARER),
    "sandbox": ("/v1", BEARER),
}
STATELESS = ["groq", "together-ai", "openrouter", "mistral", "huggingface"]
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def of_kind(upstream, kind, **fields):
    """Configure one provider of a kind, where its real path stands below the scripted host."""
    path = KINDS[kind][0]
    if "api" in REGISTRY[kind].settings:
        fields = {"api": "responses", **fields}
    return config(providers={"it": provider(upstream.url + path, kind=kind, **fields)})


def answering(upstream, kind, rid):
    """Script create, as JSON."""
    upstream.on("POST", f"{KINDS[kind][0]}/responses", scripts.json_answer(wire.response_object(rid)))


def test_every_kind_that_may_be_asked_the_responses_api_is_covered():
    assert KINDS.keys() == {name for name, kind in REGISTRY.items() if kind.dialect is native or "api" in kind.settings}


@pytest.mark.parametrize("kind", [name for name in KINDS if REGISTRY[name].base_url and name != "sandbox"])
def test_base_url_of_a_kind_has_its_path(kind):
    """What these tests put behind a scripted host is what a user gets who configures none."""
    url = urlsplit(REGISTRY[kind].base_url)
    assert (url.scheme, url.path) == ("https", KINDS[kind][0])


@EACH_KIND
async def test_create_goes_to_the_kinds_path_with_its_credentials(kind, upstream, valkey):
    """The gateway's own key stays behind, in whichever header it came; the kind is named in the answer."""
    path, (name, value) = KINDS[kind]
    answering(upstream, kind, wire.new_id())
    async with gateway(of_kind(upstream, kind), redis_url=valkey.url) as gw:
        for key in ([("Authorization", f"Bearer {ALICE_KEY}")], [("api-key", ALICE_KEY)]):
            answer = await gw.fetch("POST", "/v1/responses?beta=true", key=None, headers=key, json=PLAIN)
            assert (answer.status, answer.json()["provider"]) == (200, kind)
    for request in upstream.requests:
        assert request.target == f"{path}/responses?beta=true"
        sent = [pair for pair in request.headers if pair[0].lower() in ("authorization", "api-key")]
        assert sent == [(name, value)]
        assert ALICE_KEY not in str(request.headers)
        assert request.header("Host") == f"127.0.0.1:{upstream.port}"
        assert request.json() == PLAIN


async def test_provider_without_a_key_is_sent_none(upstream, valkey):
    """A local server needs no credentials, and gets nobody's."""
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(wire.new_id())))
    local = {"kind": "openai-compatible", "base_url": f"{upstream.url}/v1"}
    async with gateway(config(providers={"local": local}), redis_url=valkey.url) as gw:
        assert (await gw.fetch("POST", "/v1/responses", json=PLAIN)).status == 200
    assert upstream.requests[0].header("Authorization") is None
    assert upstream.requests[0].header("api-key") is None


async def test_azure_sends_the_token_its_file_holds_now(upstream, valkey, tmp_path):
    """Workload identity replaces the file; the next request carries the new token, with no restart."""
    file = tmp_path / "token"
    file.write_text("first-entra-token\n")
    answering(upstream, "azure-openai", wire.new_id())
    by_token = of_kind(upstream, "azure-openai", api_key=None, token_file=str(file))
    async with gateway(by_token, redis_url=valkey.url) as gw:
        await gw.fetch("POST", "/v1/responses", json=PLAIN)
        renewed = tmp_path / "renewed"
        renewed.write_text("second-entra-token")
        renewed.rename(file)
        await gw.fetch("POST", "/v1/responses", json=PLAIN)
        file.unlink()
        await gw.fetch("POST", "/v1/responses", json=PLAIN)
    sent = [request.header("Authorization") for request in upstream.requests]
    assert sent == ["Bearer first-entra-token", "Bearer second-entra-token", "Bearer second-entra-token"]
    assert {request.header("api-key") for request in upstream.requests} == {None}


async def test_request_is_refused_when_the_token_file_was_never_there(upstream, valkey, tmp_path):
    """Nothing goes up without credentials."""
    missing = of_kind(upstream, "azure-openai", api_key=None, token_file=str(tmp_path / "none"))
    async with gateway(missing, redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", "/v1/responses", json=PLAIN)
    assert (answer.status, answer.json()["error"]["code"]) == (500, "no_credentials")
    assert str(tmp_path) not in answer.body.decode()
    assert not upstream.requests


async def test_configured_headers_reach_the_provider_and_outdo_the_clients(upstream, valkey):
    """Organization, project and further headers are the operator's to say."""
    answering(upstream, "openai", wire.new_id())
    extra = {"OpenAI-Beta": "responses=v9", "x-routing": "eu"}
    said = of_kind(upstream, "openai", organization="org-1", project="proj-1", headers=extra)
    theirs = [("OpenAI-Organization", "org-x"), ("OpenAI-Project", "proj-x"), ("openai-beta", "theirs")]
    async with gateway(said, redis_url=valkey.url) as gw:
        await gw.fetch("POST", "/v1/responses", headers=theirs, json=PLAIN)
    (request,) = upstream.requests
    expected = {"openai-organization": "org-1", "openai-project": "proj-1", "openai-beta": "responses=v9"}
    for name, value in {**expected, "x-routing": "eu"}.items():
        assert [text for header, text in request.headers if header.lower() == name] == [value]


@pytest.mark.parametrize("kind", STATELESS)
async def test_what_a_kind_does_not_keep_the_gateway_does(kind, upstream, valkey):
    """For its owner, who gets what create gave; to another tenant the id is not there."""
    rid = "gen-1763900000-abc" if kind == "openrouter" else wire.new_id()
    answering(upstream, kind, rid)
    async with gateway(of_kind(upstream, kind), redis_url=valkey.url) as gw:
        created = await gw.fetch("POST", "/v1/responses", json=PLAIN)
        for method, below in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
            foreign = await gw.fetch(method, f"/v1/responses/{rid}{below}", key=BOB_KEY)
            assert (foreign.status, foreign.json()["error"]["code"]) == (404, None)
        retrieved = await gw.fetch("GET", f"/v1/responses/{rid}")
        assert (retrieved.status, retrieved.json()) == (200, created.json())
        items = await gw.fetch("GET", f"/v1/responses/{rid}/input_items")
        assert items.json()["data"][0]["content"] == [{"type": "input_text", "text": PLAIN["input"]}]
        assert (await gw.fetch("POST", f"/v1/responses/{rid}/cancel")).status == 400
        assert (await gw.fetch("DELETE", f"/v1/responses/{rid}")).json()["deleted"] is True
        assert (await gw.fetch("GET", f"/v1/responses/{rid}")).status == 404
    assert len(upstream.requests) == 1
    assert valkey.keys() == []


@pytest.mark.parametrize("kind", STATELESS)
@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_response_tells_the_one_it_continues_though_its_provider_does_not(kind, store, stream, upstream, valkey):
    """The provider is told what was said before, and not that it was a response."""
    answering(upstream, kind, "resp_1")
    target = f"{KINDS[kind][0]}/responses"
    async with gateway(of_kind(upstream, kind), redis_url=valkey.url) as gw:
        await gw.fetch("POST", "/v1/responses", json=PLAIN)
        answered = scripts.sse_answer(wire.stream_events("resp_2")) if stream else None
        upstream.on("POST", target, answered or scripts.json_answer(wire.response_object("resp_2")))
        asked = {**PLAIN, "previous_response_id": "resp_1", "store": store, "stream": stream}
        answer = await gw.fetch("POST", "/v1/responses", json=asked)
        events = [event.json() for event in answer.events()] if stream else [{"response": answer.json()}]
        told = [event["response"]["previous_response_id"] for event in events if "response" in event]
        assert set(told) == {"resp_1"}
        kept = await gw.fetch("GET", "/v1/responses/resp_2")
    assert "previous_response_id" not in upstream.requests[-1].json()
    assert kept.json().get("previous_response_id") == ("resp_1" if store else None)


OPERATIONS = {
    "compact": ("POST", "/v1/responses/compact", PLAIN),
    "input_tokens": ("POST", "/v1/responses/input_tokens", PLAIN),
    "conversations": ("POST", "/v1/conversations", {}),
}


@EACH_KIND
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_operation_reaches_only_a_kind_that_offers_it(kind, operation, upstream, valkey):
    """The provider's own 404 for a path it does not have would say less."""
    method, target, body = OPERATIONS[operation]
    async with gateway(of_kind(upstream, kind), redis_url=valkey.url) as gw:
        answer = await gw.fetch(method, target, json=body)
    if operation in REGISTRY[kind].operations:
        assert answer.status == 418
        assert upstream.requests[0].path == KINDS[kind][0] + target.removeprefix("/v1")
    else:
        assert (answer.status, answer.json()["error"]["code"]) == (400, "unsupported_operation")
        assert not upstream.requests


async def test_bare_uuid_is_an_id_like_any_other(upstream, valkey):
    """There is no prefix to xAI's ids: what is known of them is in the binding."""
    rid = str(uuid.uuid4())
    answering(upstream, "xai", rid)
    upstream.on("GET", f"/v1/responses/{rid}", scripts.json_answer(wire.response_object(rid)))
    async with gateway(of_kind(upstream, "xai"), redis_url=valkey.url) as gw:
        assert (await gw.fetch("POST", "/v1/responses", json=PLAIN)).status == 200
        assert (await gw.fetch("GET", f"/v1/responses/{rid}")).json()["id"] == rid
        continued = await gw.fetch("POST", "/v1/responses", json={**PLAIN, "previous_response_id": rid})
        assert continued.status == 200
        assert (await gw.fetch("GET", f"/v1/responses/{rid}", key=BOB_KEY)).status == 404


XAI_ERRORS = [
    b'{"code":"invalid-argument","error":"Model not found: grok-none"}',
    b'{"error": {"message": "Bad \xc3\xa9", "type": "invalid_request_error", "param": null, "code": "bad"} }\n',
]


@pytest.mark.parametrize("body", XAI_ERRORS, ids=["code and text", "as openai"])
@pytest.mark.parametrize("status", [400, 429, 503])
async def test_error_of_either_shape_passes_untouched(body, status, upstream, valkey):
    """Status, body and what tells an SDK when to try again."""
    retry = [("Retry-After", "7"), ("x-ratelimit-remaining-requests", "0")]
    upstream.on("POST", "/v1/responses", scripts.json_answer(body, status, retry))
    async with gateway(of_kind(upstream, "xai"), redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", "/v1/responses", json=PLAIN)
    assert (answer.status, answer.body) == (status, body)
    assert [answer.header(name) for name, _ in retry] == ["7", "0"]


@pytest.mark.parametrize(
    "recording", recordings(api="responses", provider="xai", fidelity="raw")[:4], ids=lambda r: r.id
)
async def test_recorded_xai_answer_passes_as_it_was(recording, replay, valkey):
    """Real bytes, whatever xAI says in them; JSON gains the provider."""
    base = replay.base_url("xai") + "/v1"
    replay.reset()
    async with gateway(config(providers={"grok": provider(base, kind="xai")}), redis_url=valkey.url) as gw:
        answer = await gw.fetch("POST", "/v1/responses", json={**recording.request, "model": recording.model})
    if recording.streamed or recording.status >= 400:
        assert answer.body == recording.body
    else:
        before, brace, behind = recording.body.rpartition(b"}")
        assert answer.body == before + b',"provider":"xai"' + brace + behind


async def test_pace_of_the_sandbox_is_the_configured_one(upstream, valkey):
    """The setting travels with each request; where there is none, nothing is said."""
    for pace, said in ((12.5, "12.500000"), (0, "0.000000"), (None, None)):
        answering(upstream, "sandbox", wire.new_id())
        paced = of_kind(upstream, "sandbox", events_per_second=pace)
        async with gateway(paced, redis_url=valkey.url) as gw:
            assert (await gw.fetch("POST", "/v1/responses", json=PLAIN)).status == 200
        assert upstream.requests[-1].header(PACE_HEADER) == said


async def test_built_in_sandbox_keeps_the_configured_pace(valkey):
    """A stream at that pace has barely begun when another, which asks for full speed, has ended."""
    async with serving() as sandbox:
        slow = config(providers={"sandbox": {"kind": "sandbox", "events_per_second": 0.01}})
        url = f"http://127.0.0.1:{sandbox.port}/v1"
        async with gateway(slow, redis_url=valkey.url, sandbox_url=url) as gw, gw.connect() as client:
            body = {"model": MODEL["id"], "input": "one two three", "stream": True}
            await client.request("POST", "/v1/responses", headers=[("api-key", ALICE_KEY)], json=body)
            (created, *_) = await (await client.answer()).read_events(1)
            rid = created.json()["response"]["id"]
            fast = await gw.fetch("POST", "/v1/responses", json={**body, "metadata": {"events_per_second": "0"}})
            assert fast.events()[-1].name == "response.completed"
            assert (await gw.fetch("GET", f"/v1/responses/{rid}")).json()["status"] == "in_progress"
