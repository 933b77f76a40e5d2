"""Run the services of a Compose file in containers of this machine, in the order and with the settings it says."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from tests.operations.containers import NETWORK, PATIENCE, SCRATCH, Container, Image, Machine
from tests.operations.tools import tool
from tests.rig.eventually import eventually

Model = dict[str, Any]
DEFAULT_STOP_SIGNAL = "SIGTERM"


def read_model(path: Path, **environment: str) -> Model:
    """Return what Compose itself makes of a file, defaults and variables filled in."""
    line = [tool("docker-compose"), "-f", str(path), "config", "--format", "json"]
    plain = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run(line, check=False, capture_output=True, text=True, env=plain)  # noqa: S603
    assert done.returncode == 0, done.stderr
    # What it prints could be read again: a dollar sign is two.
    model: Model = json.loads(done.stdout.replace("$$", "$"))
    return model


class Stack:
    """The services that `images` has something to run with.

    `replaced` maps a file that would be mounted to the one that is mounted instead.
    """

    def __init__(
        self, machine: Machine, model: Model, images: Mapping[str, Image], place: Path, replaced: Mapping[Path, Path]
    ) -> None:
        self.containers: dict[str, Container] = {}
        self._machine = machine
        self._services = {name: service for name, service in model["services"].items() if service["image"] in images}
        self._images = images
        self._place = place
        self._replaced = replaced
        self._numbers = {name: number for number, name in enumerate(model["services"], 100)}

    async def up(self) -> None:
        """Start every service as soon as what it depends on is as it says."""
        for level in self._levels():
            for name in level:
                for dependency, terms in self._services[name].get("depends_on", {}).items():
                    await self._wait(dependency, terms["condition"])
                self.containers[name] = self._start(name)

    def down(self) -> dict[str, int]:
        """Stop every service by its own signal, before those it depends on, and return the exit statuses."""
        statuses = {}
        for level in reversed(self._levels()):
            running = {name: self.containers.pop(name) for name in level if name in self.containers}
            for name, container in running.items():
                container.signal(signal.Signals[self._services[name].get("stop_signal", DEFAULT_STOP_SIGNAL)])
            statuses.update({name: container.process.wait(PATIENCE) for name, container in running.items()})
        return statuses

    def check(self, name: str) -> list[str]:
        """Return a service's health check as a command, its image's where it says nothing itself."""
        service = self._services[name]
        match service.get("healthcheck", {}).get("test"):
            case ["CMD", *command]:
                return command
            case ["CMD-SHELL", line]:
                return ["/bin/sh", "-c", line]
        return list(self._images[service["image"]].healthcheck)

    def _levels(self) -> list[tuple[str, ...]]:
        """Sort the services: none depends on one of its own or a later level."""
        sorter = TopologicalSorter({name: service.get("depends_on", {}) for name, service in self._services.items()})
        sorter.prepare()
        levels = []
        while sorter.is_active():
            levels.append(sorter.get_ready())
            sorter.done(*levels[-1])
        return levels

    async def _wait(self, name: str, condition: str) -> None:
        container = self.containers[name]
        if condition == "service_completed_successfully":
            await eventually(lambda: container.process.poll() is not None)
            assert container.process.returncode == 0, container.output()
            return
        assert condition == "service_healthy", condition
        check = self.check(name)
        assert check, f"{name} is waited for but has no health check"
        await eventually(lambda: container.process.poll() is not None or container.healthy(check))
        assert container.process.poll() is None, container.output()

    def _start(self, name: str) -> Container:
        service = self._services[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        base = self._images[service["image"]]
        image = base._replace(
            user=service.get("user", base.user),
            environment={**base.environment, **service.get("environment", {})},
            entrypoint=service.get("entrypoint") or base.entrypoint,
        )
        mounts, writable = self._mounts(service, image)
        descriptors = service.get("ulimits", {}).get("nofile", 1024)
        return Container(
            self._machine,
            image,
            service.get("command") or base.command,
            number=self._numbers[name],
            output=self._place / name,
            hosts={other: f"{NETWORK}.{number}" for other, number in self._numbers.items()},
            mounts=mounts,
            writable=writable,
            descriptors=descriptors,
        )

    def _mounts(self, service: Model, image: Image) -> tuple[dict[str, str], list[str]]:
        mounts, writable = {}, []
        for volume in service.get("volumes", []):
            source, target = volume["source"], volume["target"]
            if volume["type"] == "volume":
                place = f"{SCRATCH}/volumes/{source}"
                # As an engine does with a new volume: it belongs to whom the image's own directory belongs to.
                make = f"[ -d {place} ] || install -d -m 0700 -o {image.user.replace(':', ' -g ')} {place}"
                self._machine.run("sh", "-euc", make)
                source = place
            else:
                source = str(self._replaced.get(Path(source), source))
            mounts[target] = source
            if not volume.get("read_only"):
                writable.append(target)
        for line in service.get("tmpfs", []):
            target = line.partition(":")[0]
            mounts[target] = "tmpfs"
            writable.append(target)
        return mounts, writable
