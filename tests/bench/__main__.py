"""Run the benchmark: `python -m tests.bench` from the project's top level."""

import argparse
import contextlib
import datetime as dt
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import measure, table
from tests.bench.contenders import CONTENDERS, scene_in
from tests.bench.measure import Plan, Results
from tests.bench.processes import LOAD_CORE, Unavailable

TOGETHER = {
    "rps": measure.measure_requests,
    "events": measure.measure_events,
    "latency": measure.measure_first_event,
}
ALONE = {
    "dialects": measure.measure_dialects,
    "memory": measure.measure_stream_memory,
    "transfer": measure.measure_transfers,
}
OPEN_FILES = 20_000


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", type=choices_of([*TOGETHER, *ALONE]), default=[*TOGETHER, *ALONE], help="parts")
    parser.add_argument("--contenders", type=choices_of(list(CONTENDERS)), default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement of requests and events")
    parser.add_argument("--gib", type=float, default=2, help="size of the big bodies")
    parser.add_argument("--date", default=dt.datetime.now(dt.UTC).date().isoformat())
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures")
    parser.add_argument("--readme", action="store_true", help="replace the figures that were measured, in both READMEs")
    return parser.parse_args()


def choices_of(known: list[str]):
    """Return a parser of comma-separated names."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if not set(names) <= set(known):
            raise argparse.ArgumentTypeError(f"one or more of {','.join(known)}")
        return names

    return parse


def run(plan: Plan, parts: list[str], results: Results) -> None:
    """Take the measurements asked for, telling on standard error how far they are."""
    together = [part for part in TOGETHER if part in parts]
    if together:
        with measure.side_by_side(plan, results) as running:
            for part in together:
                with timed(part):
                    TOGETHER[part](plan, running, results)
    for part, measure_alone in ALONE.items():
        if part in parts:
            with timed(part):
                measure_alone(plan, results)


@contextlib.contextmanager
def timed(part: str):
    """Say how long a part took."""
    began = time.monotonic()
    yield
    sys.stderr.write(f"{part}: {time.monotonic() - began:.0f} s\n")


def main() -> int:
    """Measure, print the table, write what was asked for."""
    arguments = parse_arguments()
    if os.cpu_count() < 2:
        sys.stderr.write("two cores are needed: one for the worker, one for load and upstream\n")
        return 2
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
    os.sched_setaffinity(0, {LOAD_CORE})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    results = Results()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        try:
            with scene_in(Path(directory)) as scene:
                plan = Plan(scene, arguments.contenders, arguments.rounds, arguments.seconds, arguments.gib)
                run(plan, arguments.only, results)
        except Unavailable as error:
            sys.stderr.write(f"{error}\n")
            return 2
        except KeyboardInterrupt:
            return 130
    machine = table.facts(arguments.date)
    tables = table.render(results.values, machine, results.notes, plan)
    sys.stdout.write("\n".join(tables.values() or [*results.notes, ""]))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"machine": machine, "notes": results.notes, "values": results.values}))
    if arguments.readme:
        table.write_readmes(tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
