"""The end of a listening socket: nobody who got through is turned away.

Closing it resets the connections that the kernel has completed and no worker has accepted yet. The client of such
a one has sent its request already, and cannot know whether it was served.
"""

import asyncio
import ctypes
import socket
import struct
import sys

SO_ATTACH_FILTER = 26
SETTLE = 0.05
"""Seconds in which handshakes that have begun come to their end."""
PATIENCE = 2.0
"""Seconds that workers are given to accept what is waiting."""
STEP = 0.01
_INFO = struct.Struct("=8B5I")
_WAITING = 12
"""Where Linux tells, of a socket that listens, how many connections wait to be accepted: `tcpi_unacked`."""

# A classic BPF program, run on each segment that reaches the listening socket: drop those with SYN and without ACK.
_DROP_SYN = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of the flags
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # only SYN?
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 0xFFFFFFFF),  # let it pass
    )
)


async def let_in_the_last(listener: socket.socket) -> None:
    """Let nobody else in, and return once those who are have been accepted.

    Who knocks meanwhile gets no answer, knocks again a second later, and is refused then: the socket is to be closed.
    Does nothing where the system is not Linux.
    """
    if not _shut(listener):
        return
    clock = asyncio.get_running_loop().time
    until = clock() + PATIENCE
    await asyncio.sleep(SETTLE)
    while waiting(listener) and clock() < until:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(STEP)


def _shut(listener: socket.socket) -> bool:
    """Drop attempts to connect, for every process that shares the socket; tell whether the system can."""
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(_DROP_SYN) // 8, ctypes.addressof(program))
        )
    except OSError:
        return False
    return True


def waiting(listener: socket.socket) -> int:
    """Return how many connections no process has accepted yet; Linux only."""
    return int(_INFO.unpack(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))[_WAITING])
