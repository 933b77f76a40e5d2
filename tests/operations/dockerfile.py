"""Follow a Dockerfile's instructions on this machine, whose own root file system stands for the base image."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from tests.operations.containers import PATH, Image, Machine
from tests.operations.roots import Root, make_base

FROM = re.compile(r"(\S+)(?: AS (\S+))?", re.IGNORECASE)


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
    for line in filter(None, map(str.strip, ignored.splitlines())):
        pattern = line.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        tried = [pattern, anywhere, f"*/{anywhere}"] if anywhere != pattern else [pattern]
        if not line.startswith("#") and any(fnmatchcase(parent, one) for parent in parents for one in tried):
            seen = line.startswith("!")
    return seen


@dataclass
class Stage:
    """One build stage: its files, and what its instructions said."""

    root: Root
    environment: dict[str, str]
    workdir: str = "/"
    words: dict[str, str] = field(default_factory=dict)
    """The last arguments of each instruction that is for the container."""


class Build:
    """One build. What its first FROM names is played by this machine."""

    def __init__(self, machine: Machine, dockerfile: Path, context: Path) -> None:
        self._machine = machine
        self._instructions = list(parse(dockerfile.read_text(encoding="utf-8")))
        self._ignored = Path(f"{dockerfile}.dockerignore").read_text(encoding="utf-8")
        self._context = context
        self._stages: dict[str, Stage] = {}

    def run(self) -> Image:
        """Follow every instruction and return what the last stage has become."""
        for word, arguments in self._instructions:
            if word == "FROM":
                stage = self._begin(arguments)
            else:
                self._follow(stage, word, arguments)
        for one in self._stages.values():
            one.root.close()
        words = stage.words
        return Image(
            layers=stage.root.layers,
            environment=stage.environment,
            user=words["USER"],
            entrypoint=json.loads(words["ENTRYPOINT"]),
            command=json.loads(words["CMD"]),
            volumes=shlex.split(words["VOLUME"]),
            healthcheck=json.loads(words["HEALTHCHECK"].partition("CMD ")[2]),
        )

    def _begin(self, arguments: str) -> Stage:
        match = FROM.fullmatch(arguments)
        assert match is not None, arguments
        source, name = match[1], match[2] or f"stage-{len(self._stages)}"
        assert source in self._stages or not self._stages, "this machine plays one base image only"
        earlier = self._stages.get(source)
        below = earlier.root.layers if earlier else make_base(self._machine)
        environment = earlier.environment if earlier else {"PATH": PATH}
        self._stages[name] = Stage(Root(self._machine, f"build-{name}", below), dict(environment))
        return self._stages[name]

    def _follow(self, stage: Stage, word: str, arguments: str) -> None:
        match word:
            case "RUN":
                assert "USER" not in stage.words, "everything is built as root"
                stage.root.run(f"cd {stage.workdir}; {arguments}", stage.environment)
            case "COPY":
                self._copy(stage, arguments)
            case "WORKDIR":
                stage.workdir = arguments
                stage.root.run(f"mkdir -p {arguments}")
            case "ENV":
                for pair in shlex.split(arguments):
                    name, _, value = pair.partition("=")
                    stage.environment[name] = value.replace("$PATH", stage.environment["PATH"])
            case "ARG" | "LABEL" | "EXPOSE" | "USER" | "VOLUME" | "HEALTHCHECK" | "ENTRYPOINT" | "CMD":
                stage.words[word] = arguments
            case _:
                raise AssertionError(f"{word}: teach the test what this instruction does")

    def _copy(self, stage: Stage, arguments: str) -> None:
        words = shlex.split(arguments)
        options = [word for word in words if word.startswith("--")]
        *sources, target = [word for word in words if not word.startswith("--")]
        place = str(PurePosixPath(stage.workdir) / target)
        if options:
            [option], [source] = options, sources
            origin = self._stages[option.removeprefix("--from=")].root.path + source
            self._machine.run(
                "sh", "-euc", f"mkdir -p {stage.root.path}{place}; cp -a {origin}/. {stage.root.path}{place}"
            )
            return
        for source in sources:
            origin = self._context / source
            files = [path for path in origin.rglob("*") if path.is_file()] if origin.is_dir() else [origin]
            seen = [path for path in files if visible(self._ignored, path.relative_to(self._context))]
            assert seen, f"COPY {source}: the build sees nothing of it"
            stage.root.copy(origin if origin.is_dir() else origin.parent, seen, place)
