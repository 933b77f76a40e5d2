"""The tools are there, and work."""

import subprocess

import pytest

from tests.operations.tools import tool

VERSIONS = {
    "promtool": "--version",
    "prometheus": "--version",
    "hadolint": "--version",
    "docker-compose": "version",
    "envoy": "--version",
    "kubernetes-validate": "--version",
}


@pytest.mark.parametrize("name", VERSIONS)
def test_tool_runs(name):
    """Because a test that misses its tool would say nothing of what it tests."""
    subprocess.run([tool(name), VERSIONS[name]], check=True, capture_output=True)  # noqa: S603


def test_tool_that_is_missing_fails_the_test():
    """Because a skipped test looks like a passed one."""
    with pytest.raises(pytest.fail.Exception, match="not installed"):
        tool("no-such-program")
