import orjson
import pytest

from proxy import metrics as declared
from proxy.families import (
    AUTH_FAILURES,
    BINDING_QUEUE,
    BINDINGS_DROPPED,
    DURATION,
    EVENT_LOOP_LAG,
    FIRST_CHUNK,
    INFLIGHT_REQUESTS,
    INFLIGHT_STREAMS,
    OUTPUT_CHUNK,
    OVERHEAD,
    REDIS_OPERATIONS,
    REDIS_SECONDS,
    REQUESTS,
    STREAM_ENDS,
    TOKEN_BUCKETS,
    TOKEN_USAGE,
    TOKENS,
    UPSTREAM_CONNECT,
    UPSTREAM_CONNECT_FAILURES,
    UPSTREAM_CONNECTIONS,
    UPSTREAM_RETRIES,
)
from proxy.metrics import Metrics, Vocabulary
from proxy.record import ENDS, Record
from proxy.usage import Usage

LABELS = ("chat", "openai", "main", "gpt-4o")


def make(**limits):
    return Metrics(providers=["main", "spare"], models=["gpt-4o"], **limits)


def exchange(**fields):
    record = Record("req_1", 100.0)
    known = {"operation": "create", "provider": "main", "otel_provider": "openai", "model": "gpt-4o", "status": 200}
    for name, value in {**known, "ended": 102.0, **fields}.items():
        setattr(record, name, value)
    return record


def read(metrics, family):
    _, *lines = map(orjson.loads, b"".join(metrics.snapshot()).splitlines())
    return {tuple(labels): value for labels, value in dict(lines)[family.name]}


def observed(metrics, family, labels):
    """Return where each observation fell, as the bucket's upper bound, and their sum."""
    *counts, total = read(metrics, family)[labels]
    bounds = (*family.buckets, float("inf"))
    return [bound for bound, count in zip(bounds, counts, strict=True) for _ in range(count)], total


def test_settle_counts_the_request_by_operation_provider_and_code():
    metrics = make()
    metrics.settle(exchange())
    metrics.settle(exchange())
    metrics.settle(exchange(operation="delete", provider="spare", status=404))
    assert read(metrics, REQUESTS) == {("create", "main", "200"): 2, ("delete", "spare", "404"): 1}


def test_settle_labels_none_what_never_got_a_provider_or_a_status():
    metrics = make()
    metrics.settle(exchange(provider="", status=0))
    metrics.settle(exchange(provider="invented-by-a-client", status=401))
    assert read(metrics, REQUESTS) == {("create", "none", "none"): 1, ("create", "none", "401"): 1}
    assert read(metrics, DURATION) == {}


def test_settle_labels_unknown_an_operation_it_does_not_know():
    metrics = make()
    metrics.settle(exchange(operation="/v1/anything"))
    assert read(metrics, REQUESTS) == {("unknown", "main", "200"): 1}


def test_settle_observes_a_json_create_without_any_chunk_times():
    metrics = make()
    metrics.settle(exchange(ended=100.03, first_chunk=100.02, usage=Usage(20, 5, 70, 64)))
    bounds, total = observed(metrics, DURATION, (*LABELS, ""))
    assert bounds == [0.04]
    assert total == pytest.approx(0.03)
    assert read(metrics, FIRST_CHUNK) == read(metrics, OUTPUT_CHUNK) == {}
    assert observed(metrics, TOKEN_USAGE, (*LABELS, "input")) == ([64.0], 20)
    assert observed(metrics, TOKEN_USAGE, (*LABELS, "output")) == ([256.0], 70)
    assert read(metrics, TOKENS) == {
        ("main", "gpt-4o", "input"): 20,
        ("main", "gpt-4o", "cached_input"): 5,
        ("main", "gpt-4o", "output"): 70,
        ("main", "gpt-4o", "reasoning"): 64,
    }


def test_settle_observes_a_stream_once_however_many_chunks_it_had():
    metrics = make()
    metrics.settle(
        exchange(streamed=True, end="completed", first_chunk=100.5, last_chunk=101.5, chunks=101, ended=101.5)
    )
    bounds, total = observed(metrics, FIRST_CHUNK, LABELS)
    assert bounds == [0.64]
    assert total == pytest.approx(0.5)
    bounds, total = observed(metrics, OUTPUT_CHUNK, LABELS)
    assert bounds == [0.01]
    assert total == pytest.approx(0.01)
    assert read(metrics, STREAM_ENDS)["main", "completed"] == 1


@pytest.mark.parametrize(("chunks", "first_chunk", "expected"), [(0, 0.0, 0), (1, 100.5, 1)])
def test_settle_observes_no_time_per_chunk_when_a_stream_had_less_than_two(chunks, first_chunk, expected):
    metrics = make()
    metrics.settle(exchange(streamed=True, end="upstream_cut", chunks=chunks, first_chunk=first_chunk))
    assert len(read(metrics, FIRST_CHUNK)) == expected
    assert read(metrics, OUTPUT_CHUNK) == {}


def test_settle_counts_compact_as_work_of_a_model():
    metrics = make()
    metrics.settle(exchange(operation="compact", usage=Usage(1, 0, 1, 0)))
    assert list(read(metrics, DURATION)) == [("compact", *LABELS[1:], "")]
    assert read(metrics, TOKENS)["main", "gpt-4o", "input"] == 1


def test_settle_does_not_count_tokens_again_when_a_response_is_retrieved():
    metrics = make()
    metrics.settle(exchange(operation="retrieve", streamed=True, end="completed", usage=Usage(9, 0, 9, 0)))
    assert read(metrics, TOKENS) == read(metrics, TOKEN_USAGE) == read(metrics, DURATION) == {}
    assert read(metrics, STREAM_ENDS)["main", "completed"] == 1


def test_settle_counts_what_is_known_of_a_stream_its_client_left():
    metrics = make()
    metrics.settle(exchange(streamed=True, end="client_gone", usage=Usage(7, 0, 2, 0)))
    assert read(metrics, STREAM_ENDS)["main", "client_gone"] == 1
    assert read(metrics, TOKENS)["main", "gpt-4o", "output"] == 2


def test_settle_takes_waiting_out_of_the_overhead():
    metrics = make()
    metrics.settle(exchange(ended=102.0, waited=1.9996))
    bounds, total = observed(metrics, OVERHEAD, ("create",))
    assert bounds == [0.0005]
    assert total == pytest.approx(0.0004)


def test_settle_never_lets_overhead_go_below_zero():
    metrics = make()
    metrics.settle(exchange(ended=102.0, waited=3.0))
    assert observed(metrics, OVERHEAD, ("create",)) == ([0.00005], 0)


def test_settle_puts_a_value_on_a_bound_into_that_bounds_bucket():
    metrics = make()
    metrics.settle(exchange(usage=Usage(64, 0, 65, 0)))
    assert observed(metrics, TOKEN_USAGE, (*LABELS, "input"))[0] == [64.0]
    assert observed(metrics, TOKEN_USAGE, (*LABELS, "output"))[0] == [256.0]


def test_settle_keeps_answers_longer_than_every_bound():
    metrics = make()
    metrics.settle(exchange(ended=100.0 + 7200))
    assert observed(metrics, DURATION, (*LABELS, "")) == ([float("inf")], 7200)


def test_settle_survives_any_number_of_absurd_token_counts():
    metrics = make()
    for _ in range(3):
        metrics.settle(exchange(usage=Usage(2**64 - 1, 0, 1, 0)))
    assert read(metrics, TOKENS)["main", "gpt-4o", "input"] == 3 * TOKEN_BUCKETS[-1]


def test_model_label_is_other_until_a_provider_served_the_model():
    metrics = make()
    for status in (400, 404, 500, 0):
        metrics.settle(exchange(model="guess", status=status))
    assert list(read(metrics, DURATION)) == [(*LABELS[:3], "other", "")]
    metrics.settle(exchange(model="guess"))
    metrics.settle(exchange(model="guess", status=500))
    assert observed(metrics, DURATION, (*LABELS[:3], "guess", ""))[0] == [2.56, 2.56]


def test_model_label_is_other_when_the_room_for_models_is_used_up():
    metrics = make(max_models=2)
    for number in range(5):
        metrics.settle(exchange(model=f"new-{number}", usage=Usage(1, 0, 1, 0)))
    metrics.settle(exchange())
    assert {labels[3] for labels in read(metrics, DURATION)} == {"new-0", "new-1", "other", "gpt-4o"}
    assert read(metrics, TOKENS)["main", "other", "input"] == 3


@pytest.mark.parametrize("model", ["", "x" * 129, "two\nlines", "lone \ud800 surrogate", "nul\0"])
def test_model_label_is_other_when_the_name_is_none(model):
    metrics = make()
    metrics.settle(exchange(model=model))
    assert list(read(metrics, DURATION)) == [(*LABELS[:3], "other", "")]


def test_error_type_label_is_bounded():
    metrics = make()
    for number in range(declared.MAX_ERROR_TYPES + 50):
        metrics.settle(exchange(status=500, error_type=f"whatever-{number}"))
    types = {labels[-1] for labels in read(metrics, DURATION)}
    assert len(types) == declared.MAX_ERROR_TYPES + 1
    assert "_OTHER" in types


def test_vocabulary_gives_known_values_no_part_of_the_room():
    words = Vocabulary(["a", "b"], room=1, rest="rest")
    assert [words.label(word) for word in ("a", "b", "rest", "c", "d", "c")] == ["a", "b", "rest", "c", "rest", "c"]
    words.know(["d"])
    assert words.label("d") == "d"


def test_inflight_gauges_stand_where_their_blocks_leave_them():
    metrics = make()
    with metrics.serving("main"), metrics.serving("main"), metrics.streaming("main"), metrics.serving("nobody"):
        assert read(metrics, INFLIGHT_REQUESTS) == {("main",): 2, ("spare",): 0, ("none",): 1}
        assert read(metrics, INFLIGHT_STREAMS) == {("main",): 1, ("spare",): 0, ("none",): 0}
    assert set(read(metrics, INFLIGHT_REQUESTS).values()) == {0}


def test_inflight_gauge_comes_down_when_a_block_fails():
    metrics = make()
    with pytest.raises(ConnectionResetError), metrics.serving("main"):
        raise ConnectionResetError
    assert read(metrics, INFLIGHT_REQUESTS)[("main",)] == 0


def test_redis_counts_and_times_each_operation():
    metrics = make()
    metrics.redis("bind", "ok", 0.0002)
    metrics.redis("bind", "error", 0.25)
    assert read(metrics, REDIS_OPERATIONS) == {("bind", "ok"): 1, ("bind", "error"): 1}
    assert observed(metrics, REDIS_SECONDS, ("bind",))[0] == [0.00025, 0.25]


def test_connections_are_timed_and_those_that_could_not_be_made_are_counted():
    metrics = make()
    metrics.connected("main", 0.03)
    metrics.connected("spare", None)
    assert observed(metrics, UPSTREAM_CONNECT, ("main",)) == ([0.05], 0.03)
    assert observed(metrics, UPSTREAM_CONNECT, ("spare",)) == ([], 0)
    assert read(metrics, UPSTREAM_CONNECT_FAILURES) == {("main",): 0, ("spare",): 1}


def test_settle_counts_a_request_that_was_sent_again():
    metrics = make()
    metrics.settle(exchange())
    metrics.settle(exchange(retried=True))
    assert read(metrics, UPSTREAM_RETRIES) == {("main",): 1, ("spare",): 0}
    assert read(metrics, REQUESTS) == {("create", "main", "200"): 2}


def test_lag_of_the_loop_is_observed():
    metrics = make()
    metrics.lagged(0.0)
    metrics.lagged(0.2)
    assert observed(metrics, EVENT_LOOP_LAG, ()) == ([0.001, 0.25], 0.2)


def test_watched_gauges_are_read_when_the_snapshot_is_taken():
    metrics = make()
    queue = [1, 2, 3]
    metrics.watch(BINDING_QUEUE, lambda: {(): len(queue)})
    metrics.watch(UPSTREAM_CONNECTIONS, lambda: {("main", "idle"): 4})
    assert read(metrics, BINDING_QUEUE) == {(): 3}
    queue.pop()
    assert read(metrics, BINDING_QUEUE) == {(): 2}
    assert read(metrics, UPSTREAM_CONNECTIONS) == {("main", "idle"): 4}


def test_series_with_known_labels_are_there_from_the_start():
    metrics = make()
    assert read(metrics, STREAM_ENDS) == {(name, end): 0 for name in ("main", "spare", "none") for end in ENDS}
    assert ("create",) in read(metrics, OVERHEAD)
    for family in (UPSTREAM_CONNECT, UPSTREAM_CONNECT_FAILURES, UPSTREAM_RETRIES):
        assert list(read(metrics, family)) == [("main",), ("spare",)]
    assert observed(metrics, EVENT_LOOP_LAG, ()) == ([], 0)
    metrics.auth_failure("missing")
    metrics.present(AUTH_FAILURES, ("missing",), ("unknown",))
    metrics.present(REDIS_SECONDS, ("bind",))
    assert read(metrics, AUTH_FAILURES) == {("missing",): 1, ("unknown",): 0}
    assert read(metrics, REDIS_SECONDS) == {("bind",): [0] * (len(REDIS_SECONDS.buckets) + 2)}


def test_binding_dropped_counts_one_or_many():
    metrics = make()
    metrics.binding_dropped()
    metrics.binding_dropped(41)
    assert read(metrics, BINDINGS_DROPPED) == {(): 42}
