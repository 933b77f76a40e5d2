"""A host of images and documents: the scripted upstream, over TLS, and the names that lead to it."""

import asyncio
import contextlib
import socket
import ssl
from typing import Any

from tests.rig.connection import Connection
from tests.rig.upstream import Upstream

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class TlsConnection(Connection):
    """A connection over TLS, where writing cannot be followed to the kernel and a FIN is the end of both directions."""

    def connection_made(self, transport):
        self._transport = transport

    def eof_received(self):
        self._ended()


class Origin(Upstream):
    """Answers as an upstream does; a connection whose handshake fails counts too, and brings no request."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__()
        self._tls = tls

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(self._listener)
            self.connections += 1
            task = asyncio.create_task(self._shake_hands(accepted, self.connections))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _shake_hands(self, accepted: socket.socket, number: int) -> None:
        connection = TlsConnection()  # over TLS, the loop returns a protocol of its own
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            await loop.connect_accepted_socket(lambda: connection, accepted, ssl=self._tls)
            await self._serve(connection, number)


class Names:
    """What `socket.getaddrinfo` is to a machine: each name's addresses, for each time it is asked for."""

    def __init__(self, **known: list[str]) -> None:
        self._known = known
        self.asked: list[str] = []

    def __call__(self, host: str, *_: Any) -> list[tuple[Any, ...]]:
        host = host.lower()
        self.asked.append(host)
        turns = self._known.get(host.removesuffix(".test"))
        if turns is None:
            raise socket.gaierror(socket.EAI_NONAME, "canary")
        addresses = turns[min(self.asked.count(host), len(turns)) - 1].split()
        return [(FAMILIES[6 if ":" in text else 4], socket.SOCK_STREAM, 6, "", (text, 0)) for text in addresses]
