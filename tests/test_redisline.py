"""Groups of commands over one connection: replies in order, errors where they belong, and an end for whoever waits."""

import asyncio
import contextlib

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from proxy.redisline import RedisLine, checked
from tests.rig.eventually import eventually, standstill

PATIENCE = 5.0
LARGE = 20_000_000
"""Bytes that no system's own buffers take."""


@contextlib.asynccontextmanager
async def line_to(server, timeout=PATIENCE):  # noqa: ASYNC109
    line = await RedisLine.open(server.url, timeout)
    try:
        yield line
    finally:
        line.close()


@contextlib.asynccontextmanager
async def scripted(*replies):
    """Give a line to a server that greets like an old Redis, then answers each read by the next of these bytes."""
    rest = list(replies)
    ended = asyncio.Event()

    async def serve(reader, writer):
        while data := await reader.read(65_536):
            hello = data.count(b"HELLO") + data.count(b"CLIENT")
            if hello:
                writer.write(b"-ERR unknown command\r\n" * hello)
            elif rest:
                writer.write(rest.pop(0))
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        line = await RedisLine.open(f"redis://127.0.0.1:{port}/0?protocol=2", PATIENCE)
        try:
            yield line
        finally:
            line.close()
            await ended.wait()


async def test_replies_of_a_group_are_in_its_order(valkey):
    async with line_to(valkey) as line:
        replies = await line.ask([("SET", b"k", b"v"), ("GET", "k"), ("GET", "none"), ("INCRBY", "n", 7)])
        assert replies == [b"OK", b"v", None, 7]


async def test_groups_under_way_are_answered_each_for_itself(valkey):
    async with line_to(valkey) as line:
        groups = [line.ask([("ECHO", str(number))] * (1 + number % 3)) for number in range(50)]
        for number, replies in enumerate(await asyncio.gather(*groups)):
            assert replies == [str(number).encode()] * (1 + number % 3)


async def test_error_stands_in_its_place(valkey):
    async with line_to(valkey) as line:
        before, error, after = await line.ask([("ECHO", "a"), ("NONSENSE",), ("ECHO", "b")])
        assert (before, after) == (b"a", b"b")
        assert isinstance(error, ResponseError)


async def test_whoever_no_longer_waits_takes_nobody_elses_reply(valkey):
    async with line_to(valkey) as line:
        given_up, wanted = line.ask([("ECHO", "a")] * 2), line.ask([("ECHO", "b")])
        given_up.cancel()
        assert await wanted == [b"b"]


async def test_silence_ends_the_connection_for_all_who_wait(private_valkey):
    async with line_to(private_valkey, timeout=0.05) as line:
        private_valkey.hang()
        results = await asyncio.gather(line.ask([("PING",)]), line.ask([("PING",)]), return_exceptions=True)
        private_valkey.resume()
        assert [type(result) for result in results] == [RedisTimeoutError] * 2
        assert line.closed


async def test_timeout_begins_anew_with_each_answer(private_valkey):
    """The connection is given up for silence, not because much is under way."""
    async with line_to(private_valkey, timeout=0.5) as line:
        await line.ask([("PING",)])
        # The server takes them one after the other.
        first, second = line.ask([("BLPOP", "none", "0.3")]), line.ask([("BLPOP", "none", "0.3")])
        assert await first == await second == [None]


async def test_lost_connection_is_told_to_whoever_waits_and_whoever_asks_later(private_valkey):
    async with line_to(private_valkey) as line:
        waiting = line.ask([("BLPOP", "none", "0")])
        private_valkey.stop()
        with pytest.raises(RedisConnectionError):
            await waiting
        assert line.closed
        with pytest.raises(RedisConnectionError):
            await line.ask([("PING",)])


async def test_closing_tells_whoever_waits(valkey):
    async with line_to(valkey) as line:
        waiting = line.ask([("BLPOP", "none", "0")])
        line.close()
        with pytest.raises(RedisConnectionError):
            await waiting


async def test_connection_is_gone_once_closed(private_valkey):
    before = private_valkey.clients()
    async with line_to(private_valkey):
        assert private_valkey.clients() == before + 1
    await eventually(lambda: private_valkey.clients() == before)


async def test_messages_nobody_asked_for_are_no_replies():
    async with scripted(b">2\r\n+invalidate\r\n*0\r\n+PONG\r\n") as line:
        assert await line.ask([("PING",)]) == [b"PONG"]


@pytest.mark.parametrize("protocol", [2, 3])
async def test_password_that_a_server_repeats_is_in_no_error(protocol):
    """One that does not know a command says what it was given: HELLO, and AUTH where it was renamed."""

    async def serve(reader, writer):
        name, *arguments = (await reader.read(65_536)).split(b"\r\n")[2::2]
        said = b" ".join(b"`%b`," % argument for argument in arguments)
        writer.write(b"-ERR unknown command `%b`, with args beginning with: %b\r\n" % (name, said))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"redis://user:pass%20word@127.0.0.1:{server.sockets[0].getsockname()[1]}?protocol={protocol}"
        with pytest.raises(ResponseError) as raised:
            await RedisLine.open(url, PATIENCE)
    assert str(raised.value) == f"unknown command `{'HELLO' if protocol == 3 else 'AUTH'}`"


async def test_what_greets_like_no_redis_is_an_error():
    """redis-py itself trips over it."""

    async def serve(reader, writer):
        await reader.read(65_536)
        writer.write(b"+OK\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        with pytest.raises(RedisConnectionError, match="greeted"):
            await RedisLine.open(f"redis://:p@127.0.0.1:{server.sockets[0].getsockname()[1]}?protocol=3", PATIENCE)


async def test_what_is_no_redis_ends_the_connection():
    async with scripted(b"HTTP/1.1 400 Bad Request\r\n\r\n") as line:
        with pytest.raises(InvalidResponse):
            await line.ask([("PING",)])
        assert line.closed


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13, 1000])
async def test_replies_are_told_apart_however_cut(length):
    sizes = (1, 3, 2, 6)
    written = b"".join(b"$3\r\n%03d\r\n" % number for number in range(sum(sizes)))
    async with scripted() as line:
        groups = [line.ask([("GET", "k")] * size) for size in sizes]
        for at in range(0, len(written), length):
            line.data_received(written[at : at + length])
        replies = [await group for group in groups]
    assert [len(group) for group in replies] == list(sizes)
    assert [reply for group in replies for reply in group] == [b"%03d" % number for number in range(sum(sizes))]


async def test_value_that_takes_longer_than_the_timeout_is_waited_for_while_it_arrives():
    """Given up is a connection on which nothing moves."""
    async with scripted() as line:
        waiting = line.ask([("GET", "k")])
        for piece in (b"$3\r\n", b"a", b"b"):
            line.data_received(piece)
            line._late()
            assert not line.closed
        line.data_received(b"c\r\n")
        assert await waiting == [b"abc"]
        waiting = line.ask([("GET", "k")])
        line.data_received(b"$3\r\n")
        line._late()
        line._late()
        with pytest.raises(RedisTimeoutError):
            await waiting


async def test_value_that_takes_longer_than_the_timeout_is_waited_for_while_it_leaves(private_valkey):
    async with line_to(private_valkey) as line:
        private_valkey.hang()
        waiting = line.ask([("SET", "k", b"x" * LARGE)])
        await standstill(line._transport.get_write_buffer_size)
        line._late()
        assert not line.closed
        private_valkey.resume()
        assert await waiting == [b"OK"]


async def test_large_value_that_nobody_takes_ends_the_connection(private_valkey):
    async with line_to(private_valkey) as line:
        private_valkey.hang()
        waiting = line.ask([("SET", "k", b"x" * LARGE)])
        await standstill(line._transport.get_write_buffer_size)
        line._late()
        line._late()
        with pytest.raises(RedisTimeoutError):
            await waiting
        private_valkey.resume()


def test_first_error_among_replies_is_raised():
    error = ResponseError("no")
    with pytest.raises(ResponseError):
        checked([b"a", error, b"b"])
    with pytest.raises(ConnectionRefusedError):
        checked([ConnectionRefusedError()])
    assert checked([b"a", None, 1]) == [b"a", None, 1]
