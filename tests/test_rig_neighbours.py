"""The other neighbours are proven here: Valkey and its faults, recorded traffic, the loop, the waiting."""

import asyncio
import socket

import pytest
import redis
import uvloop

from tests.rig.client import fetch, split_events
from tests.rig.eventually import eventually
from tests.rig.replay import PRESENT, recordings

# Valkey


def test_valkey_is_empty_for_each_test(valkey):
    """The shared server starts a test without keys."""
    assert valkey.keys() == []
    valkey.run("SET", "left-over", "1")


def test_valkey_is_empty_again_for_the_next(valkey):
    """What the test before left is gone."""
    assert valkey.keys() == []


def test_valkey_keeps_its_keys_over_a_restart(private_valkey):
    """Stopped, nothing listens; started again, everything is there, on the same socket."""
    url = private_valkey.url
    private_valkey.run("SET", "a", "1")
    private_valkey.stop()
    with pytest.raises(redis.ConnectionError):
        private_valkey.run("PING")
    private_valkey.start()
    assert (private_valkey.url, private_valkey.keys()) == (url, [b"a"])


def test_valkey_refuses_writes_when_read_only(private_valkey):
    """READONLY on writes, reads serve, and it can be undone."""
    private_valkey.run("SET", "a", "1")
    private_valkey.read_only()
    with pytest.raises(redis.ReadOnlyError):
        private_valkey.run("SET", "a", "2")
    assert private_valkey.run("GET", "a") == b"1"
    private_valkey.writable()
    private_valkey.run("SET", "a", "3")


def test_valkey_refuses_writes_when_full(private_valkey):
    """OOM on writes, reads serve, and it can be undone."""
    private_valkey.run("SET", "a", "1")
    private_valkey.fill()
    with pytest.raises(redis.OutOfMemoryError):
        private_valkey.run("SET", "a", "2")
    assert private_valkey.run("GET", "a") == b"1"
    private_valkey.unfill()
    private_valkey.run("SET", "a", "3")


def test_valkey_hangs_with_its_connections_open(private_valkey):
    """A hung server takes connections and answers nothing until it is resumed."""
    address = private_valkey.url.removeprefix("unix://")
    private_valkey.hang()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
        client.sendall(b"PING\r\n")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(100)
        private_valkey.resume()
        client.settimeout(10)
        assert client.recv(100) == b"+PONG\r\n"


def test_valkey_stops_even_when_hung(private_valkey):
    """Nothing is left behind by a test that fails while the server hangs."""
    private_valkey.hang()
    private_valkey.stop()
    private_valkey.start()
    assert private_valkey.run("PING") in {b"PONG", True}


# Recorded traffic


@pytest.mark.skipif(not PRESENT, reason="recorded traffic is not here")
def test_recordings_are_filtered_by_their_index():
    """Filters combine, and bodies are read when asked for."""
    found = recordings(api="responses", provider="openai", fidelity="raw")
    assert len(found) > 50
    assert {(one.api, one.provider, one.fidelity) for one in found} == {("responses", "openai", "raw")}
    streamed = next(one for one in found if one.streamed and one.status == 200)
    assert split_events(streamed.body)[0].name == "response.created"


async def test_replay_serves_a_recording_by_its_model(replay):
    """The model name alone selects the recording, at any chunking."""
    recording = next(one for one in recordings(api="responses", provider="openai", fidelity="raw") if one.streamed)
    replay.reset()
    replay.configure(chunk="7")
    answer = await fetch(replay.port, "POST", "/~openai/v1/responses", json={"model": recording.model})
    replay.reset()
    assert (answer.header("x-replay-served"), answer.body, answer.end) == (recording.id, recording.body, "complete")
    assert answer.raw.startswith(b"7\r\n")
    assert replay.base_url("openai") == f"http://127.0.0.1:{replay.port}/~openai"


async def test_replay_lists_forces_and_logs(replay):
    """Its controls do what they say."""
    replay.reset()
    known = replay.index(api="responses.delete")[0]["id"]
    replay.force(known)
    answer = await fetch(replay.port, "DELETE", "/~openai/v1/responses/resp_x")
    assert (answer.header("x-replay-served"), replay.log()[-1]["served"]) == (known, known)


# Waiting and the loop


async def test_loop_is_the_one_the_gateway_runs_on():
    """Asynchronous tests run on uvloop."""
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


async def test_eventually_waits_for_a_fact_and_returns_it():
    """Plain and asynchronous facts are asked until they are true."""
    asked = []

    async def fact():
        asked.append(1)
        return len(asked) >= 3

    assert await eventually(fact) is True
    assert await eventually(lambda: "found") == "found"


async def test_eventually_fails_when_the_fact_never_comes(monkeypatch):
    """A fact that does not come fails the test, it does not hold it."""
    monkeypatch.setattr("tests.rig.eventually.PATIENCE", 0.05)
    with pytest.raises(TimeoutError):
        await eventually(lambda: False)
