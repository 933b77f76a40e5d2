"""Tells the service manager how the gateway is, where there is one that asks: sd_notify(3), as datagrams."""

import socket
import time
from collections.abc import Mapping
from typing import Self

from proxy.logs import Log

VARIABLE = "NOTIFY_SOCKET"
"""Where systemd says which socket it listens on."""


class Notifier:
    """The line to the service manager, or to nobody. What gets lost is logged, and is no reason not to serve."""

    def __init__(self, address: str, log: Log) -> None:
        # A first @ stands for the zero byte of a socket without a file.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._log = log

    @classmethod
    def find(cls, environment: Mapping[str, str], log: Log) -> Self:
        """Return the line that the environment names."""
        return cls(environment.get(VARIABLE, ""), log)

    def ready(self, status: str) -> None:
        """Say that the gateway serves; after `reloading`, that it has done with that."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Say that a new configuration is being put into force."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")

    def stopping(self) -> None:
        """Say that the gateway has begun to drain."""
        self._tell("STOPPING=1", "STATUS=draining")

    def _tell(self, *assignments: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as line:
                line.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            self._log.event("service_manager_not_told", message=assignments[0], reason=str(error))
