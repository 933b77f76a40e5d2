"""An answer's bytes on the wire, whatever the client's version, method and manners."""

import asyncio
import contextlib

import pytest
from aiohttp import web

from proxy.downstream import Downstream, new_request_id
from proxy.errors import BindingsUnavailable
from tests.flows.exact import check_refusal, chunked, head
from tests.rig.client import connect, fetch
from tests.rig.edge import serving
from tests.rig.eventually import eventually

TEXT = b"Content-Type: text/plain\r\n"


def answering(write, **limits):
    """Serve every request by `write(downstream)`."""
    return serving(lambda request: write(Downstream(request, keep_alive=True)), **limits)


async def whole(downstream):
    """Answer at once."""
    return downstream.answer(200, TEXT, b"hello")


async def in_pieces(downstream):
    """Answer piece by piece, of no announced length."""
    downstream.write(b"hel", downstream.head(200, TEXT, None))
    downstream.write(b"lo")
    return downstream.finish()


@pytest.mark.parametrize(
    ("write", "raw", "expected"),
    [
        (whole, head("GET", "/"), b"HTTP/1.1 200 OK\r\n%bContent-Length: 5\r\n\r\nhello"),
        (whole, head("HEAD", "/"), b"HTTP/1.1 200 OK\r\n%bContent-Length: 5\r\n\r\n"),
        (
            whole,
            head("GET", "/", version="HTTP/1.0"),
            b"HTTP/1.1 200 OK\r\n%bContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        ),
        (
            whole,
            head("GET", "/", "Connection: close"),
            b"HTTP/1.1 200 OK\r\n%bContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        ),
        (
            in_pieces,
            head("GET", "/"),
            b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        ),
        (
            in_pieces,
            head("GET", "/", version="HTTP/1.0"),
            b"HTTP/1.1 200 OK\r\n%bConnection: close\r\n\r\nhello",
        ),
    ],
)
async def test_answer_has_the_framing_its_client_reads(write, raw, expected):
    """By length where it is known, in chunks where not, up to the connection's end for HTTP/1.0."""
    expected = expected.replace(b"%b", TEXT)
    async with answering(write) as server, connect(server.port) as client:
        await client.send(raw)
        assert await client.stream.read_exactly(len(expected)) == expected
        if b"close" in expected:
            assert await client.ended() == "closed"
        else:
            await client.send(head("GET", "/"))
            assert (await client.answer()).status == 200


@pytest.mark.parametrize("status", [204, 304])
async def test_answer_that_has_no_body_announces_none(status):
    """And the next answer on the connection is read as one."""

    async def write(downstream):
        return downstream.answer(status, b"", b"")

    async with answering(write) as server, connect(server.port) as client:
        for _ in range(2):
            await client.send(head("DELETE", "/"))
            answer = await client.answer()
            assert (answer.status, answer.header("Content-Length"), answer.header("Connection")) == (status, None, None)


async def test_answer_of_nothing_in_chunks_ends():
    """Zero pieces are an answer too."""

    async def write(downstream):
        downstream.write(b"", downstream.head(200, TEXT, None))
        return downstream.finish()

    async with answering(write) as server:
        answer = await fetch(server.port, "GET", "/")
    assert (answer.body, answer.raw, answer.end) == (b"", b"0\r\n\r\n", "complete")


@pytest.mark.parametrize("length", [None, 100])
async def test_aborted_answer_cannot_be_taken_for_the_whole(length):
    """The client sees the connection break."""

    async def write(downstream):
        downstream.write(b"hello", downstream.head(200, TEXT, length))
        return downstream.abort()

    async with answering(write) as server:
        answer = await fetch(server.port, "GET", "/")
    assert answer.end in {"cut", "reset"}


async def test_error_carries_its_own_headers():
    """Those of the exchange first, then what the error itself says."""

    async def write(downstream):
        return downstream.fail(BindingsUnavailable("Later.", retry_after=3), b"X: y\r\n")

    async with answering(write) as server:
        answer = await fetch(server.port, "GET", "/")
    assert (answer.status, answer.header("X"), answer.header("Retry-After")) == (503, "y", "3")
    assert answer.json()["error"]["code"] == "bindings_unavailable"


async def test_answer_before_the_body_has_come_closes_the_connection():
    """What the client still sends must not be read as its next request."""
    async with answering(whole) as server, connect(server.port) as client:
        await client.send(head("POST", "/", "Content-Length: 50"), b"x")
        answer = await client.answer()
        await answer.read()
        assert (answer.body, answer.header("Connection")) == (b"hello", "close")
        await client.send(b"x" * 49 + head("GET", "/"))
        assert await client.ended() in {"closed", "reset"}
        assert client.stream.buffered == 0


async def test_client_that_left_is_written_to_in_vain():
    """No error: the handler's cancellation is how the end of the client is told."""
    written = asyncio.Event()

    async def write(downstream):
        try:
            await asyncio.Event().wait()
        finally:
            assert downstream.gone
            downstream.answer(200, TEXT, b"hello")
            downstream.finish()
            downstream.abort()
            written.set()

    async with answering(write) as server, connect(server.port) as client:
        await client.send(head("GET", "/"))
        await eventually(lambda: server.requests_count)
        client.close()
        await written.wait()


async def test_client_that_does_not_read_shows():
    """`paused` turns true and, once it reads, `on_writable` is called."""
    paused, writable = asyncio.Event(), asyncio.Event()

    async def write(downstream):
        downstream.connection.on_writable = writable.set
        downstream.write(b"", downstream.head(200, TEXT, None))
        while not downstream.paused:
            downstream.write(bytes(100_000))
        paused.set()
        await writable.wait()
        return downstream.finish()

    async with answering(write) as server, connect(server.port, receive_buffer=4096) as client:
        client.hold()
        await client.send(head("GET", "/"))
        await paused.wait()
        assert not writable.is_set()
        client.release()
        answer = await client.answer()
        await answer.read()
    assert answer.end == "complete"


async def test_exception_nobody_caught_is_answered_and_logged(caplog):
    """500 in OpenAI's shape; nothing of the exception reaches the client."""

    async def write(_):
        raise LookupError("secret")

    async with answering(write) as server:
        answer = await fetch(server.port, "GET", "/")
    check_refusal(answer, 500, "internal_error")
    assert "secret" not in answer.body.decode()
    assert "LookupError" in caplog.text


async def test_refused_connection_lets_its_client_finish_sending():
    """The answer is read although megabytes follow it; then both sides end."""
    async with answering(whole) as server, connect(server.port) as client:
        sending = asyncio.create_task(client.send(*[b"garbage\r\n" * 10_000] * 200))
        answer = await client.answer()
        await answer.read()
        check_refusal(answer, 400, "malformed_request")
        assert await client.ended() == "closed"
        await sending
        client.close()
        await eventually(lambda: not server.connections)


async def test_refused_connection_does_not_linger_for_ever(monkeypatch):
    """A client that stays is cut off."""
    monkeypatch.setattr("proxy.downstream.LINGER", 0.05)
    for raw in (b"garbage\r\n\r\n", head("GET", "/")[:-2] + b"X: %b\r\n" % (b"y" * 1000) * 100):
        async with answering(whole) as server, connect(server.port) as client:
            await client.send(raw)
            assert (await client.answer()).status in {400, 431}
            await eventually(lambda server=server: not server.connections)


async def test_body_that_breaks_ends_for_its_reader():
    """It gets what came before, and then the error, not a body that looks whole."""
    seen = []

    async def write(downstream):
        content = downstream.request.content
        with contextlib.suppress(web.RequestPayloadError):
            while not content.at_eof() or content.exception():
                seen.append(await content.readany())
        return downstream.answer(400, TEXT, b"")

    async with answering(write) as server, connect(server.port) as client:
        await client.send(head("POST", "/", "Transfer-Encoding: chunked"), chunked(b"abc"))
        await eventually(lambda: seen)
        await client.send(b"2\r\ndexx\r\n")
        answer = await client.answer()
        assert (answer.status, answer.header("Connection")) == (400, "close")
        assert await client.ended() == "closed"
        assert client.stream.buffered == 0
    assert b"".join(seen) in {b"abc", b"abcde"}


def test_request_ids_differ():
    assert len({new_request_id() for _ in range(1000)}) == 1000
