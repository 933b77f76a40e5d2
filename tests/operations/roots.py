"""File systems to install in: what this machine has, and on top of it what is written there."""

import os
import shlex
import stat
import sys
from pathlib import Path

from tests.operations.containers import PATH, SCRATCH, Machine

LOST = ("PYTHON", "VIRTUAL_ENV", "COVERAGE", "PYTEST")
"""Beginnings of the names of the test's own environment variables that nothing there sees."""
LIBRARY = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"


def make_base(machine: Machine) -> tuple[str, ...]:
    """Return the layers of a machine whose own Python is that of the tests, for every user."""
    layer = f"{SCRATCH}/base"
    lines = [
        f"mkdir -p {layer}/usr/local/bin {layer}/usr/local/lib",
        *(f"ln -sf {os.path.realpath(sys.executable)} {layer}/usr/local/bin/{name}" for name in ("python", "python3")),
        f"ln -sfn {sys.base_prefix}/{LIBRARY} {layer}/usr/local/{LIBRARY}",
    ]
    for parent in reversed(Path(sys.base_prefix).parents):
        mode = stat.S_IMODE(parent.stat().st_mode) | 0o111
        lines.append(f"mkdir -p {layer}{parent}; chmod {mode:o} {layer}{parent}")
    machine.run("sh", "-euc", "\n".join(lines))
    return layer, "/"


class Root:
    """A file system of its own; `path` is where the machine has it, `layers` what a container can have of it."""

    def __init__(self, machine: Machine, name: str, below: tuple[str, ...]) -> None:
        place = f"{SCRATCH}/{name}"
        self.path = f"{place}/root"
        self.layers = (f"{place}/upper", *below)
        self._machine = machine
        options = f"lowerdir={':'.join(below)},upperdir={place}/upper,workdir={place}/work"
        lines = [
            f"mkdir -p {self.path} {place}/upper {place}/work",
            f"mount -t overlay overlay -o {options} {self.path}",
            f"mount --rbind /dev {self.path}/dev",
            f"mount -t proc proc {self.path}/proc",
        ]
        machine.run("sh", "-euc", "\n".join(lines))

    def run(self, script: str, environment: dict[str, str] | None = None) -> str:
        """Run a shell script there, as root and on the test's own network, and return what it printed."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(LOST)}
        settled = {**outside, "HOME": "/root", "PATH": PATH, **(environment or {})}
        return self._machine.run("chroot", self.path, "sh", "-euc", script, network=False, env=settled)

    def copy(self, start: Path, files: list[Path], target: str) -> None:
        """Copy files into a directory there, under the names they have below `start`."""
        names = "\n".join(str(path.relative_to(start)) for path in files)
        place = shlex.quote(self.path + target)
        source = shlex.quote(str(start))
        pack = f"mkdir -p {place}; tar -C {source} -cf - -T - | tar -C {place} --no-same-owner -xf -"
        self._machine.run("sh", "-euc", pack, input=names)

    def close(self) -> None:
        """Let go of it; what was written stays in the layers."""
        self._machine.run("umount", "--recursive", self.path)
