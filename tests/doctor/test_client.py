"""The client notes what came, when, over how many connections, and how it ended."""

import asyncio

import pytest

from proxy.doctor.client import Client, Unreachable
from tests.rig.gateway import free_port
from tests.rig.sandbox import serving

BODY = {"model": "m", "input": "one two three"}


@pytest.mark.parametrize(("fresh", "made"), [(False, 1), (True, 3)])
async def test_connections_are_counted(fresh, made):
    async with serving() as sandbox, Client(f"http://127.0.0.1:{sandbox.port}/v1/", "any") as client:
        for _ in range(3):
            assert (await client.call("GET", "/models", fresh=fresh)).status == 200
        assert client.connections == made


async def test_stream_is_recorded_to_its_end():
    async with serving() as sandbox, Client(f"http://127.0.0.1:{sandbox.port}/v1", "any") as client:
        recording = await client.record({**BODY, "metadata": {"silence": "0.2"}})
    assert (recording.end, recording.finished) == ("whole", True)
    assert len(recording.arrivals) == len(recording.events)
    assert recording.response_id.startswith("resp_")
    assert recording.arrivals == sorted(recording.arrivals)
    assert recording.longest_silence > 0.1  # the loops of both ends round to their timers


async def test_stream_is_left_once_there_is_enough_of_it():
    async with serving() as sandbox, Client(f"http://127.0.0.1:{sandbox.port}/v1", "any") as client:
        body = {**BODY, "metadata": {"silence": "3600"}}
        recording = await client.record(body, enough=lambda seen: len(seen.events) >= 2)
    assert (recording.end, recording.finished) == ("left", False)


async def test_stream_that_is_silent_for_too_long_is_given_up():
    async with serving() as sandbox, Client(f"http://127.0.0.1:{sandbox.port}/v1", "any") as client:
        recording = await client.record({**BODY, "metadata": {"silence": "3600"}}, patience=0.1)
    assert (recording.end, recording.finished) == ("silent", False)


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 500"])
async def test_stream_that_is_cut_is_told_from_a_whole_one(framing):
    async def cut(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing + b"\r\n\r\n")
        writer.write(b": hello\n\n" if b"Length" in framing else b"9\r\n: hello\n\n\r\n")
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server, Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "any") as client:
        recording = await client.record(BODY)
    assert (recording.status, recording.end, recording.comments) == (200, "cut", 1)


async def test_answer_that_is_no_stream_is_recorded_with_its_error():
    async with serving() as sandbox, Client(f"http://127.0.0.1:{sandbox.port}/v1", "any") as client:
        recording = await client.record({"model": "m"})
    assert recording.answer().told() == "status 400: Missing required parameter: 'input'."
    assert not recording.answer().from_gateway


async def test_nobody_listening_is_unreachable():
    async with Client(f"http://127.0.0.1:{free_port()}", "any") as client:
        with pytest.raises(Unreachable, match="Connect call failed"):
            await client.call("GET", "/models")
        with pytest.raises(Unreachable):
            await client.record(BODY)


@pytest.mark.parametrize(
    ("header", "key", "sent"),
    [
        ("Authorization", "k", {"Authorization": "Bearer k"}),
        ("api-key", "k", {"api-key": "k"}),
        ("Authorization", None, {}),
    ],
)
async def test_key_goes_in_the_header_that_arrives(header, key, sent):
    async with Client("http://127.0.0.1:1", "k") as client:
        client.key_header = header
        assert client.credential(key) == sent
        async with client.at("http://127.0.0.1:2/") as other:
            assert (other.url, other.key_header) == ("http://127.0.0.1:2", header)
