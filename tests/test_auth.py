import hashlib

import orjson
import pytest

from proxy.auth import REASONS, Caller, Keys, Refused
from proxy.bindings import Binding
from proxy.config import KeyConfig, Secret
from tests.rig.settings import ALICE, ALICE_KEY, BOB, BOB_KEY

DIGEST_KEY = "carol-key-0123456789"
CAROL = {"name": "carol", "tenant": "team-a", "key_sha256": hashlib.sha256(DIGEST_KEY.encode()).hexdigest()}


def make(*keys):
    return Keys(KeyConfig.model_validate(key) for key in keys or (ALICE, BOB, CAROL))


def who(*headers, keys=None):
    raw = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
    return (keys or make()).caller(raw).name


def refused(*headers):
    with pytest.raises(Refused) as raised:
        who(*headers)
    return raised.value


@pytest.mark.parametrize(
    ("header", "value", "name"),
    [
        ("Authorization", f"Bearer {ALICE_KEY}", "alice"),
        ("authorization", f"bearer {BOB_KEY}", "bob"),
        ("AUTHORIZATION", f"BEARER  {ALICE_KEY} ", "alice"),
        ("api-key", ALICE_KEY, "alice"),
        ("Api-Key", f" {BOB_KEY}\t", "bob"),
        ("Authorization", f"Bearer {DIGEST_KEY}", "carol"),
        ("api-key", DIGEST_KEY, "carol"),
    ],
)
def test_caller_is_found_by_either_header(header, value, name):
    assert who(("Host", "x"), (header, value), ("Accept", "*/*")) == name


def test_caller_is_the_first_keys_where_there_are_several():
    assert who(("Authorization", f"Bearer {ALICE_KEY}"), ("api-key", BOB_KEY)) == "alice"
    assert who(("api-key", BOB_KEY), ("Authorization", f"Bearer {ALICE_KEY}")) == "bob"
    assert refused(("Authorization", "Bearer wrong"), ("api-key", BOB_KEY)).reason == "unknown"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], "missing"),
        ([("x-api-key", ALICE_KEY)], "missing"),
        ([("Proxy-Authorization", f"Bearer {ALICE_KEY}")], "missing"),
        ([("Authorization", "")], "malformed"),
        ([("Authorization", ALICE_KEY)], "malformed"),
        ([("Authorization", "Bearer")], "malformed"),
        ([("Authorization", "Bearer  ")], "malformed"),
        ([("Authorization", f"Basic {ALICE_KEY}")], "malformed"),
        ([("Authorization", f"Bearer{ALICE_KEY}")], "malformed"),
        ([("Authorization", f"Bearer {ALICE_KEY}x")], "unknown"),
        ([("Authorization", f"Bearer {ALICE_KEY[:-1]}")], "unknown"),
        ([("Authorization", f"Bearer {ALICE_KEY.upper()}")], "unknown"),
        ([("Authorization", f"Bearer {ALICE_KEY} {ALICE_KEY}")], "unknown"),
        ([("Authorization", f"Bearer {CAROL['key_sha256']}")], "unknown"),
        ([("Authorization", b"Bearer \xff\xfe")], "unknown"),
        ([("api-key", "")], "unknown"),
        ([("api-key", f"Bearer {ALICE_KEY}")], "unknown"),
    ],
)
def test_request_without_a_key_of_ours_is_refused(headers, reason):
    error = refused(*headers)
    assert (error.status, error.code, error.reason) == (401, "invalid_api_key", reason)
    assert reason in REASONS


@pytest.mark.parametrize("key", ["sk-" + "s" * 40, ALICE_KEY.upper()])
def test_refusal_repeats_no_key(key):
    for error in (refused(("Authorization", f"Bearer {key}")), refused(("Authorization", f"Basic {key}"))):
        assert key not in error.body().decode()
        assert orjson.loads(error.body())["error"]["type"] == "invalid_request_error"


def shown(thing):
    """Print a thing, and all that can be reached from it."""
    seen, todo, text = set(), [thing], []
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        text.append(repr(one))
        todo.extend(getattr(one, "__dict__", {}).values())
        todo.extend(getattr(one, name) for name in getattr(one, "__slots__", ()) if hasattr(one, name))
        if isinstance(one, dict):
            todo.extend([*one, *one.values()])
        elif isinstance(one, list | tuple | set | frozenset):
            todo.extend(one)
    return "".join(text)


def test_keys_hold_digests_only():
    """A dump of the process's tables gives no key away."""
    configured = KeyConfig.model_validate(ALICE)
    assert ALICE_KEY in shown(configured.key), "the search finds what is there to be found"
    for key in (ALICE_KEY, BOB_KEY):
        assert key not in shown(make())
        assert repr(key.encode())[2:-1] not in shown(make())


def test_key_in_a_configuration_prints_as_stars():
    assert ALICE_KEY not in repr(KeyConfig.model_validate(ALICE))
    assert KeyConfig(name="a", tenant="t", key=Secret(ALICE_KEY)).key.reveal() == ALICE_KEY


def test_key_without_key_or_digest_is_no_key():
    with pytest.raises(ValueError, match="dave"):
        make({"name": "dave", "tenant": "team-a"})


def test_keys_know_their_callers_and_tenants():
    keys = make()
    assert [caller.name for caller in keys.callers] == ["alice", "bob", "carol"]
    assert keys.tenants == {"team-a", "team-b"}
    assert make(ALICE, CAROL).tenants == {"team-a"}


@pytest.mark.parametrize(
    ("keys", "sole"),
    [
        ([ALICE], True),
        ([ALICE, CAROL], True),
        ([ALICE, BOB], False),
        ([ALICE, {**BOB, "providers": ["other"]}], True),
        ([ALICE, {**BOB, "providers": ["other", "main"]}], False),
        ([{**ALICE, "providers": ["other"]}, {**BOB, "providers": ["other"]}], True),
    ],
)
def test_tenant_is_sole_where_no_other_may_use_the_provider(keys, sole):
    assert make(*keys).sole_tenant("main") is sole


def test_caller_carries_the_limits_of_its_key():
    limits = {"providers": ["main", "eu"], "models": ["m"], "default_provider": "eu"}
    (caller,) = make({**ALICE, **limits}).callers
    assert caller == Caller("alice", "team-a", frozenset({"main", "eu"}), frozenset({"m"}), "eu")
    assert [caller.may_use(name) for name in ("main", "eu", "other")] == [True, True, False]
    (free,) = make(ALICE).callers
    assert (free.providers, free.models, free.default_provider) == (None, None, None)
    assert free.may_use("anything")


@pytest.mark.parametrize(
    ("binding", "owns"),
    [
        (None, False),
        (Binding("main", "team-a"), True),
        (Binding("main", "team-b"), False),
        (Binding("main", "team-A"), False),
        (Binding("other", "team-a"), False),
    ],
)
def test_caller_owns_what_its_tenant_made_where_it_may_go(binding, owns):
    assert Caller("alice", "team-a", providers=frozenset({"main"})).owns(binding) is owns
