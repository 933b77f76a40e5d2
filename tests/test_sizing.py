"""The arithmetic of deploy/sizing.py, and that SIZING.md shows what it says."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

DEPLOY = Path(__file__).parents[1] / "deploy"
PAGE = (DEPLOY / "SIZING.md").read_text(encoding="utf-8")
PLANS = re.findall(r"^    \$ python deploy/sizing\.py (.*)\n((?:    .*\n)+)", PAGE, re.MULTILINE)

sizing = runpy.run_path(str(DEPLOY / "sizing.py"))
Load, plan = sizing["Load"], sizing["plan"]


def run(*arguments):
    line = [sys.executable, str(DEPLOY / "sizing.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout  # noqa: S603


def test_page_shows_plans():
    """A rule over no plans would hold for ever."""
    assert len(PLANS) >= 3


@pytest.mark.parametrize(("arguments", "shown"), PLANS, ids=[arguments for arguments, _ in PLANS])
def test_plan_on_the_page_is_what_the_program_prints(arguments, shown):
    """The page is read where the program is not run."""
    assert "".join(f"    {line}\n" for line in run(*arguments.split()).splitlines()) == shown


def test_page_names_every_figure_reckoned_with():
    """A figure that nobody can trace was not measured."""
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    column = " ".join(row.rsplit("|", 2)[1] for row in rows)
    figure = sizing["Measured"]()
    named = {
        figure.event_us,
        figure.create_us,
        figure.stream_bytes / 1024,
        figure.kernel_bytes / 1024,
        figure.stream_descriptors,
        figure.process_bytes / 1024**2,
        figure.binding_bytes,
        figure.kept_bytes,
        figure.redis_us,
    }
    assert named <= {float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", column)}


@given(st.integers(1, 10**7), st.floats(0, 10**6), st.floats(0.1, 200), st.integers(1, 256))
def test_plan_bears_the_load_without_its_spare_host(streams, creates, events, cores):
    """What is planned for has to be carried while one host is away."""
    found = plan(Load(streams=streams, creates=creates, events=events, cores=cores))
    assert (found.hosts - 1) * cores * Load(1, 1).busy >= found.cpu_cores * 0.999
    assert (found.hosts - 1) * found.host_streams >= streams


def test_twice_the_load_takes_twice_as_much():
    """Nothing in it is shared between streams."""
    once, twice = plan(Load(streams=100_000, creates=1000)), plan(Load(streams=200_000, creates=2000))
    assert twice.cpu_cores == pytest.approx(2 * once.cpu_cores)
    assert twice.redis_bytes == pytest.approx(2 * once.redis_bytes)


@pytest.mark.parametrize("wrong", [["--cores", "0"], ["--busy", "0"], ["--days", "-1"], ["--events", "nan"]])
def test_load_that_cannot_be_planned_for_is_named(wrong):
    line = [sys.executable, str(DEPLOY / "sizing.py"), "--streams", "1", "--creates", "1", *wrong]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stdout) == (2, "")
    assert f"argument {wrong[0]}: {wrong[1]} is not a number to plan with" in done.stderr


def test_nothing_to_carry_still_takes_a_host_and_its_spare():
    assert plan(Load(streams=0, creates=0)).hosts == 2
