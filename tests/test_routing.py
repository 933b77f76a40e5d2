import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.auth import Caller
from proxy.config import Config
from proxy.errors import BadRequest, DownstreamError, Forbidden
from proxy.routing import DEFAULT, MODEL, NAMED, Route, Router
from tests.rig.settings import provider

URL = "http://127.0.0.1:9"
NAMES = ("main", "eu", "router")
ALIASES = {"fast": "eu/deployment", "gpt-4o": "main/gpt-4o-2024-11-20", "org/alias": "main/plain"}


def make(*names, models=ALIASES, default=None):
    names = names or NAMES
    return Router(
        Config.model_validate(
            {
                "providers": {name: provider(URL) for name in names},
                "models": {alias: target for alias, target in models.items() if target.partition("/")[0] in names},
                "default_provider": default,
            }
        )
    )


def caller(providers=None, models=None, default=None):
    sets = (None if values is None else frozenset(values) for values in (providers, models))
    return Caller("alice", "team-a", *sets, default)


ANYONE = caller()


def route(router, who, header, model):
    """Route one request the way an exchange does: by its header, its model, or for want of anything else."""
    chosen = router.named(who, header) if header is not None else router.by_model(who, model) or router.default(who)
    if chosen is None:
        raise router.undecided(who, model)
    return router.complete(who, chosen, model)


# The order


@pytest.mark.parametrize(
    ("header", "model", "expected"),
    [
        # the header wins over everything
        ("eu", "m", Route("eu", NAMED)),
        ("eu", None, Route("eu", NAMED)),
        ("eu", "main/m", Route("eu", NAMED)),
        ("eu", "gpt-4o", Route("eu", NAMED)),
        # and takes the model by the name its own provider knows
        ("eu", "fast", Route("eu", NAMED, "deployment")),
        ("eu", "eu/m", Route("eu", NAMED, "m")),
        # `provider/model` wins over the default
        (None, "eu/m", Route("eu", MODEL, "m")),
        (None, "router/openai/gpt-4o", Route("router", MODEL, "openai/gpt-4o")),
        (None, "main/main/m", Route("main", MODEL, "main/m")),
        (None, "eu/fast", Route("eu", MODEL, "fast")),
        # then an alias
        (None, "fast", Route("eu", MODEL, "deployment")),
        (None, "org/alias", Route("main", MODEL, "plain")),
        # then the default; what is no provider's name is part of the model's
        (None, "m", Route("router", DEFAULT)),
        (None, None, Route("router", DEFAULT)),
        (None, "meta-llama/Llama-3", Route("router", DEFAULT)),
        (None, "eu/", Route("router", DEFAULT)),
        (None, "/eu", Route("router", DEFAULT)),
        (None, "EU/m", Route("router", DEFAULT)),
        (None, "Fast", Route("router", DEFAULT)),
        (None, "", Route("router", DEFAULT)),
    ],
)
def test_route_follows_the_order(header, model, expected):
    assert route(make(default="router"), ANYONE, header, model) == expected


@pytest.mark.parametrize(
    ("names", "default", "who", "expected"),
    [
        (NAMES, None, ANYONE, None),
        (NAMES, "eu", ANYONE, "eu"),
        (NAMES, "eu", caller(default="main"), "main"),
        (NAMES, None, caller(default="main"), "main"),
        (NAMES, "eu", caller(["main", "router"]), None),
        (NAMES, "eu", caller(["main"]), "main"),
        (NAMES, None, caller(["main"]), "main"),
        (NAMES, "eu", caller(["eu", "main"], default="router"), "eu"),
        (NAMES, "eu", caller(default="gone"), "eu"),
        (("main",), None, ANYONE, "main"),
        (("main",), None, caller(["eu"]), None),
        (NAMES, "eu", caller([]), None),
    ],
)
def test_default_is_the_keys_then_the_files_then_the_only_one(names, default, who, expected):
    found = make(*names, default=default).default(who)
    assert found == (None if expected is None else Route(expected, DEFAULT))


def test_allowed_lists_what_a_caller_may_use_in_the_files_order():
    assert make().allowed(ANYONE) == list(NAMES)
    assert make().allowed(caller(["router", "main", "gone"])) == ["main", "router"]


# Refusals


def refusal(router, who, header, model):
    with pytest.raises(DownstreamError) as raised:
        route(router, who, header, model)
    return raised.value


@pytest.mark.parametrize("default", [None, "main"])
def test_provider_that_is_not_there_and_one_not_allowed_are_refused_alike(default):
    """A caller cannot find out which other providers there are."""
    router, who = make(default=default), caller(["main", "router"])
    found = [refusal(router, who, name, None) for name in ("nope", "eu")]
    assert {(type(error), error.status, error.code, error.param) for error in found} == {
        (BadRequest, 400, "unknown_provider", "x-tfy-provider-name")
    }
    assert found[0].message == found[1].message.replace("'eu'", "'nope'")
    assert "This key may use: main, router." in found[0].message


def test_refusal_names_nothing_the_caller_may_not_see():
    who = caller(["main"])
    for header, model in [("eu", None), ("nope", "x"), (None, "eu/m"), (None, "fast")]:
        error = refusal(make(), who, header, model)
        assert "router" not in error.message
        assert "eu" not in error.message.replace("'eu'", "")
        assert "deployment" not in error.message


def test_refusal_repeats_no_more_than_a_piece_of_what_was_asked():
    for header, model in [("p" * 9000, None), (None, "eu/" + "m" * 9000)]:
        assert len(refusal(make(), caller(["main"]), header, model).message) < 400
    assert len(refusal(make(), ANYONE, None, "m" * 9000).message) < 400


def test_model_of_a_provider_the_caller_may_not_use_is_refused():
    who = caller(["main", "router"])
    prefixed, alias = refusal(make(), who, None, "eu/m"), refusal(make(), who, None, "fast")
    assert (prefixed.status, prefixed.code, prefixed.param) == (400, "unknown_provider", "model")
    assert (type(alias), alias.status, alias.code, alias.param) == (Forbidden, 403, "model_not_allowed", "model")


@pytest.mark.parametrize("model", [None, "m"])
def test_request_that_nothing_decides_is_told_what_would(model):
    error = refusal(make(), caller(["main", "eu"]), None, model)
    assert (error.status, error.code, error.param) == (400, "provider_undecided", "model" if model else None)
    assert "x-tfy-provider-name" in error.message
    assert "provider/model" in error.message
    assert "main, eu." in error.message
    assert "may use no provider" in refusal(make(), caller([]), None, model).message


# Lists of models


@pytest.mark.parametrize(
    ("models", "header", "model", "permitted"),
    [
        # a bare name is the model of that name wherever it is served
        (["m"], None, "m", True),
        (["m"], "eu", "m", True),
        (["m"], None, "eu/m", True),
        (["m"], "eu", "eu/m", True),
        (["m"], None, "M", False),
        (["m"], None, "m ", False),
        (["m"], "eu", "main/m", False),
        (["org/m"], None, "org/m", True),
        (["org/m"], None, "m", False),
        # `provider/model` is that provider's alone
        (["eu/m"], None, "eu/m", True),
        (["eu/m"], "eu", "m", True),
        (["eu/m"], None, "m", False),
        (["eu/m"], "router", "eu/m", False),
        (["main/m"], None, "m", True),
        (["main/m"], None, "main/main/m", False),
        # an alias is what it stands for, at its own provider
        (["fast"], None, "fast", True),
        (["fast"], "eu", "fast", True),
        (["fast"], None, "eu/deployment", True),
        (["fast"], "eu", "deployment", True),
        (["fast"], "main", "fast", False),
        (["fast"], "main", "deployment", False),
        (["gpt-4o"], "eu", "gpt-4o", False),
        (["gpt-4o"], None, "gpt-4o", True),
        (["gpt-4o"], None, "main/gpt-4o", False),
        (["deployment"], None, "fast", True),
        (["other"], None, "fast", False),
        (["eu/fast"], None, "fast", False),
        # several, or none at all
        (["a", "eu/b", "fast"], None, "eu/b", True),
        ([], None, "m", False),
        (None, None, "anything", True),
    ],
)
def test_model_is_permitted_however_it_is_written(models, header, model, permitted):
    router, who = make(default="main"), caller(models=models)
    if permitted:
        route(router, who, header, model)
    else:
        error = refusal(router, who, header, model)
        assert (type(error), error.code, error.param) == (Forbidden, "model_not_allowed", "model")


def test_model_has_to_be_named_by_a_caller_with_a_list():
    error = refusal(make(default="main"), caller(models=["m"]), None, None)
    assert (error.status, error.code, error.param) == (400, "model_required", "model")


def test_model_stands_alone_where_it_names_no_provider():
    router = make()
    alone = [model for model in ("m", "fast", "eu/m", "org/m", "org/alias", "eu/") if router.stands_alone(model)]
    assert alone == ["m", "org/m", "eu/"]


def test_router_rewrites_models_of_aliased_providers_only():
    assert [name for name in NAMES if make().may_rewrite(name)] == ["main", "eu"]


# Whatever is asked


words = st.sampled_from([*NAMES, *ALIASES, "deployment", "plain", "m", "nope", "", "/", "gpt-4o-2024-11-20"])
models = st.none() | words | st.lists(words, min_size=2, max_size=3).map("/".join) | st.text(max_size=6)
subsets = st.none() | st.frozensets(st.sampled_from(NAMES))
lists = st.none() | st.frozensets(words | st.tuples(words, words).map("/".join), max_size=3)


@settings(max_examples=400)
@given(subsets, lists, st.none() | words, st.none() | words, models)
def test_no_request_reaches_what_its_caller_may_not_use(providers, permitted, key_default, header, model):
    router, who = make(default="main"), caller(providers, permitted, key_default)
    try:
        found = route(router, who, header, model)
    except DownstreamError:
        return
    assert found.provider in NAMES
    assert providers is None or found.provider in providers
    asked = found.model or model
    if permitted is not None:
        assert asked is not None
        assert any(stands_for(entry, found.provider, asked) for entry in permitted)


def stands_for(entry, provider, model):
    """Tell whether an entry of a list of models is a provider's model, by the documentation's words."""
    if entry in ALIASES:
        return ALIASES[entry] == f"{provider}/{model}"
    if entry.partition("/")[0] in NAMES and entry.partition("/")[2]:
        return entry == f"{provider}/{model}"
    return entry == model


@pytest.mark.parametrize(
    ("providers", "models", "reached"),
    [
        (None, None, ["main", "eu", "router"]),
        (["eu"], None, ["eu"]),
        (None, ["fast", "main/x"], ["main", "eu"]),
        (["main"], ["fast"], []),
        (["main", "eu"], ["someone/model"], ["main", "eu"]),
    ],
)
def test_caller_reaches_the_providers_of_the_models_it_may_use(providers, models, reached):
    router = make()
    assert [name for name in NAMES if router.reaches(caller(providers, models), name)] == reached
