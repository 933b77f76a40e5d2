import contextlib

import pytest

from proxy.auth import Keys
from proxy.bindings import Binding
from proxy.errors import BindingsUnavailable, GatewayError
from proxy.ownership import (
    Claim,
    Ownership,
    conversation_not_found,
    previous_response_not_found,
    response_not_found,
)
from proxy.routing import Router
from tests.rig.bindings import bindings
from tests.rig.settings import ALICE, BOB, config, provider

URL = "http://127.0.0.1:9"
CAROL = {"name": "carol", "tenant": "team-a", "key": "carol-key-0123456789", "providers": ["main"]}
ONE_TENANT, TWO_TENANTS = (ALICE, CAROL), (ALICE, BOB)
SURFACES = [response_not_found, previous_response_not_found, conversation_not_found]
BOUND = {"resp_main": ("main", "team-a"), "resp_eu": ("eu", "team-a"), "resp_bob": ("main", "team-b")}


class Gate:
    """Who asks for what, decided over a real server."""

    def __init__(self, bound, keys, policy):
        typed = config(providers={"main": provider(URL), "eu": provider(URL)}, keys=keys, bindings=policy)
        self.bindings = bound
        self.keys = Keys(typed.keys)
        self.ownership = Ownership(bound, self.keys, Router(typed), typed.bindings)

    async def ask(self, who, rid, *, named=None, surface=response_not_found):
        (caller,) = (caller for caller in self.keys.callers if caller.name == who)
        binding = await self.ownership.binding_of(Claim(caller, rid, named, surface(rid)))
        return binding and binding.provider

    async def refusal(self, who, rid, **asked):
        with pytest.raises(GatewayError) as raised:
            await self.ask(who, rid, **asked)
        return raised.value


@contextlib.asynccontextmanager
async def gate(server, *keys, **policy):
    async with bindings(server) as bound:
        for rid, (name, tenant) in BOUND.items():
            await bound.bind(rid, Binding(name, tenant))
    async with bindings(server, ack_timeout=0.1) as bound:
        yield Gate(bound, keys or TWO_TENANTS, policy)


def answer(error):
    """Return all that the client gets to see of a refusal."""
    return type(error), error.status, error.body(), error.headers()


@pytest.mark.parametrize("surface", SURFACES)
async def test_owner_learns_the_provider(valkey, surface):
    async with gate(valkey) as asked:
        assert await asked.ask("alice", "resp_main", surface=surface) == "main"
        assert await asked.ask("alice", "resp_eu", named="main", surface=surface) == "eu", "the header decides nothing"
        assert await asked.ask("bob", "resp_bob", surface=surface) == "main"


@pytest.mark.parametrize("surface", SURFACES)
async def test_foreign_id_and_unknown_id_get_the_same_answer(valkey, surface):
    async with gate(valkey) as asked:
        for named in (None, "main", "eu", "nope"):
            foreign = await asked.refusal("bob", "resp_main", named=named, surface=surface)
            unknown = await asked.refusal("bob", "resp_none", named=named, surface=surface)
            expected = surface("resp_main")
            assert answer(foreign) == answer(expected)
            assert answer(unknown) == answer(surface("resp_none"))
            assert foreign.body().replace(b"resp_main", b"resp_none") == unknown.body()


async def test_answer_for_an_id_that_is_not_there_is_openais(valkey):
    async with gate(valkey) as asked:
        shown = [
            (error.status, error.code, error.param, error.message)
            for surface in SURFACES
            for error in [await asked.refusal("alice", "resp_x", surface=surface)]
        ]
    assert shown == [
        (404, None, None, "Response with id 'resp_x' not found."),
        (
            *(400, "previous_response_not_found", "previous_response_id"),
            "Previous response with id 'resp_x' not found.",
        ),
        (404, None, None, "Conversation with id 'resp_x' not found."),
    ]


@pytest.mark.parametrize("keys", [ONE_TENANT, (ALICE, BOB, CAROL)])
async def test_id_at_a_provider_the_caller_may_not_use_is_not_there(valkey, keys):
    async with gate(valkey, *keys) as asked:
        assert await asked.ask("carol", "resp_main") == "main"
        assert answer(await asked.refusal("carol", "resp_eu")) == answer(response_not_found("resp_eu"))


@pytest.mark.parametrize(
    ("keys", "policy", "forwarded"),
    [
        (ONE_TENANT, {}, True),
        (ONE_TENANT, {"unknown": "forward"}, True),
        (ONE_TENANT, {"unknown": "refuse"}, False),
        (TWO_TENANTS, {}, False),
        (TWO_TENANTS, {"unknown": "refuse"}, False),
        (TWO_TENANTS, {"unknown": "forward"}, False),
    ],
)
@pytest.mark.parametrize("surface", SURFACES)
async def test_id_nobody_bound_is_forwarded_for_a_single_tenant_only(valkey, keys, policy, forwarded, surface):
    """With two, each could read the other's responses through their shared credentials."""
    async with gate(valkey, *keys, **policy) as asked:
        if forwarded:
            assert await asked.ask("alice", "resp_none", surface=surface) is None
        else:
            error = await asked.refusal("alice", "resp_none", surface=surface)
            assert answer(error) == answer(surface("resp_none"))


@pytest.mark.parametrize("rid", ["..", ".", "../files", "a/../../files", "a/..", "..\\files", "a\\..\\b", "resp_1/."])
async def test_id_that_climbs_out_of_its_path_is_not_there(private_valkey, rid):
    async with gate(private_valkey, *ONE_TENANT) as asked:
        assert answer(await asked.refusal("alice", rid, named="main")) == answer(response_not_found(rid))
        private_valkey.stop()
        assert answer(await asked.refusal("alice", rid, named="main")) == answer(response_not_found(rid))


@pytest.mark.parametrize("rid", ["resp_1", "a/b", "resp..1", "...", "resp_1.", "", "%2e%2e", "bGl0ZWxsbTo/Lw=="])
async def test_id_of_any_other_form_is_forwarded(valkey, rid):
    async with gate(valkey, *ONE_TENANT) as asked:
        assert await asked.ask("alice", rid) is None


# Without Redis


@pytest.mark.parametrize("keys", [ONE_TENANT, TWO_TENANTS])
async def test_id_this_process_knows_needs_no_redis(private_valkey, keys):
    async with gate(private_valkey, *keys) as asked:
        await asked.ask("alice", "resp_eu")
        private_valkey.stop()
        assert await asked.ask("alice", "resp_eu", named="main") == "eu"
        assert await asked.ask("alice", "resp_eu") == "eu"


@pytest.mark.parametrize(
    ("keys", "policy", "who", "named", "provider"),
    [
        (ONE_TENANT, {}, "alice", "eu", "eu"),
        (ONE_TENANT, {}, "carol", "main", "main"),
        (ONE_TENANT, {}, "carol", "eu", None),
        (ONE_TENANT, {}, "alice", "nope", None),
        (ONE_TENANT, {}, "alice", None, None),
        (ONE_TENANT, {"unknown": "refuse"}, "alice", "eu", "eu"),
        (TWO_TENANTS, {}, "alice", "eu", None),
        ((ALICE, {**BOB, "providers": ["main"]}), {}, "alice", "eu", "eu"),
        ((ALICE, {**BOB, "providers": ["main"]}), {}, "alice", "main", None),
        (TWO_TENANTS, {"without_redis": "trust_header"}, "bob", "main", "main"),
        (TWO_TENANTS, {"without_redis": "trust_header"}, "bob", "nope", None),
        (TWO_TENANTS, {"without_redis": "trust_header"}, "bob", None, None),
        ((ALICE, {**BOB, "providers": ["main"]}), {"without_redis": "trust_header"}, "bob", "eu", None),
    ],
)
async def test_header_is_trusted_without_redis_where_no_other_tenant_is_behind_it(
    private_valkey, keys, policy, who, named, provider
):
    """Else the id may be anybody's: asked again later, it can be told. It is never said not to be there."""
    async with gate(private_valkey, *keys, **policy) as asked:
        private_valkey.stop()
        for surface in SURFACES:
            for rid in ("resp_main", "resp_none"):
                if provider is not None:
                    assert await asked.ask(who, rid, named=named, surface=surface) == provider
                else:
                    error = await asked.refusal(who, rid, named=named, surface=surface)
                    assert (type(error), error.status) == (BindingsUnavailable, 503)
                    assert ("Retry-After", "1") in error.headers()


async def test_foreign_id_and_unknown_id_get_the_same_answer_without_redis_too(private_valkey):
    async with gate(private_valkey) as asked:
        await asked.ask("alice", "resp_main")
        private_valkey.stop()
        foreign = await asked.refusal("bob", "resp_main")
        assert answer(foreign) == answer(await asked.refusal("bob", "resp_none"))


async def test_foreign_id_and_unknown_id_get_the_same_answer_while_redis_takes_no_writes(private_valkey):
    async with gate(private_valkey) as asked:
        private_valkey.read_only()
        await asked.bindings.bind("resp_new", Binding("main", "team-b"))
        assert await asked.ask("alice", "resp_main") == "main"
        foreign = await asked.refusal("bob", "resp_main")
        assert answer(foreign) == answer(await asked.refusal("bob", "resp_none"))
        assert await asked.ask("bob", "resp_new") == "main"
