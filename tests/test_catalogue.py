import asyncio
import contextlib

import orjson
import pytest

import proxy.catalogue
from proxy.auth import Caller
from proxy.catalogue import Catalogue
from proxy.config import Limits
from proxy.errors import NotFound
from proxy.providers import REGISTRY
from proxy.routing import Router
from proxy.upstream import Upstream
from tests.rig import scripts
from tests.rig.settings import UPSTREAM_KEY, config

ANYONE = Caller("alice", "team-a")


def listed(*models):
    return scripts.json_answer({"object": "list", "data": [{"id": model, "object": "model"} for model in models]})


@contextlib.asynccontextmanager
async def catalogue(*upstreams, **sections):
    """Run a catalogue over scripted providers: `main`, `second`."""
    typed = config(*upstreams, **sections)
    made = {
        name: Upstream(name, REGISTRY[provider.kind], provider, Limits()) for name, provider in typed.providers.items()
    }
    try:
        yield Catalogue(made, Router(typed))
    finally:
        for upstream in made.values():
            await upstream.close()


async def owners(models, caller=ANYONE):
    """Return what a caller sees: model → provider, in order."""
    value = orjson.loads(await models.answer(caller, None))
    assert value["object"] == "list"
    return {entry["id"]: entry["owned_by"] for entry in value["data"]}


async def test_list_has_openais_shape(upstream):
    upstream.on("GET", "/v1/models", listed("gpt-4o"))
    async with catalogue(upstream) as models:
        value = orjson.loads(await models.answer(ANYONE, None))
    entry = {"id": "gpt-4o", "object": "model", "created": proxy.catalogue.CREATED, "owned_by": "main"}
    assert value == {"object": "list", "data": [entry]}
    assert upstream.requests[0].header("Authorization") == f"Bearer {UPSTREAM_KEY}"


async def test_models_are_spelled_so_that_asking_for_them_leads_to_their_provider(upstream, second_upstream):
    upstream.on("GET", "/v1/models", listed("gpt-4o", "fast", "second/x", "org/m"))
    second_upstream.on("GET", "/v1/models", listed("gpt-4o", "deployment"))
    aliases = {"fast": "second/deployment"}
    async with catalogue(upstream, second_upstream, models=aliases, default_provider="main") as models:
        found = await owners(models)
    assert found == {
        "fast": "second",
        "gpt-4o": "main",
        "main/fast": "main",
        "main/second/x": "main",
        "org/m": "main",
        "second/gpt-4o": "second",
        "second/deployment": "second",
    }


async def test_models_of_no_default_are_all_spelled_with_their_provider(upstream, second_upstream):
    for provider in (upstream, second_upstream):
        provider.on("GET", "/v1/models", listed("m"))
    async with catalogue(upstream, second_upstream) as models:
        assert await owners(models) == {"main/m": "main", "second/m": "second"}
        with_default = Caller("alice", "team-a", default_provider="second")
        assert await owners(models, with_default) == {"main/m": "main", "m": "second"}


async def test_caller_sees_its_own_providers_only(upstream, second_upstream):
    second_upstream.on("GET", "/v1/models", listed("m"))
    aliases = {"mine": "second/m", "theirs": "main/m"}
    async with catalogue(upstream, second_upstream, models=aliases, default_provider="main") as models:
        caller = Caller("bob", "team-b", providers=frozenset({"second"}))
        assert await owners(models, caller) == {"mine": "second", "m": "second"}
        assert await owners(models, Caller("carol", "team-c", providers=frozenset())) == {}
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("permitted", "expected"),
    [
        (["a"], {"a": "main", "second/a": "second"}),
        (["main/a"], {"a": "main", "main/a": "main"}),
        (["second/a"], {"second/a": "second"}),
        (["fast"], {"fast": "second", "second/b": "second"}),
        (["b"], {"b": "main", "fast": "second", "second/b": "second"}),
        (["unlisted", "second/unlisted"], {"unlisted": "main", "second/unlisted": "second"}),
        ([], {}),
    ],
)
async def test_caller_sees_its_own_models_only(upstream, second_upstream, permitted, expected):
    """And those the provider does not list, for there are providers that list none."""
    upstream.on("GET", "/v1/models", listed("a", "c"))
    second_upstream.on("GET", "/v1/models", listed("a", "b"))
    aliases = {"fast": "second/b"}
    async with catalogue(upstream, second_upstream, models=aliases, default_provider="main") as models:
        assert await owners(models, Caller("bob", "team-b", models=frozenset(permitted))) == expected


async def test_model_in_a_list_that_leads_nowhere_is_left_out(upstream, second_upstream):
    upstream.on("GET", "/v1/models", listed("a"))
    aliases = {"fast": "second/b"}
    async with catalogue(upstream, second_upstream, models=aliases) as models:
        limits = {"providers": frozenset({"main"}), "models": frozenset({"fast", "second/b", "a"})}
        assert await owners(models, Caller("bob", "team-b", **limits)) == {"a": "main"}
        everywhere = Caller("carol", "team-b", models=frozenset({"unlisted"}))
        assert await owners(models, everywhere) == {}


# One model


async def test_one_model_is_shown_to_who_may_use_it(upstream):
    upstream.on("GET", "/v1/models", listed("org/m", "other"))
    async with catalogue(upstream) as models:
        found = orjson.loads(await models.answer(ANYONE, "org/m"))
        assert (found["id"], found["object"], found["owned_by"]) == ("org/m", "model", "main")
        limited = Caller("bob", "team-b", models=frozenset({"other"}))
        for caller, name in ((ANYONE, "nope"), (limited, "org/m"), (ANYONE, "m" * 9000)):
            with pytest.raises(NotFound) as raised:
                await models.answer(caller, name)
            assert (raised.value.status, raised.value.code, raised.value.param) == (404, "model_not_found", "model")
            assert len(raised.value.message) < 200


# Providers that do not answer as they should


JUNK = [
    scripts.json_answer({"error": {"message": "no"}}, 401),
    scripts.json_answer({"data": [{"id": "a"}]}, 500),
    scripts.html_answer(502),
    scripts.html_answer(200),
    scripts.empty_answer(200),
    scripts.json_answer({"data": None}),
    scripts.json_answer({"data": [{"name": "a"}]}),
    scripts.json_answer({"data": ["a"]}),
    scripts.json_answer([None]),
    scripts.json_answer(b"null"),
    scripts.json_answer(b'{"data":[{"id":"a"}'),
    scripts.cut_json({"data": [{"id": "a"}]}, 10),
    scripts.cut_json({"data": [{"id": "a"}]}, 10, reset=True),
    scripts.no_answer(),
    scripts.no_answer(reset=True),
    scripts.raw_answer(b"not HTTP at all\r\n\r\n", close=True),
]


@pytest.mark.parametrize("script", JUNK)
async def test_provider_that_lists_nothing_sensible_is_left_out(upstream, second_upstream, script):
    upstream.on("GET", "/v1/models", script)
    second_upstream.on("GET", "/v1/models", listed("b"))
    async with catalogue(upstream, second_upstream, models={"fast": "main/a"}) as models:
        assert await owners(models) == {"fast": "main", "second/b": "second"}


async def test_provider_that_does_not_answer_is_waited_for_only_so_long(upstream, second_upstream, monkeypatch):
    monkeypatch.setattr(proxy.catalogue, "PATIENCE", 0.05)
    upstream.on("GET", "/v1/models", scripts.silence)
    second_upstream.on("GET", "/v1/models", listed("b"))
    async with catalogue(upstream, second_upstream) as models:
        async with asyncio.timeout(20):
            assert await owners(models) == {"second/b": "second"}
        await upstream.requests[0].closed.wait()


async def test_provider_that_cannot_be_reached_is_left_out(upstream, second_upstream):
    await upstream.refuse()
    second_upstream.on("GET", "/v1/models", listed("b"))
    async with catalogue(upstream, second_upstream) as models:
        assert await owners(models) == {"second/b": "second"}


async def test_list_without_end_is_not_read_to_its_end(upstream, monkeypatch):
    monkeypatch.setattr(proxy.catalogue, "MAX_LIST", 100_000)
    upstream.on("GET", "/v1/models", listed(*(f"model-{number:09}" for number in range(100_000))))
    async with catalogue(upstream) as models:
        assert await owners(models) == {}


async def test_list_without_an_envelope_is_read_too(upstream):
    """Together AI's is a bare array."""
    upstream.on("GET", "/v1/models", scripts.json_answer([{"id": "a"}, {"id": 7}, {"id": "b"}]))
    async with catalogue(upstream) as models:
        assert await owners(models) == {"a": "main", "b": "main"}


# Kept for a while


async def test_list_is_asked_for_once_and_then_kept(upstream):
    upstream.on("GET", "/v1/models", listed("a"), listed("b"))
    async with catalogue(upstream) as models:
        for _ in range(3):
            assert await owners(models) == {"a": "main"}
    assert len(upstream.requests) == 1


async def test_failure_is_not_asked_for_again_at_once_either(upstream):
    upstream.on("GET", "/v1/models", scripts.empty_answer(500), listed("a"))
    async with catalogue(upstream) as models:
        assert [await owners(models), await owners(models)] == [{}, {}]
    assert len(upstream.requests) == 1


async def test_failure_is_tried_again_sooner_than_a_list_is_renewed(upstream, monkeypatch):
    monkeypatch.setattr(proxy.catalogue, "PAUSE", 0)
    upstream.on("GET", "/v1/models", scripts.empty_answer(500), listed("a"), listed("b"))
    async with catalogue(upstream) as models:
        assert [await owners(models) for _ in range(3)] == [{}, {"a": "main"}, {"a": "main"}]


async def test_last_list_stands_while_a_new_one_cannot_be_had(upstream, monkeypatch):
    monkeypatch.setattr(proxy.catalogue, "LIFETIME", 0)
    monkeypatch.setattr(proxy.catalogue, "PAUSE", 0)
    upstream.on("GET", "/v1/models", listed("a"), scripts.empty_answer(500), scripts.html_answer(200), listed("b"))
    async with catalogue(upstream) as models:
        found = [await owners(models) for _ in range(4)]
    assert found == [{"a": "main"}, {"a": "main"}, {"a": "main"}, {"b": "main"}]


@pytest.mark.parametrize(
    ("kind", "path", "fields", "answer"),
    [
        ("anthropic", "/v1/models?limit=1000", {}, {"data": [{"id": "large", "type": "model"}]}),
        ("gemini", "/v1beta/models?pageSize=1000", {}, {"models": [{"name": "models/large"}]}),
        ("cohere", "/v1/models?page_size=1000&endpoint=chat", {}, {"models": [{"name": "large"}]}),
        (
            "vertex",
            "/v1beta1/publishers/google/models",
            {"project": "p"},
            {"publisherModels": [{"name": "publishers/google/models/large"}]},
        ),
        ("bedrock", None, {"region": "r"}, None),
    ],
)
async def test_each_kind_lists_its_models_in_its_own_way(kind, path, fields, answer, upstream):
    upstream.on("GET", "*", scripts.json_answer(answer))
    listing = {"it": {"kind": kind, "base_url": upstream.url, "api_key": UPSTREAM_KEY, **fields}}
    async with catalogue(providers=listing) as models:
        assert await owners(models) == ({} if path is None else {"large": "it"})
    assert [request.target for request in upstream.requests] == ([] if path is None else [path])
