"""Calls on kept responses over real sockets: as the provider would answer them; streams are in `test_kept_streams`."""

import asyncio

import openai
import orjson
import pytest

from proxy.archive import key_of
from proxy.bindings import key_of as binding_key
from proxy.families import TOKENS
from tests.rig import wire
from tests.rig.archive import TENANT, response_of
from tests.rig.client import connect, split_events
from tests.rig.kept import USAGE, missing, open_desk


@pytest.fixture
async def desk(valkey):
    async with open_desk(valkey) as opened:
        yield opened


# Retrieve


async def test_response_is_retrieved_as_it_was_with_its_provider(desk):
    rid = await desk.keep(usage=USAGE)
    answer = await desk.get(rid)
    assert (answer.status, answer.header("Content-Type")) == (200, "application/json")
    assert answer.header("x-gateway-provider") == "main"
    kept = orjson.dumps(response_of(rid, usage=USAGE))
    assert answer.body == kept[:-1] + b',"provider":"anthropic"}'
    (record,) = desk.records
    assert (record.status, record.response_id, record.model, record.kind) == (200, rid, "large", "anthropic")
    assert record.usage.input == 3


async def test_retrieving_counts_no_tokens_again(desk):
    rid, _ = await desk.keep_streamed(3, usage=USAGE)
    await desk.get(rid)
    await desk.get(f"{rid}?stream=true")
    assert desk.counted(TOKENS) == {}


@pytest.mark.parametrize("query", ["", "?stream=true", "?stream=true&starting_after=3", "/input_items"])
async def test_response_that_is_not_there_is_not_found(desk, query):
    rid = wire.new_id()
    answer = await desk.get(f"{rid}{query}")
    assert (answer.status, answer.body) == (404, missing(rid))


@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("GET", "?stream=true"), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")],
)
async def test_response_of_another_tenant_is_not_there(desk, method, rest):
    """Whoever decided on its owner: what is kept is not given to anybody else."""
    rid = await desk.keep(tenant="team-b")
    answer = await desk.get(f"{rid}{rest}", method)
    assert (answer.status, answer.body) == (404, missing(rid))
    assert await desk.archive.head(rid, "team-b") is not None


# Delete and cancel


async def test_deleted_response_leaves_nothing_behind(desk, valkey):
    rid = await desk.keep()
    assert valkey.keys() == sorted([key_of(rid, TENANT), binding_key(rid)])
    answer = await desk.get(rid, "DELETE")
    assert (answer.status, answer.json()) == (200, {"id": rid, "object": "response", "deleted": True})
    assert valkey.keys() == []
    assert await desk.bindings.find(rid, "team-a") is None
    again = await desk.get(rid, "DELETE")
    assert (again.status, again.body) == (404, missing(rid))


async def test_response_that_is_finished_cannot_be_cancelled(desk):
    rid = await desk.keep()
    answer = await desk.get(f"{rid}/cancel", "POST")
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "background" in answer.json()["error"]["message"]


# Input items


async def test_input_items_are_those_the_response_was_made_from_newest_first(desk):
    first = await desk.keep(said="One?", text="One.")
    second = await desk.keep(said="Two?", text="Two.", previous=first)
    listed = (await desk.get(f"{second}/input_items")).json()
    assert [item["content"][0]["text"] for item in listed["data"]] == ["Two?", "One.", "One?"]
    assert [item["role"] for item in listed["data"]] == ["user", "assistant", "user"]
    assert (listed["object"], listed["has_more"]) == ("list", False)
    assert listed["first_id"] == listed["data"][0]["id"] == f"msg_{second.removeprefix('resp_')}i0"


async def test_input_items_come_page_by_page(desk):
    rid = await desk.keep(said=[{"role": "user", "content": str(number)} for number in range(5)])
    page = (await desk.get(f"{rid}/input_items?limit=2&order=asc")).json()
    assert [item["content"][0]["text"] for item in page["data"]] == ["0", "1"]
    assert page["has_more"]
    page = (await desk.get(f"{rid}/input_items?limit=2&order=asc&after={page['last_id']}")).json()
    assert [item["content"][0]["text"] for item in page["data"]] == ["2", "3"]


@pytest.mark.parametrize(
    ("query", "param"), [("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=msg_x", "after")]
)
async def test_page_that_cannot_be_is_refused(desk, query, param):
    rid = await desk.keep()
    answer = await desk.get(f"{rid}/input_items?{query}")
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
    assert desk.records[0].status == 400


# While Redis is away


@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("GET", "?stream=true"), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")],
)
async def test_call_is_refused_while_redis_is_away(private_valkey, method, rest):
    async with open_desk(private_valkey, ack_timeout=0.1) as desk:
        rid = await desk.keep()
        private_valkey.stop()
        answer = await desk.get(f"{rid}{rest}", method)
        assert (answer.status, answer.header("Retry-After")) == (503, "1")
        assert answer.json()["error"]["code"] == "store_unavailable"


# The official client


async def test_official_client_reads_and_deletes_a_kept_response(desk, sdk):
    client = sdk(desk, "key")
    rid, frames = await desk.keep_streamed(40)
    first = await client.responses.retrieve(rid)
    assert (first.id, first.output_text.split()[:2], first.provider) == (rid, ["0", "1"], "anthropic")
    stream = await client.responses.retrieve(rid, stream=True, starting_after=10)
    numbers = [event.sequence_number async for event in stream]
    assert numbers == list(range(11, len(split_events(frames))))
    with pytest.raises(openai.BadRequestError):
        await client.responses.cancel(rid)
    await client.responses.delete(rid)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(rid)


async def test_official_client_pages_through_input_items(desk, sdk):
    rid = await desk.keep(said=[{"role": "user", "content": str(number)} for number in range(45)])
    listed = [item async for item in sdk(desk, "key").responses.input_items.list(rid, order="asc", limit=10)]
    assert [item.content[0].text for item in listed] == [str(number) for number in range(45)]


async def test_two_calls_on_one_connection_are_answered_one_after_the_other(desk):
    rid, frames = await desk.keep_streamed(300)
    async with connect(desk.port) as client:
        for target in (f"{rid}?stream=true", rid, f"{rid}/input_items"):
            await client.request("GET", f"/v1/responses/{target}")
            answer = await client.answer()
            body = await asyncio.wait_for(answer.read(), 20)
            assert answer.status == 200
            assert (body == frames) == target.endswith("true")
