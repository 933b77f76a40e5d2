"""What is deployed, executed: these tests need servers and validators that pip alone does not bring."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.operations import helm
from tests.operations.tools import SWITCH
from tests.rig.certificates import Authority
from tests.rig.redisserver import Secured

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def pytest_ignore_collect(collection_path):
    """Leave to `.ci/run` what it runs in a step of its own, once it has installed everything these files import."""
    if (
        os.environ.get(SWITCH)
        or not collection_path.name.startswith("test_")
        or collection_path == HERE / "test_tools.py"
    ):
        return None
    return True


def pytest_collection_modifyitems(items):
    """Say of what is left why it, and the rest, does not run."""
    if os.environ.get(SWITCH):
        return
    skip = pytest.mark.skip(reason=f"needs servers and validators: .ci/run installs them and sets {SWITCH}")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def secured(tmp_path_factory):
    """Give a certificate for this machine, and what it is trusted by, for servers that also want a password."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = Authority(directory)
    authority.vouch_for("127.0.0.1")
    return Secured(authority.ca_file, directory / "127.0.0.1.pem")


class Checkout:
    """A directory like the root of a checkout, in which commands may write, with the programs that documents name.

    Helm's SDK stands for its command.
    """

    def __init__(self, place):
        self.place = place
        (place / "deploy").symlink_to(ROOT / "deploy")
        (place / "bin").mkdir()
        for name, arguments in {"helm": helm.__file__, "responses-proxy": "-m proxy", "python": ""}.items():
            program = place / "bin" / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n', encoding="utf-8")
            program.chmod(0o755)

    def run(self, code):
        """Run commands as a shell does, word for word; return what they printed once they have succeeded."""
        done = subprocess.run(  # noqa: S603
            ["/bin/bash", "-euo", "pipefail", "-c", code],
            cwd=self.place,
            env={**os.environ, "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def checkout(tmp_path):
    """Give a directory to run a document's commands in."""
    return Checkout(tmp_path)
