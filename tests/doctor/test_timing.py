"""What arrival times say, for streams that were held back in every way there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.doctor.timing import measure, skew

INTERVAL = 0.04
COUNTS = st.integers(2, 60)
DELAYS = st.floats(0, 10)


@given(COUNTS, DELAYS)
def test_steady_stream_is_in_as_many_pieces_as_events_however_far_away(count, delay):
    flow = measure([delay + number * INTERVAL for number in range(count)], INTERVAL)
    assert (flow.events, flow.pieces, flow.together) == (count, count, 0.0)
    assert flow.held == pytest.approx(0, abs=1e-9)


@given(COUNTS, DELAYS)
def test_stream_that_comes_at_once_is_one_piece_held_for_its_whole_length(count, delay):
    flow = measure([delay] * count, INTERVAL)
    assert (flow.pieces, flow.together) == (1, 1.0)
    assert flow.held == pytest.approx((count - 1) * INTERVAL)


@given(st.integers(2, 12), st.integers(2, 12))
def test_stream_in_clumps_is_counted_by_them(size, clumps):
    """A hop that passes on every `size` events holds the first of each the longest."""
    arrivals = [(number // size * size + size - 1) * INTERVAL for number in range(size * clumps)]
    flow = measure(arrivals, INTERVAL)
    assert flow.pieces == clumps
    assert flow.held == pytest.approx((size - 1) * INTERVAL)
    assert flow.gap == pytest.approx(size * INTERVAL)


@given(st.lists(st.floats(0, 0.5), min_size=2, max_size=60), DELAYS)
def test_events_are_held_no_longer_than_the_most_and_the_least_they_were_delayed(delays, start):
    """Events stay in order: one that is held holds those behind it."""
    sent = [number * INTERVAL for number in range(len(delays))]
    arrivals, latest = [], 0.0
    for at, delay in zip(sent, delays, strict=True):
        latest = max(latest, start + at + delay)
        arrivals.append(latest)
    flow = measure(arrivals, INTERVAL)
    assert 0 <= flow.held <= max(delays) - min(delays) + 1e-6
    assert 1 <= flow.pieces <= flow.events
    assert 0 <= flow.together <= 1


def test_pace_that_is_not_known_leaves_what_came_at_the_same_moment():
    flow = measure([1.0, 1.0, 2.5, 9.0], 0)
    assert (flow.pieces, flow.held, flow.gap) == (3, 0.0, 6.5)


@pytest.mark.parametrize(("arrivals", "pieces"), [([], 0), ([3.0], 1)])
def test_stream_without_gaps_has_none(arrivals, pieces):
    flow = measure(arrivals, INTERVAL)
    assert (flow.pieces, flow.together, flow.held, flow.gap) == (pieces, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [(100.0, 0.0), (102.0, 0.0), (99.5, 0.0), (103.0, 1.0), (98.0, -1.0), (700.0, 598.0), (0.0, -99.0)],
)
def test_skew_is_the_least_that_fits(stamp, expected):
    """The stamp was cut off to a second, somewhere between 100 and 102."""
    assert skew(stamp, 1.0, 100.0, 102.0) == pytest.approx(expected)
