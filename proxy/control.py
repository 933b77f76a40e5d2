"""The private line between the supervisor and a process it started: a socket pair, and framed messages over it.

A frame is the payload's length, a kind and the payload. The end of the stream means that the other side is
gone, whatever became of it.
"""

import asyncio
import contextlib
import os
import pickle
import socket
import struct
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import orjson

from proxy.config import Config

MAX_PAYLOAD = 67_108_864
"""Bytes; the snapshot of a worker that serves 82 models, 8,500 series with their buckets, has 52 thousand."""

_HEADER = struct.Struct("!IB")


class ControlError(Exception):
    """The line carries something that is not a frame, or a frame over the limit."""


class Kind(IntEnum):
    """What a message says."""

    ASSIGN = 1
    """To a worker, first: what to run."""
    READY = 2
    """From a worker: it serves."""
    COLLECT = 3
    """To a worker: send a snapshot of your metrics."""
    SNAPSHOT = 4
    """From a worker: asked for, and once more as its last word."""
    ANNOUNCE = 5
    """To a worker: tell clients to close their connections."""
    DRAIN = 6
    """To a worker: finish and end; once more with less time means hurry."""


class Message(NamedTuple):
    """One frame."""

    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker runs. Every worker of a fleet gets the very same one, keys made for this run included."""

    config: Config
    redis_url: str = field(repr=False)
    sandbox_url: str | None = None


class Channel:
    """One end of the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, line: socket.socket) -> "Channel":
        """Take over one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=line))

    async def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send a message; one to a side that is gone is lost, which `receive` tells.

        Raises `ControlError` for a payload over the limit.
        """
        if len(payload) > MAX_PAYLOAD:
            raise ControlError(f"a {kind.name} message of {len(payload)} bytes is over the limit of {MAX_PAYLOAD}")
        if self._writer.is_closing():
            return
        with contextlib.suppress(ConnectionError):
            self._writer.write(_HEADER.pack(len(payload), kind) + payload)
            await self._writer.drain()

    async def receive(self) -> Message | None:
        """Return the next message, or `None` once the other side is gone.

        Raises `ControlError` for what is not a message.
        """
        try:
            length, kind = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
            if length > MAX_PAYLOAD or kind not in Kind.__members__.values():
                raise ControlError(f"kind {kind} with {length} bytes is not a message")
            return Message(Kind(kind), await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def close(self) -> None:
        """Close this end; the other side reads the end of the stream."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def render_assignment(assignment: Assignment) -> bytes:
    """Return the payload of `ASSIGN`. It holds every credential of the configuration in the clear."""
    return pickle.dumps(assignment)


def parse_assignment(payload: bytes) -> Assignment:
    """Read the payload of `ASSIGN`."""
    assignment: Assignment = pickle.loads(payload)  # noqa: S301 - nobody but our own parent holds the other end
    return assignment


def render_drain(timeout: float) -> bytes:
    """Return the payload of `DRAIN`: the seconds that exchanges in flight are given."""
    return orjson.dumps({"timeout": timeout})


def parse_drain(payload: bytes) -> float:
    """Read the payload of `DRAIN`."""
    return float(orjson.loads(payload)["timeout"])


async def spawn(
    module: str, *arguments: str, inherit: Iterable[int] = ()
) -> tuple[Process, asyncio.StreamReader, asyncio.StreamWriter]:
    """Start `python -m MODULE --control-fd N` and return it with our end of the line.

    The process imports what this one does, whatever directory it was started in, and is out of reach of the
    terminal's Ctrl-C. Raises OSError.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", module, "--control-fd", str(theirs.fileno()), *arguments),
                stdin=DEVNULL,
                pass_fds=(theirs.fileno(), *inherit),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,
            )
        except BaseException:
            writer.close()
            raise
    return process, reader, writer
