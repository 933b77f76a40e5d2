"""Redis absent, stopped, hung, read-only, full, restarted: creates go on, lifecycle calls degrade, nothing waits."""

import asyncio

import orjson
import pytest

from proxy import redisqueue
from tests.flows.calls import PLAIN, STREAMED
from tests.flows.surfaces import SURFACES, told
from tests.rig import scripts, wire
from tests.rig.eventually import eventually
from tests.rig.gateway import gateway
from tests.rig.settings import ALICE, BOB, BOB_KEY, config

QUICK = {"ack_timeout": 0.2}
TO_MAIN = [("x-tfy-provider-name", "main")]


@pytest.fixture
def recovering(monkeypatch):
    """Look for Redis more often than once a second, and believe at once what it has not."""
    monkeypatch.setattr(redisqueue, "PROBE_INTERVAL", 0.02)
    monkeypatch.setattr(redisqueue, "SETTLING", 0.0)


@pytest.fixture
def unobserved(monkeypatch):
    """Never look for Redis again: what is served is served without it, and nothing waits for its return."""
    monkeypatch.setattr(redisqueue, "PROBE_INTERVAL", 3600.0)


FAULTS = {
    "stopped": ("stop", "start", "down"),
    "hung": ("hang", "resume", "down"),
    "read-only": ("read_only", "writable", "read_only"),
    "full": ("fill", "unfill", "read_only"),
}
EACH_FAULT = pytest.mark.parametrize("fault", FAULTS)


def new_ids(upstream):
    """Answer every create with a response of its own, streamed where that is asked."""
    made = []

    async def script(exchange):
        await exchange.body()
        made.append(wire.new_id())
        streamed = exchange.json().get("stream")
        answer = scripts.sse_answer(wire.stream_events(made[-1])) if streamed else None
        await (answer or scripts.json_answer(wire.response_object(made[-1])))(exchange)

    upstream.on("POST", "/v1/responses", script)
    upstream.on("GET", "/v1/responses/*", scripts.json_answer({"id": "kept", "object": "response"}))
    return made


async def create(gw, body=PLAIN, **options):
    answer = await gw.fetch("POST", "/v1/responses", json=body, **options)
    assert (answer.status, answer.end) == (200, "complete"), answer.body
    return answer


async def retrieve(gw, rid, **options):
    return (await gw.fetch("GET", f"/v1/responses/{rid}", **options)).status


def states(capfd):
    """Return the changes of state the gateways have logged."""
    lines = [orjson.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    return [(line["before"], line["state"]) for line in lines if line["event"] == "redis_state"]


async def settled(gw):
    """Wait until nothing waits to be written."""
    await eventually(lambda: len(gw.app._bindings) == 0 and gw.app._bindings.state == "up")


@EACH_FAULT
@pytest.mark.usefixtures("unobserved")
async def test_creates_and_their_lifecycle_go_on_without_redis(fault, upstream, private_valkey, capfd):
    """With the fault found out nothing waits for Redis any more, and one line says so."""
    breaks, _, state = FAULTS[fault]
    made = new_ids(upstream)
    async with gateway(config(upstream, bindings=QUICK), redis_url=private_valkey.url) as gw:
        await create(gw)
        getattr(private_valkey, breaks)()
        await create(gw)
        assert gw.app._bindings.state == state
        tried = await gw.metric("responses_proxy_redis_operations_total", operation="bind")
        await asyncio.gather(*(create(gw, body) for body in (PLAIN, STREAMED) * 10))
        statuses = {await retrieve(gw, rid) for rid in made}
        foreign = {await retrieve(gw, rid, key=BOB_KEY) for rid in made[1:]}
        assert await gw.metric("responses_proxy_redis_operations_total", operation="bind") == tried
        assert await gw.metric("responses_proxy_redis_operations_total", operation="bind", outcome="error") == 1
        # The one before, too, where another server may be in the place of this one, without it.
        assert await gw.metric("responses_proxy_binding_queue") == 21 + (fault == "read-only")
    assert statuses == {200}
    assert foreign == {503}
    assert states(capfd) == [("up", state)]


@EACH_FAULT
@pytest.mark.usefixtures("recovering")
async def test_queued_bindings_arrive_when_redis_is_back(fault, upstream, private_valkey, capfd):
    """Then another gateway serves them; each change of state is one line."""
    breaks, heals, state = FAULTS[fault]
    made = new_ids(upstream)
    async with gateway(config(upstream, bindings=QUICK), redis_url=private_valkey.url) as gw:
        getattr(private_valkey, breaks)()
        await asyncio.gather(*(create(gw, body) for body in (PLAIN, STREAMED) * 3))
        assert gw.app._bindings.state == state
        getattr(private_valkey, heals)()
        await settled(gw)
        await create(gw)
        assert await gw.metric("responses_proxy_binding_queue") == 0
        assert await gw.metric("responses_proxy_bindings_dropped_total") == 0
        async with gateway(config(upstream), redis_url=private_valkey.url) as other:
            assert [await retrieve(other, rid) for rid in made] == [200] * 7
            assert await retrieve(other, made[0], key=BOB_KEY) == 404
    assert states(capfd) == [("up", state), (state, "up")]


@pytest.mark.usefixtures("recovering")
async def test_gateway_starts_without_redis(upstream, private_valkey, capfd):
    """It serves at once, and finds Redis when that comes."""
    private_valkey.stop()
    made = new_ids(upstream)
    async with gateway(config(upstream, bindings=QUICK), redis_url=private_valkey.url) as gw:
        await create(gw)
        await create(gw, STREAMED)
        assert await retrieve(gw, made[0]) == 200
        private_valkey.start()
        await settled(gw)
        assert len(private_valkey.keys()) == 2
    assert states(capfd) == [("up", "down"), ("down", "up")]


@pytest.mark.usefixtures("recovering")
async def test_restart_of_redis_between_two_requests_is_not_noticed(upstream, private_valkey, capfd):
    """Pooled connections are stale then; the first one that is found so is tried again."""
    made = new_ids(upstream)
    async with gateway(config(upstream), redis_url=private_valkey.url) as gw:
        await create(gw)
        private_valkey.stop()
        private_valkey.start()
        await create(gw)
        async with gateway(config(upstream), redis_url=private_valkey.url) as other:
            assert [await retrieve(other, rid) for rid in made] == [200, 200]
        assert gw.app._bindings.state == "up"
    assert states(capfd) == []


@pytest.mark.usefixtures("recovering")
async def test_creates_in_flight_are_answered_when_redis_hangs_under_them(upstream, private_valkey):
    """Whoever waits for the acknowledgement then waits a bounded time."""
    made = new_ids(upstream)
    async with gateway(config(upstream, bindings=QUICK), redis_url=private_valkey.url) as gw:
        await create(gw)
        private_valkey.hang()
        async with asyncio.TaskGroup() as tasks:
            for body in (PLAIN, STREAMED) * 25:
                tasks.create_task(create(gw, body))
        private_valkey.resume()
        await settled(gw)
    assert len(private_valkey.keys()) == len(made) == 51


@pytest.mark.parametrize("fault", ["stopped", "hung"])
@pytest.mark.usefixtures("unobserved")
async def test_id_that_is_not_known_here_is_answered_503_without_redis(fault, upstream, private_valkey):
    """Never 404, on any surface: it may well exist. One of another tenant's gets the same answer."""
    unknown, foreign = wire.new_id(), wire.new_id()
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(foreign)))
    async with gateway(config(upstream, bindings=QUICK), redis_url=private_valkey.url) as gw:
        getattr(private_valkey, FAULTS[fault][0])()
        await create(gw, key=BOB_KEY)
        for surface in SURFACES:
            missing, owned = [await gw.fetch(headers=TO_MAIN, **surface.request(named)) for named in (unknown, foreign)]
            assert told(missing, unknown) == told(owned, foreign), surface
            assert (missing.status, missing.header("Retry-After")) == (503, "1"), surface
            assert missing.json()["error"]["code"] == "bindings_unavailable"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("fault", ["read-only", "full"])
@pytest.mark.usefixtures("unobserved")
async def test_redis_that_takes_no_writes_still_answers(fault, upstream, private_valkey):
    """What it has is served anywhere; what it has not may wait in some queue."""
    made = new_ids(upstream)
    async with gateway(config(upstream), redis_url=private_valkey.url) as gw:
        await create(gw)
        getattr(private_valkey, FAULTS[fault][0])()
        async with gateway(config(upstream), redis_url=private_valkey.url) as other:
            await create(gw)
            await create(other)
            assert await retrieve(other, made[0]) == 200
            assert await retrieve(other, made[0], key=BOB_KEY) == 503
            assert await retrieve(other, made[1]) == 503
            assert await retrieve(gw, made[1]) == 200


def key_of(name, tenant, *providers):
    return {"name": name, "tenant": tenant, "key": f"{name}-key-0123456789", "providers": list(providers)}


TRUST = {
    "one tenant": ([ALICE], {}, 200),
    "two tenants": ([ALICE, BOB], {}, 503),
    "two tenants, trusting": ([ALICE, BOB], {"without_redis": "trust_header"}, 200),
    "no other tenant there": ([ALICE, key_of("carol", "team-c", "second")], {}, 200),
    "a second tenant there": ([ALICE, key_of("carol", "team-c", "main")], {}, 503),
    "a colleague there": ([ALICE, key_of("carol", "team-a", "main"), key_of("dave", "team-d", "second")], {}, 200),
}


@pytest.mark.parametrize("case", TRUST)
@pytest.mark.usefixtures("unobserved")
async def test_header_stands_in_for_redis_only_where_no_other_tenant_could_be_read(
    case, upstream, second_upstream, private_valkey
):
    """Without it nobody can tell whose an id is; with one tenant behind a provider nobody need."""
    keys, policy, status = TRUST[case]
    new_ids(upstream)
    rid = wire.new_id()
    trusting = config(upstream, second_upstream, keys=keys, bindings={**QUICK, **policy}, default_provider="second")
    private_valkey.stop()
    async with gateway(trusting, redis_url=private_valkey.url) as gw:
        assert await retrieve(gw, rid, headers=TO_MAIN) == status
        assert await retrieve(gw, rid) == 503
        continued = await gw.fetch(
            "POST", "/v1/responses", headers=TO_MAIN, json={**PLAIN, "previous_response_id": rid}
        )
        assert continued.status == status
    assert not second_upstream.requests


@pytest.mark.usefixtures("unobserved")
async def test_header_naming_what_the_key_may_not_use_is_refused_without_redis(
    upstream, second_upstream, private_valkey
):
    """The fallback widens nothing."""
    keys = [ALICE, key_of("carol", "team-a", "second")]
    private_valkey.stop()
    async with gateway(config(upstream, second_upstream, keys=keys), redis_url=private_valkey.url) as gw:
        assert await retrieve(gw, "resp_x", key="carol-key-0123456789", headers=TO_MAIN) == 400
    assert not upstream.requests


@pytest.mark.usefixtures("recovering")
async def test_oldest_bindings_are_dropped_and_counted_when_the_queue_is_full(upstream, private_valkey):
    """What grows has a limit; what is lost is counted."""
    made = new_ids(upstream)
    small = config(upstream, bindings={**QUICK, "queue": 3, "cache": 0})
    async with gateway(small, redis_url=private_valkey.url) as gw:
        private_valkey.stop()
        for _ in range(5):
            await create(gw)
        assert await gw.metric("responses_proxy_binding_queue") == 3
        assert await gw.metric("responses_proxy_bindings_dropped_total") == 2
        private_valkey.start()
        await settled(gw)
        assert [await retrieve(gw, rid) for rid in made] == [404, 404, 200, 200, 200]


@pytest.mark.usefixtures("recovering")
async def test_delete_during_an_outage_is_carried_out_afterwards(upstream, private_valkey):
    """What was deleted meanwhile does not come back with Redis."""
    (rid,) = [wire.new_id()]
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(rid)))
    upstream.on("DELETE", f"/v1/responses/{rid}", scripts.json_answer({"deleted": True}))
    async with gateway(config(upstream, bindings=QUICK), redis_url=private_valkey.url) as gw:
        await create(gw)
        private_valkey.stop()
        assert (await gw.fetch("DELETE", f"/v1/responses/{rid}")).status == 200
        private_valkey.start()
        await eventually(lambda: not private_valkey.keys())
        await settled(gw)
        assert await retrieve(gw, rid) == 404


async def test_bindings_still_queued_are_written_when_the_gateway_stops(upstream, private_valkey, monkeypatch):
    """A last try, once; what Redis does not take then is counted as lost."""
    monkeypatch.setattr(redisqueue, "PROBE_INTERVAL", 3600.0)
    new_ids(upstream)
    async with gateway(config(upstream, bindings=QUICK), redis_url=private_valkey.url) as gw:
        private_valkey.stop()
        await create(gw)
        private_valkey.start()
    assert len(private_valkey.keys()) == 1
    async with gateway(config(upstream, bindings=QUICK), redis_url=private_valkey.url) as gw:
        private_valkey.stop()
        await create(gw)
    assert await gw.metric("responses_proxy_bindings_dropped_total") == 1
