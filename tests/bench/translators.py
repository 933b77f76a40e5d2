"""What a translator takes for a delta by itself, in microseconds: `python -m tests.bench.translators`.

No socket, no loop, one stream at a time, everything in the caches: a gateway full of streams takes longer. Use it to
see what a change is worth.
"""

import statistics
import time

from proxy.config import ProviderConfig
from proxy.dialects.base import Context, Translator
from proxy.dialects.create import read_create
from proxy.providers import REGISTRY
from proxy.worker import tune_collector
from tests.bench.formats import DELTAS, FORMATS, Format
from tests.bench.measure import in_turn
from tests.bench.processes import Failed

ROUNDS = 40
MODEL = "bench"


def main() -> None:
    """Print a table: the median of the rounds, and the lowest, which others disturbed least."""
    tune_collector()
    taken: dict[str, list[float]] = {name: [] for name in FORMATS}
    deltas = {name: [found.delta(number) for number in range(1, DELTAS + 1)] for name, found in FORMATS.items()}
    for number in range(ROUNDS):
        for name in in_turn(list(FORMATS), number):
            taken[name].append(measure(FORMATS[name], deltas[name]))
    print("| translator | µs a delta, median | lowest |\n|---|--:|--:|")  # noqa: T201
    for name, times in taken.items():
        print(f"| `{name}` | {statistics.median(times):.2f} | {min(times):.2f} |")  # noqa: T201


def measure(found: Format, deltas: list[bytes]) -> float:
    """Return the microseconds a delta, each fed by itself."""
    translator = translator_of(found.kind)
    translator.feed(found.opening)
    feed = translator.feed
    began = time.perf_counter()
    for delta in deltas:
        feed(delta)
    took = time.perf_counter() - began
    if b"event: response.completed\n" not in translator.feed(found.closing) + translator.close():
        raise Failed(f"the stream of {found.kind} did not complete")
    return took / len(deltas) * 1e6


def translator_of(kind: str) -> Translator:
    """Return a translator of a stream of this kind of provider."""
    dialect = REGISTRY[kind].dialect(ProviderConfig(kind=kind))(MODEL)
    create = read_create({"model": MODEL, "input": "Hi", "stream": True}, kind, MODEL, hosted=dialect.hosted)
    return dialect.parse_stream(Context(create, f"resp_{1:048x}", 1_764_000_000, time.time, 1 << 30))


if __name__ == "__main__":
    main()
