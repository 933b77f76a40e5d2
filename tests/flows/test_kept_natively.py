"""What providers are kept for that speak the Responses API but keep nothing, whatever they leave out of it."""

import asyncio

import orjson
import pytest

from tests.flows.calls import PLAIN, STREAMED, ask, create
from tests.rig import scripts, wire
from tests.rig.gateway import gateway
from tests.rig.settings import config, provider

PATH = "/v1/responses"


@pytest.fixture
async def native(upstream, valkey):
    """Give a gateway in front of such a provider."""
    async with gateway(config(providers={"it": provider(upstream, kind="openrouter")}), redis_url=valkey.url) as gw:
        yield gw


NAMELESS = [{"id": None}, {"id": 7}, {"id": ""}, {}]


@pytest.mark.parametrize("named", NAMELESS, ids=str)
async def test_items_without_ids_are_listed_each_once(named, native, upstream):
    said = [{**{name: value for name, value in wire.message(text).items() if name != "id"}, **named} for text in "ab"]
    upstream.on("POST", PATH, *(scripts.json_answer(wire.response_object(f"gen-{n}", output=said)) for n in "12"))
    await create(native, PLAIN)
    await create(native, {**PLAIN, "previous_response_id": "gen-1"})
    listed = []
    target = "/v1/responses/gen-2/input_items?order=asc&limit=3"
    for query in ("", "&after={}"):
        page = (await native.fetch("GET", target + query.format(listed[-1]["id"] if listed else ""))).json()
        listed += page["data"]
    assert [item["content"][0]["text"] for item in listed] == ["hello", "a", "b", "hello"]
    assert len({item["id"] for item in listed}) == 4


@pytest.mark.parametrize("output", [*([item] for item in NAMELESS), None, {}, "x", [None], [1]], ids=str)
async def test_item_that_has_no_id_cannot_be_referred_to(output, native, upstream):
    rid = wire.new_id()
    upstream.on("POST", PATH, scripts.json_answer(wire.response_object(rid, output=output)))
    await create(native, PLAIN)
    reference = {"type": "item_reference", "id": f"msg_{rid[5:]}00"}
    answer = await create(native, {**PLAIN, "input": [reference]})
    assert answer.status == 404
    assert answer.json()["error"]["message"].startswith(f"Item with id '{reference['id']}' not found.")


def strip(frame, *names):
    """Return an event without members of it."""
    event = orjson.loads(frame.partition(b"data: ")[2])
    return b"data: %b\n\n" % orjson.dumps({name: value for name, value in event.items() if name not in names})


async def test_stream_without_sequence_numbers_is_replayed(native, upstream):
    events = [strip(event, "sequence_number") for event in wire.stream_events("gen-1")]
    upstream.on("POST", PATH, scripts.sse_answer(events))
    await create(native, STREAMED)
    assert (await native.fetch("GET", "/v1/responses/gen-1?stream=true")).body == b"".join(events)


async def stream_in_two(gw, upstream, events, cut):
    """Have the last event come alone, once the client has read up to `cut`."""
    gate = asyncio.Event()
    upstream.on("POST", PATH, scripts.sse_answer(events, gates={len(events) - 1: gate}))
    async with gw.connect() as client:
        await ask(client, STREAMED)
        answer = await client.answer()
        await answer.read_until(cut)
        gate.set()
        await answer.read()
    return answer


async def test_response_that_failed_behind_an_error_is_kept(native, upstream):
    error = {"type": "server_error", "code": "oops", "message": "It broke."}
    failed = wire.response_object("gen-1", status="failed", error=error, output=[])
    ends = [{"type": "error", "error": error}, {"type": "response.failed", "response": failed}]
    events = [*wire.stream_events("gen-1")[:-1], *(b"data: %b\n\n" % orjson.dumps(end) for end in ends)]
    answer = await stream_in_two(native, upstream, events, b'"type":"error"')
    assert (await native.fetch("GET", "/v1/responses/gen-1")).json() == {**failed, "provider": "openrouter"}
    assert (await native.fetch("GET", "/v1/responses/gen-1?stream=true")).body == answer.body


async def test_stream_that_was_cut_is_kept_as_it_ended(native, upstream):
    events = wire.stream_events("gen-1")
    upstream.on("POST", PATH, scripts.cut_stream(events, len(b"".join(events[:4]))))
    answer = await create(native, STREAMED)
    failed = answer.events()[-1].json()["response"]
    assert failed["status"] == "failed"
    assert (await native.fetch("GET", "/v1/responses/gen-1")).json() == {**failed, "provider": "openrouter"}
    assert (await native.fetch("GET", "/v1/responses/gen-1?stream=true")).body == answer.body


async def test_response_is_kept_by_the_id_it_has_in_the_end(native, upstream, valkey):
    *events, last = wire.stream_events("gen-1")
    await stream_in_two(native, upstream, [*events, last.replace(b"gen-1", b"gen-2")], b"output_item.done")
    assert (await native.fetch("GET", "/v1/responses/gen-2")).json()["id"] == "gen-2"
    assert (await native.fetch("GET", "/v1/responses/gen-1")).status == 404
    assert len(valkey.keys()) == 2


@pytest.mark.parametrize("depth", [252, 600])
@pytest.mark.parametrize("body", [PLAIN, STREAMED], ids=["json", "stream"])
async def test_response_too_deep_to_be_kept_is_not_taken_away(body, depth, native, upstream, valkey, capfd):
    deep = b"[" * depth + b"]" * depth
    response = orjson.dumps(wire.response_object("gen-1", metadata="deep")).replace(b'"deep"', deep)
    last = b'data: {"type":"response.completed","sequence_number":99,"response":%b}\n\n' % response
    streamed = [*wire.stream_events("gen-1")[:-1], last]
    upstream.on("POST", PATH, scripts.sse_answer(streamed) if "stream" in body else scripts.json_answer(response))
    answer = await create(native, body)
    assert (answer.status, answer.end) == (200, "complete")
    assert deep in answer.body
    for rest in ("", "?stream=true", "/input_items"):
        assert (await native.fetch("GET", f"/v1/responses/gen-1{rest}")).status == 404
    assert valkey.keys() == []
    assert '"event":"response_not_kept"' in capfd.readouterr().out
