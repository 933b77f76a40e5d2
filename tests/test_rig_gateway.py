"""The gateway's own rig is proven here: in this process, and as the command users run."""

import signal

import openai
import pytest

from tests.rig import scripts, wire
from tests.rig.connection import PeerGone
from tests.rig.gateway import command, gateway, total
from tests.rig.settings import BOB_KEY, UPSTREAM_KEY, config, provider, settings

EXPOSITION = """\
# TYPE hits_total counter
hits_total{kind="a",code="200"} 2
hits_total{kind="a",code="500"} 3
hits_total{kind="b",code="200"} 4
# TYPE taken_seconds histogram
taken_seconds_bucket{le="+Inf"} 5
taken_seconds_count 5
taken_seconds_sum 1.5
"""


async def test_gateway_serves_the_official_client(upstream, valkey, alice):
    """A create goes through to the scripted provider, with the provider's credential."""
    made = wire.new_id()
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(made, "Hi")))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        response = await alice(gw).responses.create(model="gpt-4o-mini", input="hello")
        assert await gw.metric("responses_proxy_requests_total", operation="create", code="200") == 1
    assert (response.id, response.output_text) == (made, "Hi")
    assert upstream.requests[0].header("Authorization") == f"Bearer {UPSTREAM_KEY}"
    assert valkey.keys()


async def test_gateway_knows_two_tenants_and_no_stranger(upstream, valkey, alice, bob, sdk):
    """What alice made, bob does not find; another key is nobody's."""
    made = wire.new_id()
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(made)))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        await alice(gw).responses.create(model="gpt-4o-mini", input="hello")
        with pytest.raises(openai.NotFoundError):
            await bob(gw).responses.retrieve(made)
        with pytest.raises(openai.AuthenticationError):
            await sdk(gw, "a-stranger's-key").responses.retrieve(made)
        assert (await gw.fetch("GET", f"/v1/responses/{made}", key=BOB_KEY)).status == 404
        assert (await gw.fetch("GET", f"/v1/responses/{made}", key=None)).status == 401
    assert len(upstream.requests) == 1


async def test_gateway_is_gone_after_its_block(upstream, valkey):
    """Nothing listens, and no connection to the provider stays."""
    upstream.on("GET", "/v1/responses/*", scripts.empty_answer(404))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        await gw.fetch("GET", "/v1/responses/resp_1")
    with pytest.raises((ConnectionRefusedError, PeerGone)):
        await gw.fetch("GET", "/v1/responses/resp_1")


async def test_settings_name_upstreams_by_position(upstream, second_upstream):
    """Upstreams become providers; sections pass as they are."""
    made = config(
        upstream, second_upstream, providers={"x": provider("http://x.test", kind="xai")}, default_provider="x"
    )
    assert {name: one.base_url for name, one in made.providers.items()} == {
        "main": f"{upstream.url}/v1",
        "second": f"{second_upstream.url}/v1",
        "x": "http://x.test",
    }
    assert made.default_provider == "x"
    assert [(key.name, key.tenant) for key in made.keys] == [("alice", "team-a"), ("bob", "team-b")]


async def test_command_runs_the_gateway_as_a_process(upstream, valkey, alice):
    """Ready when the block begins; SIGTERM ends it with status 0."""
    made = wire.new_id()
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(made)))
    async with command(settings(upstream, redis={"url": valkey.url})) as running:
        assert (await alice(running).responses.create(model="gpt-4o-mini", input="hello")).id == made
        assert (await running.admin("/healthz")).status == 200
        assert await running.metric("responses_proxy_requests_total", operation="create") == 1
        running.signal(signal.SIGTERM)
        assert await running.exited() == 0, running.output()
        assert await running.admin("/healthz") is None


async def test_command_shows_why_it_did_not_start(valkey):
    """A configuration that cannot be used fails the test with what the command said."""
    with pytest.raises(AssertionError, match="default_provider"):
        async with command({"default_provider": "nobody", "redis": {"url": valkey.url}}):
            pass


def test_total_adds_the_series_that_carry_the_labels():
    """Labels not named are summed over; a name nobody exposes is 0."""
    assert total(EXPOSITION, "hits_total") == 9
    assert total(EXPOSITION, "hits_total", kind="a") == 5
    assert total(EXPOSITION, "hits_total", kind="a", code="500") == 3
    assert total(EXPOSITION, "taken_seconds_count") == 5
    assert total(EXPOSITION, "nothing") == 0
