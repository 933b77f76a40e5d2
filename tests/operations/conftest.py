"""What is deployed, executed: these tests need servers and validators that pip alone does not bring."""

import os
from pathlib import Path

import pytest

from tests.operations.tools import SWITCH
from tests.rig.certificates import Authority
from tests.rig.redisserver import Secured

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Skip what `.ci/run` runs in a step of its own, once it has installed everything."""
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
