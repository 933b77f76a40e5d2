import asyncio
import os
import socket
import struct

import pytest

from proxy.config import Config, KeyConfig, ProviderConfig, RedisConfig, Secret
from proxy.control import (
    MAX_PAYLOAD,
    Assignment,
    Channel,
    ControlError,
    Kind,
    Message,
    parse_assignment,
    parse_drain,
    render_assignment,
    render_drain,
    spawn,
)

MESSAGES = [
    Message(Kind.ASSIGN, bytes(range(256)) * 40),
    Message(Kind.COLLECT, b""),
    Message(Kind.SNAPSHOT, b"x"),
    Message(Kind.READY, b""),
]


@pytest.fixture
def sockets():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack("!IB", len(payload), kind) + payload


async def test_channel_carries_messages_both_ways_in_order(sockets):
    one, other = await asyncio.gather(*map(Channel.open, sockets))
    for message in MESSAGES:
        await one.send(*message)
        await other.send(*message)
    assert [await other.receive() for _ in MESSAGES] == MESSAGES
    assert [await one.receive() for _ in MESSAGES] == MESSAGES
    await one.close()
    assert await other.receive() is None
    await other.close()


@pytest.mark.parametrize("size", [1, 3, 100_000])
async def test_channel_reads_frames_however_they_are_cut(sockets, size):
    channel = await Channel.open(sockets[0])
    stream = b"".join(frame(*message) for message in MESSAGES)
    loop = asyncio.get_running_loop()
    sockets[1].settimeout(0)

    async def write() -> None:
        for at in range(0, len(stream), size):
            await loop.sock_sendall(sockets[1], stream[at : at + size])

    writing = asyncio.create_task(write())
    assert [await channel.receive() for _ in MESSAGES] == MESSAGES
    await writing
    await channel.close()


@pytest.mark.parametrize("sent", [b"", b"\0", frame(Kind.SNAPSHOT, b"snapshot")[:-1]])
async def test_channel_tells_that_the_other_side_is_gone_wherever_the_stream_ends(sockets, sent):
    channel = await Channel.open(sockets[0])
    sockets[1].sendall(sent)
    sockets[1].close()
    assert await channel.receive() is None
    await channel.close()


@pytest.mark.parametrize("header", [struct.pack("!IB", MAX_PAYLOAD + 1, Kind.SNAPSHOT), struct.pack("!IB", 0, 99)])
async def test_channel_refuses_what_is_no_message_without_waiting_for_it(sockets, header):
    channel = await Channel.open(sockets[0])
    sockets[1].sendall(header)
    with pytest.raises(ControlError):
        await channel.receive()
    await channel.close()


async def test_channel_refuses_to_send_over_the_limit(sockets, monkeypatch):
    monkeypatch.setattr("proxy.control.MAX_PAYLOAD", 8)
    channel = await Channel.open(sockets[0])
    with pytest.raises(ControlError, match="SNAPSHOT"):
        await channel.send(Kind.SNAPSHOT, b"123456789")
    await channel.close()


async def test_channel_drops_what_nobody_will_read(sockets):
    channel = await Channel.open(sockets[0])
    sockets[1].close()
    for _ in range(3):
        await channel.send(Kind.COLLECT, b"x" * 300_000)
    assert await channel.receive() is None
    await channel.close()


def test_assignment_arrives_as_it_was_with_its_secrets_and_without_printing_them():
    config = Config(
        redis=RedisConfig(url=Secret("redis://:canary@host/0")),
        keys=(KeyConfig(name="alice", tenant="team-a", key=Secret("canary-key-0123456789")),),
        providers={"main": ProviderConfig(kind="openai", api_key=Secret("canary"), headers={"x-a": Secret("canary")})},
    )
    assignment = Assignment(config, "redis://:canary@host/0", "http://127.0.0.1:1/v1")
    arrived = parse_assignment(render_assignment(assignment))
    assert arrived == assignment
    assert arrived.config.keys[0].key.reveal() == "canary-key-0123456789"
    assert "canary" not in repr(arrived)


@pytest.mark.parametrize("seconds", [0, 0.25, 86_400])
def test_drain_says_how_long(seconds):
    assert parse_drain(render_drain(seconds)) == seconds


async def test_spawn_starts_this_package_whatever_is_in_the_current_directory(tmp_path, monkeypatch):
    decoy = tmp_path / "proxy"
    decoy.mkdir()
    for name in ("__init__.py", "__main__.py"):
        (decoy / name).write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    process, reader, writer = await spawn("proxy.sandbox")
    try:
        assert (await reader.readline()).startswith(b"http://127.0.0.1:")
        assert os.getsid(process.pid) == process.pid, "the terminal's Ctrl-C would reach it"
    finally:
        writer.close()
        status = await process.wait()
    assert status == 0
