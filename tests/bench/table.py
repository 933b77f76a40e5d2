"""The tables: medians, ratios of each round, floor and aim beside them, and the machine they were measured on."""

import importlib.metadata
import math
import os
import platform
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import contenders, wire
from tests.bench.formats import FORMATS
from tests.bench.processes import DISTURBED

READMES = (Path(__file__).parent / "README.md", Path(__file__).parents[2] / "README.md")
BLOCK = r"(<!-- {name}: begin[^\n]*-->\n).*?(<!-- {name}: end -->)"


@dataclass(frozen=True)
class Row:
    """One figure of the table; `ratio` is off where a quotient of two figures near zero would say nothing."""

    key: str
    title: str
    render: Callable[[float], str]
    floor: str = "-"
    aim: str = "-"
    ratio: bool = True


ROWS = (
    Row("requests", "requests/s, 1 KB JSON create, 32 connections", "{:,.0f}".format, "ratio ≥ 0.8", "ratio ≥ 1.1"),
    Row("request_cpu_us", "CPU per request, µs", "{:.0f}".format),
    Row("event_cpu_us", "CPU per streamed event, µs", "{:.1f}".format, "ratio ≤ 1.1", "ratio ≤ 0.7"),
    Row("first_event_ms", "added time to first event, p50, idle, ms", "{:.3f}".format, "≤ 1.5", "≤ 0.5"),
    Row("stream_kib", "memory per open stream, KiB", "{:.1f}".format, "≤ 60", "≤ 30"),
    Row("upload_growth_mib", "{gib} GiB upload: growth, MiB", "{:.2f}".format, "≤ 8", "≤ 2", ratio=False),
    Row("document_growth_mib", "{gib} GiB JSON download: growth, MiB", "{:.2f}".format, "≤ 8", "≤ 2", ratio=False),
    Row("events_growth_mib", "{gib} GiB SSE download: growth, MiB", "{:.2f}".format, "≤ 8", "≤ 2", ratio=False),
)

FIGURES = (
    "| figure | nginx | bare | gateway | gateway ÷ bare | floor | aim |",
    "|---|--:|--:|--:|--:|--:|--:|",
)
DIALECT_KEY = "dialect_cpu_us"
DIALECTS = (
    "| gateway, streams of | CPU per event, µs | ÷ passed through | floor | aim |",
    "|---|--:|--:|--:|--:|",
)


def facts(date: str) -> dict[str, str]:
    """Return what the figures depend on besides the code."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    packages = {name: importlib.metadata.version(name) for name in ("aiohttp", "uvloop", "redis")}
    return {
        "date": date,
        "cores": f"{os.cpu_count()} of {cpu[1].strip() if cpu else platform.machine()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        **packages,
        "nginx": contenders.version(["/usr/sbin/nginx", "-v"]).rpartition("/")[2],
        "bindings": contenders.version([contenders.redis_program(), "--version"]).partition(" sha=")[0],
    }


def render(
    values: dict[str, dict[str, list[float]]], machine: dict[str, str], notes: list[str], plan
) -> dict[str, str]:
    """Return the Markdown of each table that was measured, by its name: facts, table, notes."""
    tables = {
        "figures": (FIGURES, [render_row(row, values[row.key], plan.gib) for row in ROWS if row.key in values]),
        "dialects": (DIALECTS, [*render_dialects(values.get(DIALECT_KEY, {}))]),
    }
    head = [
        "Measured "
        + ", ".join(f"{name} {value}" if name != "date" else value for name, value in machine.items())
        + ".",
        f"Medians of {plan.rounds} rounds of {plan.seconds:g} s; ratio: median, lowest and highest of the rounds' own.",
        "",
    ]
    notes = [*notes, *disturbances(values)]
    tail = ["", *(f"* {note}" for note in notes)] if notes else []
    return {name: "\n".join([*head, *titles, *rows, *tail]) + "\n" for name, (titles, rows) in tables.items() if rows}


def render_dialects(rounds: dict[str, list[float]]) -> Iterator[str]:
    """Yield the lines of the native stream and of each dialect."""
    native = rounds.get(wire.PROVIDER, [])
    if native:
        yield f"| Responses API, passed through | {render_median('{:.1f}'.format, native)} | 1 | - | - |"
    for name in FORMATS:
        if name in rounds:
            median, ratio = render_median("{:.1f}".format, rounds[name]), render_ratio(rounds[name], native)
            yield f"| `{name}` | {median} | {ratio} | ≤ 3 | ≤ 2 |"


def disturbances(values: dict[str, dict[str, list[float]]]) -> list[str]:
    """Tell of measurements during which something else ran on the worker's core."""
    shares = {
        f"{name} ({key.removesuffix('_denied')}: {max(rounds):.0%})": max(rounds)
        for key in ("requests_denied", "events_denied", "dialects_denied")
        for name, rounds in values.get(key, {}).items()
    }
    worst = [found for found, share in shares.items() if share > DISTURBED]
    if not worst:
        return []
    return [f"**Disturbed**: denied their core for part of the time they wanted it: {', '.join(worst)}. Measure again."]


def render_row(row: Row, rounds: dict[str, list[float]], gib: float) -> str:
    """Return one line of the table."""
    cells = [row.title.format(gib=f"{gib:g}")]
    cells += [render_median(row.render, rounds.get(name, [])) for name in contenders.CONTENDERS]
    ratio = render_ratio(rounds.get("gateway", []), rounds.get("bare", [])) if row.ratio else "-"
    cells += [ratio, row.floor, row.aim]
    return f"| {' | '.join(cells)} |"


def render_median(render: Callable[[float], str], values: list[float]) -> str:
    """Return the median of the rounds that worked."""
    good = [value for value in values if not math.isnan(value)]
    if good:
        return render(statistics.median(good))
    return "failed" if values else "-"


def render_ratio(measured: list[float], against: list[float]) -> str:
    """Return one over the other, round by round: median (lowest to highest)."""
    pairs = zip(measured, against, strict=False)
    ratios = [ours / theirs for ours, theirs in pairs if theirs and not math.isnan(ours / theirs)]
    if not ratios:
        return "-"
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"


def write_readmes(tables: dict[str, str]) -> None:
    """Replace the tables that were measured in the README beside this file, and in the project's."""
    for path in READMES:
        text = path.read_text()
        for name, markdown in tables.items():
            pattern = re.compile(BLOCK.format(name=name), re.DOTALL)
            text, count = pattern.subn(lambda found, markdown=markdown: f"{found[1]}\n{markdown}\n{found[2]}", text)
            if count != 1:
                raise ValueError(f"{path} has {count} marked places for {name}")
        path.write_text(text)
