"""A socket that is about to be closed: who got through is let in, nobody else gets through."""

import asyncio
import socket
import sys

import pytest

from proxy import listening
from proxy.listening import let_in_the_last, waiting

linux = pytest.mark.skipif(sys.platform != "linux", reason="the system has no filter for it")


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(0)
        yield made


@linux
async def test_connection_that_waits_is_waited_for(listener):
    """What it sent is still there for the worker that accepts it."""
    with socket.create_connection(listener.getsockname()) as client:
        client.send(b"hello")
        assert waiting(listener) == 1
        letting = asyncio.create_task(let_in_the_last(listener))
        await asyncio.sleep(2 * listening.SETTLE)
        assert not letting.done()
        accepted, _ = listener.accept()
        await letting
        with accepted:
            assert (waiting(listener), accepted.recv(9)) == (0, b"hello")


@linux
async def test_connection_nobody_accepts_is_not_waited_for_long(listener, monkeypatch):
    """Workers may be gone, or hang."""
    monkeypatch.setattr(listening, "PATIENCE", 0.01)
    with socket.create_connection(listener.getsockname()):
        await let_in_the_last(listener)
        assert waiting(listener) == 1


@linux
async def test_nobody_else_gets_through(listener):
    """An attempt is neither answered nor refused, whichever process holds the socket; closed, it refuses."""
    await let_in_the_last(listener)
    with socket.socket() as late, listener.dup() as copy:
        late.settimeout(0.1)
        with pytest.raises(TimeoutError):
            late.connect(listener.getsockname())
        assert waiting(copy) == 0


async def test_system_that_cannot_is_left_alone(listener, monkeypatch):
    """It closes the socket as it is."""
    monkeypatch.setattr(listening.sys, "platform", "other")
    await let_in_the_last(listener)
    socket.create_connection(listener.getsockname()).close()


@linux
async def test_socket_without_a_filter_is_left_alone():
    """A sandbox may refuse the option."""
    with socket.socket() as closed:
        pass
    await let_in_the_last(closed)
