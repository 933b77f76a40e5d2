"""A day of the gateway in minutes, incidents included, drawn: `python -m tests.operations.day`, for grafana/README.md.

Two gateways of two workers share a Valkey. A provider breaks off and one falls ill, Redis hangs, a worker is killed,
the configuration is reloaded; meanwhile callers come and go like a tide.
"""

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from random import Random

import psutil

from grafana.draw import draw_all
from proxy.config import BindingsConfig
from tests.operations import traffic
from tests.operations.prometheus import prometheus
from tests.operations.providers import Provider, Temper
from tests.rig.gateway import Command, command
from tests.rig.valkey import Valkey, find_binary

RATE = 14.0
TIDE = 0.5
RATE_INTERVAL = 20.0
SHARES = {**traffic.SHARES, "preview": 6, "retired": 0}
PREVIEW_FAILING = 0.1
ILL = Temper(1.8, 0.12, 25, 0.6, cached=0.3, reasoning=0.4)
"""Slow, and failing more often than not."""


class Misfortunes:
    """What can happen to providers, Redis and gateways."""

    def __init__(self, providers: Mapping[str, Provider], valkey: Valkey, hosts: list[Command]) -> None:
        self._cloud, self._local = providers["azure-eu"], providers["local-llama"].upstream
        self._healthy = self._cloud.temper
        self._hosts = hosts
        self.planned: Mapping[float, Callable[[], object]] = {
            0.15: self.break_off,
            0.2: self._local.accept,
            0.3: self.fall_ill,
            0.45: self.recover,
            0.58: valkey.hang,
            0.64: valkey.resume,
            0.75: self.kill,
            0.85: self.reload,
        }
        """By the share of the day that has passed by then."""

    async def befall(self, seconds: float) -> None:
        """Happen, in the course of that long a day."""
        passed = 0.0
        for share, happen in self.planned.items():
            await asyncio.sleep((share - passed) * seconds)
            passed = share
            happened = happen()
            if isinstance(happened, Awaitable):
                await happened

    async def break_off(self) -> None:
        """End a provider's connections, and let it accept no new ones."""
        await self._local.refuse()
        self._local.abort_connections()

    def fall_ill(self) -> None:
        """Make a provider slow, and fail."""
        self._cloud.temper = ILL

    def recover(self) -> None:
        """Make it well again."""
        self._cloud.temper = self._healthy

    def kill(self) -> None:
        """Kill a worker."""
        os.kill(_worker(self._hosts[0]), signal.SIGKILL)

    def reload(self) -> None:
        """Have a gateway take its configuration anew."""
        self._hosts[1].signal(signal.SIGHUP)


async def live(seconds: float) -> None:
    """Run everything for that long, then draw it."""
    random = Random(7)  # noqa: S311 - the same day every time
    binary = find_binary()
    assert binary is not None
    with Valkey(binary) as valkey:
        async with AsyncExitStack() as stack:
            providers = await stack.enter_async_context(traffic.neighbourhood(random))
            providers["preview"].temper.failing = PREVIEW_FAILING
            stores = {"redis": {"url": valkey.url}, "bindings": {"ack_timeout": BindingsConfig().ack_timeout}}
            content = traffic.configuration(providers, server={"workers": 2}, **stores)
            hosts = [await stack.enter_async_context(command(content)) for _ in range(2)]
            urls = [host.url for host in hosts]
            callers = traffic.Callers(urls, rate=RATE, random=random, tide=TIDE, shares=SHARES)
            with prometheus({f"gateway-{number}": host.admin_port for number, host in enumerate(hosts, 1)}) as server:
                began = time.time()
                async with asyncio.TaskGroup() as group:
                    group.create_task(callers.call(seconds))
                    group.create_task(Misfortunes(providers, valkey, hosts).befall(seconds))
                draw_all(server, start=began + 2 * RATE_INTERVAL, end=time.time(), rate_interval=RATE_INTERVAL)


def _worker(host: Command) -> int:
    """Find the process of a worker by its command line."""
    return next(each.pid for each in psutil.Process(host.pid).children() if "proxy.worker" in each.cmdline())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=480, help="how long the day lasts")
    asyncio.run(live(parser.parse_args().seconds))
