import asyncio

import pytest
from yarl import URL

from proxy import pool as module
from proxy.pool import Pool
from tests.rig.eventually import eventually


@pytest.fixture
def told():
    """Collect what is told of new connections."""
    return []


@pytest.fixture
async def pool(upstream, told):
    pool = Pool(URL(upstream.url), 1.0, told.append)
    yield pool
    await pool.close()


async def test_connection_given_back_is_used_again(pool, upstream):
    first = await pool.take()
    pool.give_back(first, reusable=True)
    assert await pool.take() is first
    assert upstream.connections == 1


async def test_new_connection_is_told_of_with_its_time_and_one_used_again_is_not(pool, told):
    first = await pool.take()
    assert len(told) == 1
    assert 0 < told[0] < 1.0
    pool.give_back(first, reusable=True)
    await pool.take()
    assert len(told) == 1


async def test_connection_given_up_while_it_is_made_is_neither_made_nor_failed(pool, told):
    """It is the client that left, not the provider that refused."""
    taking = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert told == []


async def test_connection_used_last_is_taken_first(pool):
    """The oldest are the likeliest to be stale."""
    first, second = await pool.take(), await pool.take()
    pool.give_back(first, reusable=True)
    pool.give_back(second, reusable=True)
    assert await pool.take() is second


async def test_connection_that_is_not_reusable_is_closed(pool, upstream):
    pool.give_back(await pool.take(), reusable=False)
    assert pool.idle == 0
    await eventually(lambda: upstream.open_connections == 0)


async def test_connection_the_provider_closed_is_not_taken(pool, upstream):
    first = await pool.take()
    await eventually(lambda: upstream.open_connections)
    pool.give_back(first, reusable=True)
    upstream.abort_connections()
    await eventually(lambda: not first.is_connected())
    assert pool.idle == 0
    assert await pool.take() is not first


async def test_connection_idle_for_too_long_is_not_taken(pool, upstream, monkeypatch):
    first = await pool.take()
    pool.give_back(first, reusable=True)
    monkeypatch.setattr(module, "KEEP_ALIVE", -1.0)
    assert await pool.take() is not first
    await eventually(lambda: upstream.open_connections == 1)


@pytest.mark.parametrize("unasked", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 2"], ids=["answer", "beginning"])
async def test_connection_that_brought_bytes_unasked_is_not_taken(unasked, pool):
    """They would pass for the answer to the next request, or for its beginning."""
    first = await pool.take()
    first.set_response_params()
    pool.give_back(first, reusable=True)
    first.data_received(unasked)
    assert await pool.take() is not first


async def test_counts_follow_leases(pool):
    one, two = await pool.take(), await pool.take()
    assert (pool.active, pool.idle) == (2, 0)
    pool.give_back(one, reusable=True)
    pool.give_back(two, reusable=False)
    assert (pool.active, pool.idle) == (0, 1)
    pool.drop_idle()
    assert (pool.active, pool.idle) == (0, 0)


async def test_nothing_is_counted_when_no_connection_can_be_made(pool, upstream, told):
    await upstream.refuse()
    with pytest.raises(OSError, match="connect"):
        await pool.take()
    assert told == [None]
    assert (pool.active, pool.idle) == (0, 0)


async def test_every_connection_is_closed_with_the_pool(upstream):
    pool = Pool(URL(upstream.url), 1.0)
    leased, idle = await pool.take(), await pool.take()
    pool.give_back(idle, reusable=True)
    await pool.close()
    assert not leased.is_connected()
    await eventually(lambda: upstream.open_connections == 0)
