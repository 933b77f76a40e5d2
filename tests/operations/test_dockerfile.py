import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import proxy
from tests.operations.dockerfile import parse, visible
from tests.operations.tools import tool

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
REQUIREMENTS = ROOT / "deploy" / "requirements.txt"
PINNED = re.compile(r"python:(\d+\.\d+)\.\d+-slim-\w+@sha256:[0-9a-f]{64}")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")


def run(*command, cwd=ROOT):
    return subprocess.run([tool(command[0]), *command[1:]], cwd=cwd, check=False, capture_output=True, text=True)  # noqa: S603


@pytest.fixture(scope="module")
def instructions():
    return list(parse(DOCKERFILE.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def recompile():
    """Give the command that the list's own head says it was made by."""
    _, line, *_ = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return line.removeprefix("#").split()


def test_dockerfile_has_nothing_to_complain_about():
    """With no rule of hadolint's left out."""
    linted = run("hadolint", "--no-color", str(DOCKERFILE))
    assert (linted.returncode, linted.stdout) == (0, "")
    assert "hadolint" not in DOCKERFILE.read_text(encoding="utf-8")


def test_dockerfile_builds_on_one_pinned_python(instructions, recompile):
    """The Python that the tests run on, and that the list of packages is for."""
    sources = [arguments.split()[0] for word, arguments in instructions if word == "FROM"]
    pinned = PINNED.fullmatch(sources[0])
    assert pinned is not None
    assert set(sources[1:]) == {"base"}
    assert pinned[1] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert recompile[recompile.index("--python-version") + 1] == pinned[1]


def test_dockerfile_says_which_version_it_is(instructions):
    """The label of an image that is built without arguments is right."""
    arguments = dict(arguments.split("=") for word, arguments in instructions if word == "ARG")
    assert arguments["VERSION"] == proxy.__version__


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("proxy/app.py", True),
        ("proxy/providers/base.py", True),
        ("proxy/__pycache__/app.cpython-311.pyc", False),
        ("proxy/providers/__pycache__/base.cpython-311.pyc", False),
        ("pyproject.toml", True),
        ("deploy/requirements.txt", True),
        ("deploy/.env", False),
        (".git/config", False),
        (".venv/bin/python", False),
        ("tests/rig/gateway.py", False),
    ],
)
def test_build_sees_what_it_copies_and_nothing_else(path, seen):
    """What is sent to a builder may end up in its cache; credentials lie beside the sources."""
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert visible(ignored, Path(path)) is seen


def test_requirements_are_what_the_project_asks_for(recompile, tmp_path):
    """The command in its head, run over the list, changes nothing: releases since then do not count."""
    assert recompile[:3] == ["uv", "pip", "compile"]
    (tmp_path / "deploy").mkdir()
    for name in ("pyproject.toml", "deploy/requirements.in", "deploy/requirements.txt", "proxy/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    compiled = run(*recompile, cwd=tmp_path)
    assert compiled.returncode == 0, compiled.stderr
    assert (tmp_path / "deploy" / "requirements.txt").read_text(encoding="utf-8") == REQUIREMENTS.read_text(
        encoding="utf-8"
    )


def test_requirements_build_what_the_project_is_built_with():
    """Nothing is fetched by the build itself: it has no isolation, and what it needs has hashes too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    beside = (ROOT / "deploy" / "requirements.in").read_text(encoding="utf-8").splitlines()
    assert set(project["build-system"]["requires"]) <= set(beside)


def test_requirements_name_no_index():
    """Where packages come from is the builder's business; their hashes say that they are the right ones."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    assert re.findall(r"^[\w.-]+==[^\\]*$", text, flags=re.MULTILINE) == [], "each has hashes"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_requirements_need_no_compiler(platform, tmp_path):
    """Every package has a wheel for the machine."""
    target = ["--target", str(tmp_path), "--python-platform", platform, "--python-version", "3.11"]
    planned = run(
        "uv", "pip", "install", "--dry-run", *target, "--only-binary=:all:", "--require-hashes", "-r", str(REQUIREMENTS)
    )
    assert planned.returncode == 0, planned.stderr
    assert "aiohttp" in planned.stderr
