from itertools import count

import pytest

from proxy.auth import Caller
from proxy.config import Config
from proxy.doubts import find_doubts, may_ask
from proxy.routing import Router

PROVIDERS = {name: {"kind": "sandbox"} for name in ("main", "eu")}
ALIASES = {"small": "main/gpt-4o-mini", "fast": "eu/deployment/x"}


def doubts(*keys, models=ALIASES, **settings):
    """Find the doubts about keys, each given by its allow-lists, called a, b, …."""
    numbered = zip("abcdef", keys, count(1))
    entries = [{"name": name, "tenant": "t", "key_sha256": f"{n:064x}", **lists} for name, lists, n in numbered]
    return list(
        find_doubts(Config.model_validate({"keys": entries, "models": models} | {"providers": PROVIDERS} | settings))
    )


@pytest.mark.parametrize("keys", [(), ({},), ({"providers": ["main"]}, {"providers": ["eu"], "models": ["fast"]})])
def test_nothing_is_doubtful_where_all_is_of_use(keys):
    assert doubts(*keys) == []


def test_model_that_leads_to_a_provider_the_key_may_not_use_is_named():
    assert doubts({}, {"providers": ["main"], "models": ["small", "fast", "eu/x", "other/y"]}) == [
        "keys[1].models: b may use fast, but not its provider eu",
        "keys[1].models: b may use eu/x, but not its provider eu",
    ]


def test_key_that_can_reach_nothing_is_named():
    assert doubts({}, {"providers": ["main"], "models": ["fast"]}) == [
        "keys[1].models: b may use fast, but not its provider eu",
        "keys[1]: b can reach no model of any provider",
    ]


def test_provider_that_no_key_can_reach_is_named_with_its_aliases():
    assert doubts({"providers": ["main"]}) == [
        "providers.eu: no key can reach it",
        "models.fast: no key may use its provider eu",
    ]


def test_provider_whose_models_no_key_may_use_is_named():
    assert doubts({"models": ["small"]}, {"models": ["main/other"]}) == [
        "providers.eu: no key can reach it",
        "models.fast: no key that may use its provider eu may use this model",
    ]


def test_alias_that_no_list_of_models_has_is_named():
    assert doubts({"models": ["small", "eu/other"]}) == [
        "models.fast: no key that may use its provider eu may use this model"
    ]


def test_model_of_no_known_provider_may_be_any_provider_s_own():
    """A request can name the provider in the header."""
    assert doubts({"models": ["llama", "org/llama"]}, models={}) == []


def test_files_that_are_not_there_are_named(tmp_path):
    there = tmp_path / "token"
    there.touch()
    providers = {
        "main": {"kind": "openai", "token_file": str(there)},
        "eu": {"kind": "vertex", "credentials_file": str(tmp_path / "account.json")},
    }
    assert doubts(providers=providers, fetch={"ca_file": str(tmp_path / "ca.pem")}) == [
        "providers.eu.credentials_file: there is no such file yet",
        "fetch.ca_file: there is no such file yet",
    ]


@pytest.mark.parametrize(
    ("providers", "models", "may"),
    [
        (None, None, True),
        (["eu"], None, False),
        (None, ["small"], True),
        (None, ["main/gpt-4o-mini"], True),
        (None, ["fast"], False),
        (["eu"], ["small"], False),
    ],
)
def test_alias_is_for_whom_provider_and_model_are(providers, models, may):
    router = Router(Config.model_validate({"providers": PROVIDERS, "models": ALIASES}))
    lists = (None if names is None else frozenset(names) for names in (providers, models))
    assert may_ask(router, Caller("a", "t", *lists), "small") is may
