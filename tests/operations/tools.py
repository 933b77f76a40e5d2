"""Finding the servers and validators that operators use, as `.ci/run` installs them."""

import os
import shutil
import sys
from pathlib import Path

import pytest

SWITCH = "RESPONSES_PROXY_OPERATIONS"
"""Set, these tests run and what they miss is a failure; otherwise they are skipped."""
PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""This environment's own tools first, then the system's."""


def tool(name: str) -> str:
    """Return the path of a program; without it the test fails, and says what would have installed it."""
    found = shutil.which(name, path=PLACES)
    if found is None:
        pytest.fail(f"{name} is not installed: .ci/run installs what these tests need")
    return found
