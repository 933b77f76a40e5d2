import pytest

from proxy.auth import Caller
from proxy.bindings import KEPT, Binding
from proxy.dialects.identity import identify_items
from proxy.errors import BadRequest, BindingsUnavailable, NotFound
from proxy.references import References
from tests.flows.calls import PLAIN, create
from tests.rig import chat, scripts, wire
from tests.rig.archive import TENANT, entry_of
from tests.rig.gateway import gateway
from tests.rig.settings import config, provider

CALLER = Caller(name="alice", tenant=TENANT, providers=None, models=None, default_provider=None)


@pytest.fixture
async def services(upstream, valkey):
    """Give the services of a gateway, one response of the caller's in its archive, and the references of the caller."""
    served = config(providers={"main": provider(upstream, kind="openai-chat-compatible")})
    async with gateway(served, redis_url=valkey.url) as gw:
        yield gw.app._handlers._services


async def keep(services, **fields):
    rid = wire.new_id()
    await services.archive.keep(rid, entry_of(rid, **fields))
    await services.bindings.bind(rid, Binding("main", TENANT, KEPT))
    return rid


async def test_nothing_is_looked_up_where_nothing_is_referred_to(services):
    items = identify_items([{"role": "user", "content": "x"}], wire.new_id())
    references = References(services, CALLER)
    assert await references.resolve(items) is items
    assert await references.history(None) == []


async def test_history_is_that_of_the_caller(services):
    rid = await keep(services, text="Said.")
    items = await References(services, CALLER).history(rid)
    assert [item["type"] for item in items] == ["message", "message"]
    with pytest.raises(BadRequest) as refused:
        await References(services, CALLER).history(wire.new_id())
    assert refused.value.code == "previous_response_not_found"


async def test_response_that_is_bound_but_not_kept_has_no_items(services):
    rid = wire.new_id()
    await services.bindings.bind(rid, Binding("main", TENANT, 0))
    reference = {"type": "item_reference", "id": f"msg_{rid[5:]}00"}
    with pytest.raises(NotFound, match="not persisted"):
        await References(services, CALLER).resolve([reference])


async def test_reference_to_a_reference_leads_nowhere(services):
    """It would go round in circles."""
    rid = wire.new_id()
    circle = {"type": "item_reference", "id": f"item_{rid[5:]}i0"}
    await services.archive.keep(rid, entry_of(rid)._replace(input=[circle]))
    await services.bindings.bind(rid, Binding("main", TENANT, KEPT))
    with pytest.raises(NotFound):
        await References(services, CALLER).resolve([circle])


async def test_response_is_read_once_for_all_of_its_items(upstream, valkey):
    """A client that refers to everything said before names many items of one response."""
    upstream.on("POST", "/v1/chat/completions", scripts.json_answer(chat.completion("One")))
    served = config(providers={"main": provider(upstream, kind="openai-chat-compatible")})
    async with gateway(served, redis_url=valkey.url) as gw:
        made = (await create(gw, {**PLAIN, "input": [{"role": "user", "content": str(n)} for n in range(20)]})).json()
        listed = await gw.fetch("GET", f"/v1/responses/{made['id']}/input_items?limit=100&order=asc")
        reads = await gw.metric("responses_proxy_redis_operations_total", operation="read")
        references = [{"type": "item_reference", "id": item["id"]} for item in listed.json()["data"]]
        assert (await create(gw, {**PLAIN, "input": references})).status == 200
        assert await gw.metric("responses_proxy_redis_operations_total", operation="read") - reads <= 2
    assert [message["content"] for message in upstream.requests[-1].json()["messages"]] == [str(n) for n in range(20)]


async def test_what_is_referred_to_is_bounded_however_often_it_is(upstream, valkey):
    """A chain of small requests could otherwise lead to one large item a thousand times."""
    upstream.on("POST", "/v1/chat/completions", scripts.json_answer(chat.completion("One")))
    kinds = {"main": provider(upstream, kind="openai-chat-compatible")}
    async with gateway(config(providers=kinds, archive={"max_chain_bytes": 100_000}), redis_url=valkey.url) as gw:
        made = (await create(gw, {**PLAIN, "input": "x" * 30_000})).json()["id"]
        (large,) = (await gw.fetch("GET", f"/v1/responses/{made}/input_items")).json()["data"]
        asked = {**PLAIN, "input": [{"type": "item_reference", "id": large["id"]}]}
        answers = []
        for _ in range(3):
            answers.append(await create(gw, asked))
            asked["previous_response_id"] = answers[-1].json().get("id")
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert answers[-1].json()["error"]["code"] == "references_too_long"


async def test_responses_that_are_referred_to_are_bounded_as_a_whole(upstream, valkey):
    """Small items of large responses: all of what is read is held."""
    upstream.on("POST", "/v1/chat/completions", scripts.json_answer(chat.completion("One")))
    kinds = {"main": provider(upstream, kind="openai-chat-compatible")}
    async with gateway(config(providers=kinds, archive={"max_chain_bytes": 100_000}), redis_url=valkey.url) as gw:
        made = [(await create(gw, {**PLAIN, "input": "x" * 40_000})).json() for _ in range(3)]
        said = [{"type": "item_reference", "id": one["output"][0]["id"]} for one in made]
        answers = [await create(gw, {**PLAIN, "input": said[:count]}) for count in (2, 3)]
    assert [answer.status for answer in answers] == [200, 400]


async def test_reference_cannot_be_followed_while_redis_is_away(upstream, private_valkey):
    served = config(providers={"main": provider(upstream, kind="openai-chat-compatible")})
    async with gateway(served, redis_url=private_valkey.url) as gw:
        private_valkey.stop()
        references = References(gw.app._handlers._services, CALLER)
        with pytest.raises(BindingsUnavailable):
            await references.resolve([{"type": "item_reference", "id": f"msg_{'0' * 48}00"}])
