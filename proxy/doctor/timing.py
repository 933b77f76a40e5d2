"""How a stream came: what its events' arrival times say of the way they took; pure."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

TOGETHER = 0.25
"""Events nearer to each other than this part of their interval came together."""


class Flow(NamedTuple):
    """Arrivals summed up. Times are in seconds."""

    events: int
    pieces: int
    """Groups of events that came together."""
    held: float
    """The longest that an event was held back, against the one that was held the least."""
    gap: float
    """The longest time between two pieces."""

    @property
    def together(self) -> float:
        """Return the share of events that came with the one before."""
        return 1 - (self.pieces - 1) / (self.events - 1) if self.events > 1 else 0.0


def measure(arrivals: Sequence[float], interval: float) -> Flow:
    """Sum up when events came that were sent `interval` seconds apart; 0 where that is not known.

    Without an interval only what came at the same moment came together, and nothing is known to be held.
    """
    gaps = [after - before for before, after in pairwise(arrivals)]
    pieces = 1 + sum(gap > interval * TOGETHER for gap in gaps) if arrivals else 0
    lateness = [at - number * interval for number, at in enumerate(arrivals)] if interval else []
    held = max(lateness) - min(lateness) if lateness else 0.0
    return Flow(len(arrivals), pieces, held, max(gaps, default=0.0))


def skew(stamp: float, resolution: float, before: float, after: float) -> float:
    """Return how far the clock that made a stamp is ahead of the one that read `before` and `after` around it.

    The stamp was cut off to `resolution`. 0 where the two may agree; else the least difference that fits.
    """
    if stamp > after:
        return stamp - after
    if stamp + resolution < before:
        return stamp + resolution - before
    return 0.0
