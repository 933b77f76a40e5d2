"""The raw client and what tests make with the wire's own forms are proven here."""

import asyncio
import socket
import struct

import pytest

from tests.rig import scripts, wire
from tests.rig.client import Event, comments, connect, fetch, split_events
from tests.rig.eventually import eventually, standstill

PATH = "/v1/responses"


@pytest.fixture
def events():
    return wire.stream_events("resp_1")


async def post(upstream, **request):
    return await fetch(upstream.port, "POST", PATH, **({"json": {}} | request))


async def test_client_that_holds_stops_the_upstream_and_releases_it(upstream):
    """Backpressure: the writer stands still while nobody reads, and ends once somebody does."""
    total = 64 * 1_048_576
    upstream.on("POST", PATH, scripts.answer(bytes(total)))
    async with connect(upstream.port, receive_buffer=4096) as client:
        await client.request("POST", PATH, json={})
        answer = await client.answer()
        client.hold()
        request = await upstream.received()
        await eventually(lambda: request.stream.blocked)
        assert await standstill(lambda: client.stream.received) < 1_048_576
        assert request.stream.blocked
        client.release()
        await answer.read()
        assert (answer.size, answer.end) == (total, "complete")
    assert not request.stream.blocked


async def test_drained_bytes_are_the_kernels(upstream):
    """At most the piece being sent waits in this process: what a script counts as sent has left."""

    async def script(exchange):
        await exchange.start_stream()
        while True:
            await exchange.chunk(bytes(10_000))

    upstream.on("POST", PATH, script)
    async with connect(upstream.port, receive_buffer=4096) as client:
        await client.request("POST", PATH, json={})
        client.hold()
        request = await upstream.received()
        await eventually(lambda: request.stream.blocked)
        await standstill(lambda: client.stream.received)
        assert request.stream._transport.get_write_buffer_size() <= 10_010


async def test_client_stops_when_the_upstream_does_not_read(upstream):
    """Backpressure the other way: an upload nobody reads stands still."""
    gate = asyncio.Event()

    async def script(exchange):
        await gate.wait()
        await scripts.empty_answer()(exchange)

    upstream.on("POST", PATH, script)
    async with connect(upstream.port) as client:
        sending = asyncio.ensure_future(client.request("POST", PATH, body=bytes(64 * 1_048_576)))
        request = await upstream.received()
        await eventually(lambda: client.stream.blocked)
        await standstill(lambda: request.stream.received)
        assert not sending.done()
        gate.set()
        await sending
        assert (await client.answer()).status == 200
    assert request.size == 64 * 1_048_576


async def test_client_half_closes_and_still_reads(upstream):
    """A FIN after the request does not end the answer."""
    gate = asyncio.Event()
    upstream.on("POST", PATH, scripts.after(gate, scripts.json_answer({"a": 1})))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        client.half_close()
        await (await upstream.received()).closed.wait()
        gate.set()
        assert await (await client.answer()).read() == b'{"a":1}'


@pytest.mark.parametrize("reset", [False, True])
async def test_client_leaves_in_either_way(upstream, reset):
    """The upstream tells a FIN from a reset."""
    upstream.on("POST", PATH, scripts.silence)
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        request = await upstream.received()
        await eventually(lambda: request.complete)
        (client.abort if reset else client.close)()
        await request.closed.wait()
    assert request.stream.reset is reset


async def test_client_reads_interim_and_bodyless_answers(upstream):
    """100, 204 and answers to HEAD have no body; the connection goes on after them."""
    answers = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 200 Yes\r\nContent-Length: 5\r\n\r\n"
    upstream.on("POST", PATH, scripts.raw_answer(answers[0]))
    upstream.on("HEAD", PATH, scripts.raw_answer(answers[1]))
    async with connect(upstream.port) as client:
        await client.request("POST", PATH, json={})
        statuses = [(await client.answer()).status for _ in range(2)]
        await client.request("HEAD", PATH)
        answer = await client.answer()
        await answer.read()
    assert statuses == [100, 204]
    assert (answer.status, answer.body, answer.end) == (200, b"", "complete")


async def test_client_pieces_leave_one_by_one(upstream):
    """Exact bytes in pieces: the upstream sees the first before the second is written."""
    upstream.on("GET", "/", scripts.empty_answer())
    async with connect(upstream.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHo")
        connection = await eventually(lambda: next(iter(upstream._open), None))
        await eventually(lambda: connection.received == 18)
        assert upstream.requests == []
        await client.send(b"st: x\r\n\r\n")
        assert (await client.answer()).status == 200


def test_abort_lingers_for_nothing():
    """The option that makes a close a reset has the kernel's layout."""
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_events_split_by_the_letter(newline):
    """Names, several data lines, comments and an unfinished tail, under each line ending."""
    lines = [": hi", "event: a", "data: 1", "data:2", "", "data: [DONE]", "", ":only", "", "id: 3", "", "data: cut"]
    stream = newline.join(lines).encode()
    assert split_events(stream) == [Event("a", "1\n2"), Event(None, "[DONE]")]
    assert comments(stream) == [" hi", "only"]


# Made objects and streams


async def test_made_stream_satisfies_the_official_client(upstream, sdk):
    """The strict helper of the official client accepts the stream and the object."""
    upstream.on("POST", PATH, scripts.sse_answer(wire.stream_events("resp_1", ["He", "llo"], model="m")))
    upstream.on("GET", "/v1/responses/resp_1", scripts.json_answer(wire.response_object("resp_1", "Hello")))
    client = sdk(upstream, "some-key")
    async with client.responses.stream(model="m", input="x") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert (final.id, final.output_text, final.model, final.usage.total_tokens) == ("resp_1", "Hello", "m", 19)
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert (await client.responses.retrieve("resp_1")).output_text == "Hello"


@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
def test_made_stream_counts_from_zero_and_ends_as_asked(end):
    """Sequence numbers have no gap; one id throughout; the terminal event is last."""
    values = [event.json() for event in split_events(b"".join(wire.stream_events("resp_1", "Hi", end=end)))]
    assert [value["sequence_number"] for value in values] == list(range(9))
    assert {value["response"]["id"] for value in values if "response" in value} == {"resp_1"}
    assert (values[-1]["type"], values[-1]["response"]["status"]) == (f"response.{end}", end)
