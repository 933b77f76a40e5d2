import json
import socket
import time

import pytest

from proxy.logs import Log
from proxy.servicemanager import ServiceManager


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


def test_service_manager_hears_what_the_gateway_does(line, log):
    """One datagram a message, each with the lines that systemd reads."""
    manager = ServiceManager.find({"NOTIFY_SOCKET": line.getsockname()}, log)
    manager.ready("serving")
    assert line.recv(100) == b"READY=1\nSTATUS=serving"
    before = time.monotonic_ns() // 1000
    manager.reloading()
    state, clock, status = line.recv(100).decode().split("\n")
    assert (state, status) == ("RELOADING=1", "STATUS=reloading")
    assert before <= int(clock.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    manager.stopping()
    assert line.recv(100) == b"STOPPING=1\nSTATUS=draining"


def test_service_manager_may_have_a_socket_without_a_file(log):
    """In the environment its name begins with @, on the wire with a zero byte."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind("")
        name = listening.getsockname()
        assert name.startswith(b"\0")
        ServiceManager.find({"NOTIFY_SOCKET": f"@{name[1:].decode()}"}, log).ready("serving")
        assert listening.recv(100).startswith(b"READY=1\n")


def test_service_manager_that_is_not_there_is_told_nothing(log, written):
    """As on a terminal, or in a container."""
    ServiceManager.find({}, log).ready("serving")
    assert written == []


def test_service_manager_that_is_gone_is_logged_and_not_missed(tmp_path, log, written):
    """Nobody listening is no reason not to serve."""
    ServiceManager.find({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, log).stopping()
    [event] = map(json.loads, written)
    assert (event["event"], event["message"]) == ("service_manager_not_told", "STOPPING=1")


def test_service_manager_that_does_not_listen_holds_nothing_up(line, log, written):
    """Its queue is full; the message is lost, and said to be."""
    manager = ServiceManager.find({"NOTIFY_SOCKET": line.getsockname()}, log)
    while not written:
        manager.ready("serving")
    assert json.loads(written[0])["event"] == "service_manager_not_told"
