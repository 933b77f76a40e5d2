import itertools

import orjson
import pytest

from proxy.config import Secret
from proxy.logs import Log, render_exchange
from proxy.record import Record
from proxy.usage import Usage


class Sink:
    """What a log wrote, and a log that writes to it."""

    def __init__(self):
        self.writes = []
        clock = itertools.count(1000.0)
        self.log = Log(self.writes.append, lambda: next(clock))

    def lines(self):
        return [orjson.loads(line) for line in b"".join(self.writes).splitlines()]


@pytest.fixture
def sink():
    return Sink()


def settled(**fields):
    record = Record("req_1", 100.0)
    known = {
        "operation": "create",
        "status": 200,
        "provider": "main",
        "kind": "openai",
        "model": "gpt-4o",
        "caller": "alice",
        "tenant": "team-a",
        "ended": 102.5,
        "waited": 2.25,
        "bytes_in": 10,
        "bytes_out": 20,
    }
    for name, value in {**known, **fields}.items():
        setattr(record, name, value)
    return record


def test_event_is_written_at_once_as_one_line_of_json(sink):
    sink.log.event("redis_state", state="down", queued=3, error=None)
    assert sink.writes == [b'{"time":1000.0,"event":"redis_state","state":"down","queued":3,"error":null}\n']


def test_exchanges_are_written_in_batches(sink):
    for _ in range(63):
        sink.log.exchange(settled())
    assert sink.writes == []
    sink.log.exchange(settled())
    assert [write.count(b"\n") for write in sink.writes] == [64]
    sink.log.exchange(settled())
    sink.log.flush()
    sink.log.flush()
    assert [write.count(b"\n") for write in sink.writes] == [64, 1]


def test_event_takes_along_what_waits_before_it(sink):
    """The order of the lines is the order of what happened."""
    sink.log.exchange(settled())
    sink.log.event("draining")
    assert [line["event"] for line in sink.lines()] == ["exchange", "draining"]
    assert len(sink.writes) == 1


def test_exchange_is_one_line_with_who_what_and_how_long(sink):
    times = {"routed": 100.001, "connected": 100.002, "head_received": 101.0, "bound": 101.003, "first_chunk": 101.5}
    known = {"response_id": "resp_1", "upstream_request_id": "up_1", "end": "completed", "usage": Usage(1, 2, 3, 4)}
    sink.log.exchange(settled(**times, **known))
    sink.log.flush()
    (line,) = sink.lines()
    assert line == {
        "time": 1000.0,
        "event": "exchange",
        "request_id": "req_1",
        "operation": "create",
        "status": 200,
        "provider": "main",
        "model": "gpt-4o",
        "caller": "alice",
        "tenant": "team-a",
        "total_ms": 2500.0,
        "overhead_ms": 250.0,
        "bytes_in": 10,
        "bytes_out": 20,
        "routed_ms": 1.0,
        "connected_ms": 2.0,
        "head_received_ms": 1000.0,
        "bound_ms": 1003.0,
        "first_chunk_ms": 1500.0,
        "response_id": "resp_1",
        "upstream_request_id": "up_1",
        "end": "completed",
        "tokens": {"input": 1, "cached_input": 2, "output": 3, "reasoning": 4},
    }


def test_exchange_leaves_out_what_never_happened():
    line = render_exchange(settled(), 1.0)
    phases = {name for name in line if name.endswith("_ms")}
    assert phases == {"total_ms", "overhead_ms"}
    assert line.keys().isdisjoint({"response_id", "upstream_request_id", "error_type", "end", "retried", "tokens"})
    assert render_exchange(settled(retried=True, error_type="timeout"), 1.0).items() >= {
        ("retried", True),
        ("error_type", "timeout"),
    }


def test_line_stays_one_line_whatever_it_holds(sink):
    sink.log.exchange(settled(model='a"\n{}\r\u2028', response_id="b\x00"))
    sink.log.flush()
    (line,) = sink.lines()
    assert (line["model"], line["response_id"]) == ('a"\n{}\r\u2028', "b\x00")


def test_line_is_written_also_of_bytes_that_are_no_text(sink):
    """Headers are read with surrogates for what is no UTF-8."""
    foreign = b"up-\xff\xfe".decode("utf-8", "surrogateescape")
    sink.log.exchange(settled(upstream_request_id=foreign, usage=Usage(1, 2, 3, 4)))
    sink.log.flush()
    (line,) = sink.lines()
    assert (line["upstream_request_id"], line["tokens"]["input"], line["total_ms"]) == ("up-??", 1, 2500.0)


def test_secret_prints_as_stars(sink):
    sink.log.event("start", redis=Secret("redis://:hunter2@127.0.0.1"), error=ValueError("plain"))
    (line,) = sink.lines()
    assert (line["redis"], line["error"]) == ("***", "plain")
