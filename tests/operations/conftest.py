"""What is deployed, executed: these tests need servers and validators that pip alone does not bring."""

import os
from pathlib import Path

import pytest

from tests.operations.tools import SWITCH

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Skip what `.ci/run` runs in a step of its own, once it has installed everything."""
    if os.environ.get(SWITCH):
        return
    skip = pytest.mark.skip(reason=f"needs servers and validators: .ci/run installs them and sets {SWITCH}")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(skip)
