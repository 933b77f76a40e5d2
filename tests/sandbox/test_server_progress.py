"""How far a sandbox response gets: in the background, cancelled, left by its client."""

import openai
import pytest

from tests.rig.client import connect
from tests.rig.eventually import eventually
from tests.rig.sandbox import ask, collect, serving, status_of

SLOW = {"events_per_second": "0.01"}


@pytest.fixture
async def running():
    async with serving() as served:
        yield served


async def _is(running, name, status):
    return await status_of(running, name) == status


async def test_background_is_queued_then_completes(running):
    created = await ask(running, background=True, metadata={"events_per_second": "500"})
    assert (created.status, created.output) == ("queued", [])
    await eventually(lambda: _is(running, created.id, "completed"))
    assert (await running.responses.retrieve(created.id)).output_text == "You said: one two three"


async def test_background_stream_goes_on_when_its_client_left(running):
    stream = await ask(running, background=True, stream=True, metadata={"events_per_second": "200"})
    async with stream:
        first = await anext(aiter(stream))
    await eventually(lambda: _is(running, first.response.id, "completed"))


async def test_background_stream_is_resumed_while_it_runs(running):
    created = await ask(running, background=True, metadata={"events_per_second": "100"})
    assert created.status == "queued"
    events = await collect(await running.responses.retrieve(created.id, stream=True, starting_after=1))
    assert [event.type for event in events][:2] == ["response.in_progress", "response.output_item.added"]
    assert events[-1].type == "response.completed"


async def test_cancel_stops_a_background_response_for_good(running):
    created = await ask(running, background=True, metadata=SLOW)
    cancelled = await running.responses.cancel(created.id)
    assert (cancelled.status, cancelled.output) == ("cancelled", [])
    assert await running.responses.cancel(created.id) == cancelled
    assert await running.responses.retrieve(created.id) == cancelled


async def test_cancel_ends_the_streams_of_the_response(running):
    stream = aiter(
        await ask(running, background=True, stream=True, metadata={"events_per_second": "20", "words": "999"})
    )
    first = await anext(stream)
    await running.responses.cancel(first.response.id)
    rest = [event async for event in stream]
    assert (rest[-1].type, rest[-1].response.status) == ("response.incomplete", "cancelled")
    again = await collect(await running.responses.retrieve(first.response.id, stream=True))
    assert again == [first, *rest]
    last = rest[-1].sequence_number
    tails = [
        await running.responses.retrieve(first.response.id, stream=True, starting_after=n) for n in (last - 1, last)
    ]
    assert [await collect(tail) for tail in tails] == [[rest[-1]], []]


async def test_cancel_leaves_a_completed_response_as_it_is(running):
    created = await ask(running, background=True)
    assert created.status == "queued"
    assert (await running.responses.cancel(created.id)).status == "completed"


async def test_cancel_is_refused_when_the_response_is_synchronous(running):
    created = await ask(running)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        await running.responses.cancel(created.id)


async def test_stream_that_its_client_leaves_is_cancelled(running):
    async with connect(running.port) as client:
        body = {"model": "m", "input": "x", "stream": True, "metadata": SLOW}
        await client.request("POST", "/v1/responses", json=body)
        name = (await (await client.answer()).read_events(1))[0].json()["response"]["id"]
        assert await status_of(running, name) == "in_progress"
    await eventually(lambda: _is(running, name, "cancelled"))


async def test_stream_that_its_client_leaves_behind_the_last_event_is_complete(running):
    async with connect(running.port) as client:
        await client.request("POST", "/v1/responses", json={"model": "m", "input": "x", "stream": True})
        answer = await client.answer()
        await answer.read_until(b"event: response.completed")
        client.abort()
    assert await status_of(running, answer.events()[0].json()["response"]["id"]) == "completed"
