"""Processes of the benchmark: start, pin, find the worker, read its cost from `/proc`, end by pid."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

WORKER_CORE = 0
LOAD_CORE = 1
STOP_SECONDS = 10
DISTURBED = 0.1
"""Share of its time denied to a worker above which its CPU figures mislead: a starved loop batches its work."""

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


class Unavailable(Exception):
    """A process of the benchmark cannot start here."""


class Failed(Exception):
    """A measurement did not come out as it must for its figure to mean anything."""


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def spawn(arguments: list[str], log: Path, cores: set[int]) -> subprocess.Popen:
    """Start a process on the given cores, its output going to a file."""
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # noqa: S603
        except FileNotFoundError as error:
            raise Unavailable(str(error)) from error
    os.sched_setaffinity(process.pid, cores)
    return process


def wait_until(ready, process: subprocess.Popen, log: Path, seconds: float = 20) -> None:
    """Ask `ready` until it says so; raises `Unavailable` with the last line of the log."""
    deadline = time.monotonic() + seconds
    while not ready():
        exited = process.poll()
        if exited is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
            reason = "not ready in time" if exited is None else f"exit status {exited}"
            raise Unavailable(f"{Path(process.args[0]).name}: {reason}: {lines[-1][:300]}")
        time.sleep(0.02)


def listening(port: int) -> bool:
    """Return whether a connection to the port is accepted."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def descendants(pid: int) -> list[int]:
    """Return the children of a process and theirs, at this moment."""
    parents: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents.setdefault(int(_stat(entry)[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += parents.get(parent, [])
    return found[1:]


def worker_of(pid: int) -> int:
    """Return the one process that carries the traffic: the descendant that calls itself worker, or the process."""
    workers = []
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            if b"worker" in (PROC / str(child) / "cmdline").read_bytes():
                workers.append(child)
    if len(workers) > 1:
        raise Unavailable(f"expected one worker, found {len(workers)}")
    return workers[0] if workers else pid


def pin(pid: int, core: int) -> None:
    """Keep a process, every thread of it, on one core."""
    for task in (PROC / str(pid) / "task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


class Use(NamedTuple):
    """What a process has had of its core, in seconds, since it began."""

    cpu: float
    """User and system time, of reaped children too."""
    waited: float
    """Ready to run while something else had the core."""

    def since(self, before: "Use") -> "Use":
        """Return the use between an earlier moment and this one."""
        return Use(self.cpu - before.cpu, self.waited - before.waited)

    @property
    def denied(self) -> float:
        """Return the share of the time it wanted that went to others."""
        return self.waited / max(self.cpu + self.waited, 1e-9)


def use_of(pid: int) -> Use:
    """Return what a process has used up to now."""
    cpu = sum(int(ticks) for ticks in _stat(PROC / str(pid))[11:15]) / TICKS
    waits = [(task / "schedstat").read_text().split()[1] for task in (PROC / str(pid) / "task").iterdir()]
    return Use(cpu, sum(map(int, waits)) / 1e9)


def private_bytes(pid: int) -> int:
    """Return the memory that only this process holds (USS)."""
    fields = _sizes(PROC / str(pid) / "smaps_rollup")
    return fields["Private_Clean"] + fields["Private_Dirty"]


def resident_bytes(pid: int) -> int:
    """Return the resident memory, and start its peak afresh from here."""
    (PROC / str(pid) / "clear_refs").write_text("5")
    return _sizes(PROC / str(pid) / "status")["VmRSS"]


def peak_bytes(pid: int) -> int:
    """Return the highest resident memory since `resident_bytes` was called."""
    return _sizes(PROC / str(pid) / "status")["VmHWM"]


def stop(process: subprocess.Popen) -> None:
    """End a process and whatever it left behind."""
    family = [process.pid, *descendants(process.pid)] if process.poll() is None else []
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _stat(directory: Path) -> list[str]:
    """Return the fields of `stat` from the state on: the name before it may hold spaces."""
    return (directory / "stat").read_text().rpartition(")")[2].split()


def _sizes(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}
