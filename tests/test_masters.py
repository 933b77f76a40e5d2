import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from proxy.masters import ask, open_masters
from tests.rig.eventually import eventually
from tests.rig.gateway import free_port


async def test_one_server_is_asked_as_it_is(valkey):
    async with open_masters(valkey.url) as masters:
        assert list(masters.each) == [valkey.url]
        assert masters.each[valkey.url] is masters.link
        assert await ask(masters.link, [("SET", b"b1", b"x"), ("GET", b"b1")]) == [b"OK", b"x"]


async def test_key_of_another_program_is_none(valkey):
    valkey.run("LPUSH", "list", "x")
    async with open_masters(valkey.url) as masters:
        assert await ask(masters.link, [("GET", b"list"), ("PING",)]) == [None, b"PONG"]


async def test_error_is_raised(valkey):
    async with open_masters(valkey.url) as masters:
        with pytest.raises(ResponseError, match="syntax error"):
            await ask(masters.link, [("PING",), ("SET", b"b1", b"x", "NONSENSE")])


async def test_connections_are_closed_at_the_end(valkey):
    before = valkey.clients()
    async with open_masters(valkey.url) as masters:
        await ask(masters.link, [("PING",)])
        assert valkey.clients() == before + 1
    await eventually(lambda: valkey.clients() == before)


@pytest.mark.parametrize("form", ["redis", "redis+cluster"])
async def test_server_that_is_not_there_is_told(form):
    with pytest.raises((RedisConnectionError, OSError)):
        async with open_masters(f"{form}://127.0.0.1:{free_port()}") as masters:
            await ask(masters.link, [("PING",)])
