"""Follow a Dockerfile's instructions on this machine, whose own root file system stands for the base image."""

import json
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from tests.operations.containers import PATH, SCRATCH, Image, Machine

FROM = re.compile(r"(\S+)(?: AS (\S+))?", re.IGNORECASE)
LOST = ("PYTHON", "VIRTUAL_ENV", "COVERAGE", "PYTEST")
"""Beginnings of the names of the test's own environment variables that no build sees."""


def parse(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction with its arguments, on one line and without comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, arguments = line.strip().partition(" ")
            yield word.upper(), arguments.strip()


def visible(ignored: str, path: Path) -> bool:
    """Tell whether a .dockerignore lets a path of the context through: the last line that fits decides."""
    parents = [str(path), *map(str, path.parents)]
    seen = True
    for line in filter(None, (line.strip() for line in ignored.splitlines())):
        if line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        tried = [pattern, anywhere, f"*/{anywhere}"] if anywhere != pattern else [pattern]
        if any(fnmatchcase(parent, one) for parent in parents for one in tried):
            seen = line.startswith("!")
    return seen


@dataclass
class Stage:
    """One build stage: where its files are, and what its instructions said."""

    place: str
    below: tuple[str, ...]
    environment: dict[str, str]
    workdir: str = "/"
    user: str = "0:0"
    words: dict[str, str] = field(default_factory=dict)
    """The last arguments of each instruction that is kept for the container."""

    @property
    def root(self) -> str:
        return f"{self.place}/root"

    @property
    def layers(self) -> tuple[str, ...]:
        return (f"{self.place}/upper", *self.below)


class Build:
    """One build. `base` is what the image is built from, as its first FROM names it."""

    def __init__(self, machine: Machine, dockerfile: Path, context: Path) -> None:
        self.base = ""
        self._machine = machine
        self._instructions = list(parse(dockerfile.read_text(encoding="utf-8")))
        self._ignored = Path(f"{dockerfile}.dockerignore").read_text(encoding="utf-8")
        self._context = context.absolute()
        self._stages: dict[str, Stage] = {}

    def run(self) -> Image:
        """Follow every instruction and return the last stage."""
        for word, arguments in self._instructions:
            if word == "FROM":
                stage = self._begin(arguments)
            else:
                self._follow(stage, word, arguments)
        for one in self._stages.values():
            self._machine.run("umount", "--recursive", one.root)
        words = stage.words
        return Image(
            layers=stage.layers,
            environment=stage.environment,
            user=stage.user,
            entrypoint=json.loads(words["ENTRYPOINT"]),
            command=json.loads(words["CMD"]),
            volumes=shlex.split(words["VOLUME"]),
            healthcheck=json.loads(words["HEALTHCHECK"].partition("CMD ")[2]),
        )

    def _begin(self, arguments: str) -> Stage:
        match = FROM.fullmatch(arguments)
        assert match is not None, arguments
        source, name = match[1], match[2] or f"stage-{len(self._stages)}"
        earlier = self._stages.get(source)
        if earlier is None:
            assert not self.base, "the stand-in is of one base image only"
            self.base = source
        stage = Stage(
            place=f"{SCRATCH}/{name}",
            below=earlier.layers if earlier else (self._make_base(), "/"),
            environment=dict(earlier.environment) if earlier else {"PATH": PATH},
        )
        places = f"{stage.place}/upper {stage.place}/work {stage.root}"
        overlay = f"lowerdir={':'.join(stage.below)},upperdir={stage.place}/upper,workdir={stage.place}/work"
        self._machine.run(
            *("sh", "-euc", f"mkdir -p {places}; mount -t overlay overlay -o {overlay} {stage.root};"),
        )
        self._machine.run(
            *("sh", "-euc", f"mount --rbind /dev {stage.root}/dev; mount -t proc proc {stage.root}/proc"),
        )
        self._stages[name] = stage
        return stage

    def _make_base(self) -> str:
        """Put the Python of the tests where the base image has its own, and let every user reach it."""
        layer = f"{SCRATCH}/base-image"
        library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
        lines = [
            f"mkdir -p {layer}/usr/local/bin {layer}/usr/local/lib",
            f"ln -s {os.path.realpath(sys.executable)} {layer}/usr/local/bin/python",
            f"ln -s {sys.base_prefix}/{library} {layer}/usr/local/{library}",
        ]
        for parent in reversed(Path(sys.base_prefix).parents):
            mode = stat.S_IMODE(parent.stat().st_mode) | 0o111
            lines.append(f"mkdir -p {layer}{parent}; chmod {mode:o} {layer}{parent}")
        self._machine.run("sh", "-euc", "\n".join(lines))
        return layer

    def _follow(self, stage: Stage, word: str, arguments: str) -> None:
        match word:
            case "RUN":
                self._run(stage, arguments)
            case "COPY":
                self._copy(stage, arguments)
            case "WORKDIR":
                stage.workdir = arguments
                self._machine.run("mkdir", "-p", stage.root + arguments)
            case "ENV":
                for pair in shlex.split(arguments):
                    name, _, value = pair.partition("=")
                    stage.environment[name] = value.replace("$PATH", stage.environment["PATH"])
            case "USER":
                stage.user = arguments
            case "ARG" | "LABEL" | "EXPOSE":
                stage.words.setdefault(word, arguments)
            case "VOLUME" | "HEALTHCHECK" | "ENTRYPOINT" | "CMD":
                stage.words[word] = arguments
            case _:
                raise AssertionError(f"{word}: teach the test what this instruction does")

    def _run(self, stage: Stage, command: str) -> None:
        assert stage.user == "0:0"
        outside = {name: value for name, value in os.environ.items() if not name.startswith(LOST)}
        inside = ["sh", "-euc", f"cd {stage.workdir}; {command}"]
        self._machine.run(
            "chroot", stage.root, *inside, network=False, env={**outside, "HOME": "/root", **stage.environment}
        )

    def _copy(self, stage: Stage, arguments: str) -> None:
        words = shlex.split(arguments)
        options = dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--"))
        *sources, target = [word for word in words if not word.startswith("--")]
        place = os.path.join(stage.root + "/", stage.workdir.lstrip("/"), target) if target[0] != "/" else ""  # noqa: PTH118
        place = place or stage.root + target
        if options:
            assert set(options) == {"from"}, arguments
            [source] = sources
            origin = self._stages[options["from"]].root + source
            self._machine.run("sh", "-euc", f"mkdir -p {place}; cp -a {origin}/. {place}")
            return
        for source in sources:
            self._copy_context(Path(source), place)

    def _copy_context(self, source: Path, place: str) -> None:
        """Copy a file, or what is in a directory, as far as the build may see it."""
        origin = self._context / source
        files = [path for path in origin.rglob("*") if path.is_file()] if origin.is_dir() else [origin]
        seen = [path for path in files if visible(self._ignored, path.relative_to(self._context))]
        assert seen, f"COPY {source}: the build sees nothing of it"
        start = origin if origin.is_dir() else origin.parent
        names = "\n".join(str(path.relative_to(start)) for path in seen)
        pack = f"mkdir -p {place}; tar -C {start} -cf - -T - | tar -C {place} --no-same-owner -xf -"
        self._machine.run("sh", "-euc", pack, input=names)
