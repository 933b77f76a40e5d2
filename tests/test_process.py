"""What this process uses of its host, against what psutil reads of it."""

import resource

import psutil
import pytest

from proxy import process
from proxy.families import MAX_FDS, OPEN_FDS, PROCESS_GAUGES, RESIDENT_MEMORY


@pytest.fixture
def itself():
    return psutil.Process()


def test_resident_memory_is_what_the_system_says(itself):
    assert process.resident_memory() == pytest.approx(itself.memory_info().rss, rel=0.05)


def test_resident_memory_grows_with_what_is_touched():
    before = process.resident_memory()
    held = bytearray(b"\1" * 50_000_000)
    assert process.resident_memory() - before > 0.9 * len(held)


@pytest.mark.parametrize("listed", ["fd", "fdinfo"])
def test_open_descriptors_are_counted(listed, itself, tmp_path, monkeypatch):
    """Before Linux 6.2 their directory has no size, as the one beside it has none still."""
    (tmp_path / "fd").symlink_to(f"/proc/self/{listed}")
    monkeypatch.setattr(process, "PROC", tmp_path)
    before = process.open_fds()
    assert before == itself.num_fds() - 1, "the listing has one of its own"
    with (tmp_path / "one").open("wb"), (tmp_path / "two").open("wb"):
        assert process.open_fds() == before + 2
    assert process.open_fds() == before


def test_most_descriptors_are_the_soft_limit_and_unlimited_is_no_number(monkeypatch):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert process.max_fds() == soft
    monkeypatch.setattr(resource, "RLIM_INFINITY", soft)
    assert process.read(MAX_FDS, "supervisor") == {}


def test_processor_time_only_grows_by_what_is_worked(itself):
    before, times = process.cpu_nanoseconds(), itself.cpu_times()
    assert before / 1e9 == pytest.approx(times.user + times.system, abs=0.2)
    sum(range(1_000_000))
    assert process.cpu_nanoseconds() > before


def test_gauges_carry_the_name_of_the_process():
    for family in PROCESS_GAUGES:
        [(labels, value)] = process.read(family, "worker-3").items()
        assert labels == ("worker-3",)
        assert value > 0


def test_what_the_system_does_not_tell_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PROC", tmp_path / "no-proc")
    assert process.read(RESIDENT_MEMORY, "supervisor") == process.read(OPEN_FDS, "supervisor") == {}
    assert process.read(MAX_FDS, "supervisor")
