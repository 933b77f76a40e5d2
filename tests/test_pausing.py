"""A parser that stopped is made to go on, on the way down; on the way up see `flows/test_uploads`."""

import pytest
from yarl import URL

from proxy import pool as module
from proxy.pool import Pool


@pytest.fixture
async def pool(upstream):
    pool = Pool(URL(upstream.url), 1.0)
    yield pool
    await pool.close()


@pytest.mark.parametrize("chunks", range(1, 12))
async def test_connection_gives_everything_wherever_a_pause_falls(chunks, pool, monkeypatch):
    """A pause at the end of what had come makes aiohttp's parser stop inside what comes next."""
    monkeypatch.setattr(module, "READ_BUFFER", 32)
    connection = await pool.take()
    connection.begin(8192)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    _, body = await connection.read()
    taken = b""
    for data in (b"1\r\nx\r\n" * chunks, b"1\r\ny\r\n" * 3 + b"0\r\n\r\n"):
        connection.data_received(data)
        while piece := body._read_nowait(-1):
            taken += piece
    assert taken == b"x" * chunks + b"yyy"
    assert body.at_eof()
