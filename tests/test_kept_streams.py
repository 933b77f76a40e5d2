"""Streams of kept responses: to the byte, from any event on, at the client's own pace, never politely short."""

import pytest

from proxy.archive import key_of
from proxy.compression import pack
from proxy.dialects.replay import after, render_replay
from proxy.families import STREAM_ENDS
from proxy.kept import PIECE_BYTES
from tests.dialects.oracle import read_events
from tests.rig.archive import TENANT, response_of
from tests.rig.client import connect, split_events
from tests.rig.eventually import eventually, standstill
from tests.rig.kept import missing, open_desk

BUFFERED = 1_048_576
"""Bytes that may wait for a client that does not read: a piece, and what the system's buffers add to it."""


@pytest.fixture
async def desk(valkey):
    async with open_desk(valkey) as opened:
        yield opened


async def read_whole(client, frames):
    """Read an answer that is all of these frames; of so large a body its beginning is kept, the rest counted."""
    answer = await client.answer()
    assert frames.startswith(await answer.read())
    assert (answer.size, answer.end) == (len(frames), "complete")


async def test_stream_is_replayed_to_the_byte(desk):
    rid, frames = await desk.keep_streamed(2000)
    assert len(frames) > 4 * PIECE_BYTES
    answer = await desk.get(f"{rid}?stream=true&include_obfuscation=false&include%5B%5D=x")
    assert (answer.status, answer.end) == (200, "complete")
    assert answer.header("Content-Type") == "text/event-stream; charset=utf-8"
    assert answer.header("Cache-Control") == "no-cache, no-transform"
    assert answer.body == frames
    (record,) = desk.records
    assert (record.status, record.streamed, record.end, record.response_id) == (200, True, "completed", rid)
    assert desk.counted(STREAM_ENDS) == {("main", "completed"): 1}


@pytest.mark.parametrize("runs", [1, 7, 5000])
async def test_stream_goes_on_behind_any_event(desk, runs):
    """Whichever block that is in."""
    rid, frames = await desk.keep_streamed(1500, runs)
    last = len(split_events(frames)) - 1
    for number in (-1, 0, 1, 300, 301, last - 1, last, last + 1, 10**30):
        answer = await desk.get(f"{rid}?stream=true&starting_after={number}")
        assert (answer.status, answer.end) == (200, "complete")
        assert answer.body == after(frames, min(number, last)), number


async def test_response_that_was_not_streamed_has_the_stream_it_would_have_had(desk):
    rid = await desk.keep()
    answer = await desk.get(f"{rid}?stream=true")
    assert answer.body == render_replay(response_of(rid))
    assert read_events(answer.body)[-1]["response"] == response_of(rid)
    rest = await desk.get(f"{rid}?stream=true&starting_after=4")
    assert rest.body == after(answer.body, 4)


@pytest.mark.parametrize("given", ["x", "", "1.5", "1e3"])
async def test_place_to_go_on_from_that_is_no_number_is_refused(desk, given):
    rid, _ = await desk.keep_streamed(1)
    answer = await desk.get(f"{rid}?stream=true&starting_after={given}")
    assert (answer.status, answer.json()["error"]["param"]) == (400, "starting_after")


async def test_failed_response_ends_its_replay_as_failed(desk):
    rid, _ = await desk.keep_streamed(2, status="failed", error={"code": "server_error", "message": "Sorry."})
    await desk.get(f"{rid}?stream=true")
    assert [record.end for record in desk.records] == ["failed"]


async def test_client_that_does_not_read_is_waited_for_with_little_in_hand(desk):
    """And gets everything when it does."""
    rid, frames = await desk.keep_streamed(60_000)
    assert len(frames) > 10 * BUFFERED
    async with connect(desk.port, receive_buffer=16_384) as client:
        client.hold()
        await client.request("GET", f"/v1/responses/{rid}?stream=true")
        await eventually(lambda: desk.downstreams and desk.downstreams[0].head_sent)
        sent = await standstill(lambda: desk.downstreams[0].sent)
        assert desk.downstreams[0]._transport.get_write_buffer_size() < BUFFERED
        assert sent < len(frames) / 2
        client.release()
        await read_whole(client, frames)
    assert desk.records[0].waited > 0
    assert desk.downstreams[0].connection.on_writable is None


async def test_large_event_is_written_in_pieces(desk):
    """One run of frames may hold megabytes."""
    rid, frames = await desk.keep_streamed(60_000, runs=10**6)
    async with connect(desk.port, receive_buffer=16_384) as client:
        client.hold()
        await client.request("GET", f"/v1/responses/{rid}?stream=true")
        await eventually(lambda: desk.downstreams and desk.downstreams[0].head_sent)
        await standstill(lambda: desk.downstreams[0].sent)
        assert desk.downstreams[0]._transport.get_write_buffer_size() < BUFFERED
        client.release()
        await read_whole(client, frames)


async def test_client_that_never_reads_is_left(valkey):
    async with open_desk(valkey, patience=0.05) as desk:
        rid, _ = await desk.keep_streamed(60_000)
        async with connect(desk.port, receive_buffer=16_384) as client:
            client.hold()
            await client.request("GET", f"/v1/responses/{rid}?stream=true")
            await eventually(lambda: desk.records)
            client.release()
            answer = await client.answer()
            await answer.read()
            assert answer.end in ("reset", "cut")
        assert [record.end for record in desk.records] == ["client_gone"]


async def test_client_that_leaves_ends_the_replay(desk):
    rid, _ = await desk.keep_streamed(60_000)
    async with connect(desk.port, receive_buffer=16_384) as client:
        client.hold()
        await client.request("GET", f"/v1/responses/{rid}?stream=true")
        await eventually(lambda: desk.downstreams and desk.downstreams[0].paused)
        client.abort()
        await eventually(lambda: desk.records)
    assert [record.end for record in desk.records] == ["client_gone"]


async def test_stream_whose_first_block_is_broken_is_not_found(desk, valkey):
    rid, _ = await desk.keep_streamed(2000)
    key = key_of(rid, TENANT)
    kept = valkey.run("HGET", key, "e")
    valkey.run("HSET", key, "e", kept[:40] + b"xxxx" + kept[44:])
    answer = await desk.get(f"{rid}?stream=true")
    assert (answer.status, answer.body) == (404, missing(rid))


async def test_stream_whose_later_block_is_broken_is_cut_loudly(desk, valkey):
    rid, frames = await desk.keep_streamed(2000)
    key = key_of(rid, TENANT)
    kept = bytearray(valkey.run("HGET", key, "e"))
    kept[-8] ^= 1
    valkey.run("HSET", key, "e", bytes(kept))
    answer = await desk.get(f"{rid}?stream=true")
    assert (answer.status, answer.end) == (200, "reset")
    assert frames.startswith(answer.body)


@pytest.mark.parametrize("value", [b"{", b"[]", b'"x"'])
async def test_response_that_is_none_has_no_stream(desk, valkey, value):
    rid = await desk.keep()
    valkey.run("HSET", key_of(rid, TENANT), "r", pack(value))
    answer = await desk.get(f"{rid}?stream=true")
    assert (answer.status, answer.body) == (404, missing(rid))
