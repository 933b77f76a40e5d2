import json
import socket
import time

import pytest

from proxy.logs import Log
from proxy.notifier import Notifier


@pytest.fixture
def line(tmp_path):
    """Give the service manager's end: a socket, and the name it has in the environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(str(tmp_path / "notify"))
        yield listening


@pytest.fixture
def written():
    return []


@pytest.fixture
def log(written):
    return Log(written.append, lambda: 0.0)


def test_notifier_tells_what_the_gateway_does(line, log):
    """One datagram a message, each with the lines that systemd reads."""
    notifier = Notifier.find({"NOTIFY_SOCKET": line.getsockname()}, log)
    notifier.ready("serving")
    assert line.recv(100) == b"READY=1\nSTATUS=serving"
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    state, clock, status = line.recv(100).decode().split("\n")
    assert (state, status) == ("RELOADING=1", "STATUS=reloading")
    assert before <= int(clock.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.stopping()
    assert line.recv(100) == b"STOPPING=1\nSTATUS=draining"


def test_notifier_finds_a_socket_without_a_file(log):
    """In the environment its name begins with @, on the wire with a zero byte."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind("")
        name = listening.getsockname()
        assert name.startswith(b"\0")
        Notifier.find({"NOTIFY_SOCKET": f"@{name[1:].decode()}"}, log).ready("serving")
        assert listening.recv(100).startswith(b"READY=1\n")


def test_notifier_tells_nobody_where_nobody_asks(log, written):
    """As on a terminal, or in a container."""
    Notifier.find({}, log).ready("serving")
    assert written == []


def test_notifier_logs_a_service_manager_that_is_gone(tmp_path, log, written):
    """Nobody listening is no reason not to serve."""
    Notifier.find({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, log).stopping()
    [event] = map(json.loads, written)
    assert (event["event"], event["message"]) == ("service_manager_not_told", "STOPPING=1")


def test_notifier_does_not_wait_for_a_service_manager_that_does_not_listen(line, log, written):
    """Its queue is full; the message is lost, and said to be."""
    notifier = Notifier.find({"NOTIFY_SOCKET": line.getsockname()}, log)
    while not written:
        notifier.ready("serving")
    assert json.loads(written[0])["event"] == "service_manager_not_told"
