"""What the sandbox keeps: bounded by number and weight, and as far as the clock says."""

import math

import orjson
import pytest

from proxy.sandbox import scripted
from proxy.sandbox.kept import ENTRY_BYTES, Kept, Shelf


def kept(*, pace=0.0, silence=0.0, **fields):
    body = {"model": "m", "input": "hello", **fields}
    items = scripted.parse_items("hello")
    response = scripted.answer(body, items, [], words=None, now=1)
    return Kept.begin(response, items, pace=pace, now=100.0, silence=silence)


def status(record, now):
    return orjson.loads(record.snapshot(now))["status"]


def test_shelf_forgets_the_oldest_when_it_holds_too_many():
    shelf = Shelf(2, 10**6)
    for name in "abc":
        shelf.put(name, name, 1)
    assert [shelf.get(name) for name in "abc"] == [None, "b", "c"]


def test_shelf_forgets_the_oldest_when_it_weighs_too_much():
    shelf = Shelf(100, 2 * (ENTRY_BYTES + 50))
    for name in "abc":
        shelf.put(name, name, 50)
    assert [shelf.get(name) for name in "abc"] == [None, "b", "c"]
    assert shelf.size == 2 * (ENTRY_BYTES + 50)


def test_shelf_does_not_keep_what_is_heavier_than_itself():
    shelf = Shelf(100, 1000)
    shelf.put("a", "a", 1001)
    assert (shelf.get("a"), len(shelf), shelf.size) == (None, 0, 0)


def test_shelf_weighs_a_value_once_when_it_is_replaced_or_removed():
    shelf = Shelf(100, 10**6)
    shelf.put("a", "old", 500)
    shelf.put("a", "new", 10)
    assert (shelf.get("a"), shelf.size) == ("new", ENTRY_BYTES + 10)
    assert shelf.remove("a")
    assert not shelf.remove("a")
    assert shelf.size == 0


def test_kept_gets_on_with_the_clock():
    record = kept(pace=2.0, background=True)
    end = (len(list(record.events())) - 1) / 2.0
    states = [status(record, 100.0 + after) for after in (0, 0.9, 1.0, end - 0.1, end)]
    assert states == ["queued", "queued", "in_progress", "in_progress", "completed"]


def test_kept_is_finished_at_once_when_no_pace_is_set():
    assert status(kept(), 100.0) == "completed"


@pytest.mark.parametrize("pace", [0.0, 2.0])
def test_kept_is_silent_in_the_middle(pace):
    record, steady = kept(pace=pace, silence=60.0), kept(pace=pace)
    count = len(list(record.events()))
    late = [record.due(number) - steady.due(number) for number in range(count)]
    assert late == [0.0] * (count // 2) + [60.0] * (count - count // 2)
    assert record.finished - steady.finished == 60.0


def test_kept_cancelled_in_its_silence_ends_there():
    record = kept(silence=60.0)
    record.cancel(130.0)
    assert record.stop == len(list(record.events())) // 2


def test_kept_stays_cancelled_and_cuts_its_stream_where_it_was():
    record = kept(pace=2.0, background=True)
    record.cancel(101.2)
    assert status(record, math.inf) == "cancelled"
    assert [record.cut(number) is None for number in range(4)] == [True, True, True, False]
    cut = record.cut(3)
    assert (cut["type"], cut["sequence_number"], cut["response"]["status"]) == ("response.incomplete", 3, "cancelled")


def test_kept_cancelled_before_its_last_event_never_sends_it():
    record = kept()
    record.finished = math.inf
    record.cancel(200.0)
    assert record.cut(len(list(record.events())) - 1) is not None


def test_kept_is_not_cancelled_when_it_has_finished():
    record = kept(pace=2.0)
    record.cancel(math.inf)
    assert status(record, math.inf) == "completed"
