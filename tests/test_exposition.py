import math
import platform
import shutil
import subprocess

import aiohttp
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proxy import __version__
from proxy.exposition import Exposition
from proxy.families import (
    BINDING_QUEUE,
    CLIENT_CONNECTIONS,
    CPU_SECONDS,
    PROCESS_GAUGES,
    REDIS_STATE,
    UPSTREAM_CONNECTIONS,
)
from proxy.metrics import ENDS, Metrics
from proxy.record import Record
from proxy.usage import Usage

GEN_AI = {"gen_ai_operation_name", "gen_ai_provider_name", "provider", "gen_ai_request_model"}
FAMILIES = {
    "gen_ai_client_operation_duration_seconds": ("histogram", GEN_AI | {"error_type"}),
    "gen_ai_client_operation_time_to_first_chunk_seconds": ("histogram", GEN_AI),
    "gen_ai_client_operation_time_per_output_chunk_seconds": ("histogram", GEN_AI),
    "gen_ai_client_token_usage": ("histogram", GEN_AI | {"gen_ai_token_type"}),
    "responses_proxy_requests_total": ("counter", {"operation", "provider", "code"}),
    "responses_proxy_tokens_total": ("counter", {"provider", "model", "type"}),
    "responses_proxy_overhead_seconds": ("histogram", {"operation"}),
    "responses_proxy_inflight_requests": ("gauge", {"provider"}),
    "responses_proxy_inflight_streams": ("gauge", {"provider"}),
    "responses_proxy_stream_ends_total": ("counter", {"provider", "end"}),
    "responses_proxy_redis_operations_total": ("counter", {"operation", "outcome"}),
    "responses_proxy_redis_seconds": ("histogram", {"operation"}),
    "responses_proxy_binding_queue": ("gauge", set()),
    "responses_proxy_bindings_dropped_total": ("counter", set()),
    "responses_proxy_archive_queue_bytes": ("gauge", set()),
    "responses_proxy_archive_dropped_total": ("counter", set()),
    "responses_proxy_auth_failures_total": ("counter", {"reason"}),
    "responses_proxy_upstream_connections": ("gauge", {"provider", "state"}),
    "responses_proxy_upstream_connect_seconds": ("histogram", {"provider"}),
    "responses_proxy_upstream_connect_failures_total": ("counter", {"provider"}),
    "responses_proxy_upstream_retries_total": ("counter", {"provider"}),
    "responses_proxy_client_connections": ("gauge", set()),
    "responses_proxy_redis_state": ("gauge", {"store", "state"}),
    "responses_proxy_event_loop_lag_seconds": ("histogram", set()),
    "responses_proxy_resident_memory_bytes": ("gauge", {"process"}),
    "responses_proxy_open_fds": ("gauge", {"process"}),
    "responses_proxy_max_fds": ("gauge", {"process"}),
    "responses_proxy_cpu_seconds_total": ("counter", {"process"}),
    "responses_proxy_workers": ("gauge", set()),
    "responses_proxy_worker_restarts_total": ("counter", set()),
    "responses_proxy_draining": ("gauge", set()),
    "responses_proxy_config_last_reload_successful": ("gauge", set()),
    "responses_proxy_config_last_reload_success_timestamp_seconds": ("gauge", set()),
    "responses_proxy_start_time_seconds": ("gauge", set()),
    "responses_proxy_build_info": ("gauge", {"version", "python", "aiohttp"}),
}
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
LABELS = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "openai",
    "provider": "main",
    "gen_ai_request_model": "gpt-4o",
}


def make(*models):
    return Metrics(providers=["main"], models=["gpt-4o", *models])


def exchange(**fields):
    record = Record("req_1", 100.0)
    known = {"operation": "create", "provider": "main", "otel_provider": "openai", "model": "gpt-4o", "status": 200}
    for name, value in {**known, "ended": 102.0, **fields}.items():
        setattr(record, name, value)
    return record


def stream(**fields):
    known = {"streamed": True, "end": "completed", "first_chunk": 100.3, "last_chunk": 101.9, "chunks": 40}
    return exchange(**{**known, "usage": Usage(90, 10, 300, 200), "waited": 1.99, **fields})


def taken(metrics):
    return b"".join(metrics.snapshot())


def busy_worker():
    """Return a worker's metrics with something in every family."""
    metrics = make()
    metrics.settle(stream())
    metrics.settle(exchange(status=500, error_type="server_error"))
    metrics.redis("bind", "ok", 0.0002)
    metrics.auth_failure("missing")
    metrics.watch(BINDING_QUEUE, lambda: {(): 2})
    metrics.watch(UPSTREAM_CONNECTIONS, lambda: {("main", "idle"): 3})
    metrics.watch(REDIS_STATE, lambda: {("bindings", "up"): True, ("bindings", "down"): False})
    metrics.watch(CLIENT_CONNECTIONS, lambda: {(): 5})
    metrics.watch(CPU_SECONDS, lambda: {("worker",): 1_500_000_000})
    for family in PROCESS_GAUGES:
        metrics.watch(family, lambda: {("worker-1",): 7})
    return metrics


def samples(exposition):
    """Return every sample of the rendered text, by name and labels."""
    body, _ = exposition.render("")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


def workers_samples(exposition):
    """Return the samples but for the supervisor's own use of its host, which never stands still."""
    return {key: value for key, value in samples(exposition).items() if ("process", "supervisor") not in key[1]}


def value(exposition, name, **labels):
    return samples(exposition)[name, frozenset(labels.items())]


def test_render_shows_exactly_the_families_with_their_labels():
    exposition = Exposition()
    exposition.update(1, taken(busy_worker()))
    body, _ = exposition.render("")
    seen = {}
    for family in parse_text(body.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels if label != "le"}
        seen[name] = (family.type, labels)
        assert family.documentation
    assert seen == FAMILIES


def test_render_shows_every_family_without_labels_at_zero_when_no_worker_reported():
    exposition = Exposition(clock=lambda: 0.0)
    for name, (kind, labels) in FAMILIES.items():
        if not labels and name != "responses_proxy_config_last_reload_successful":
            assert value(exposition, f"{name}_count" if kind == "histogram" else name) == 0


def test_render_answers_openmetrics_when_it_is_accepted():
    exposition = Exposition()
    exposition.update(1, taken(busy_worker()))
    body, content_type = exposition.render(f"{OPENMETRICS};q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name for family in parse_openmetrics(body.decode())}
    assert families == {name.removesuffix("_total") for name in FAMILIES}


@pytest.mark.parametrize(
    "accept", ["", "*/*", "text/html", "application/openmetrics-text; version=new", 'text/plain;version="1.0.0"']
)
def test_render_answers_text_when_nothing_else_is_understood(accept):
    body, content_type = Exposition().render(accept)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert list(parse_text(body.decode()))


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_render_shows_no_created_series(accept):
    exposition = Exposition()
    exposition.update(1, taken(busy_worker()))
    assert b"_created" not in exposition.render(accept)[0]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's package prometheus")
def test_render_passes_promtool():
    exposition = Exposition()
    exposition.update(1, taken(busy_worker()))
    body, _ = exposition.render("")
    check = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)  # noqa: S607
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


def test_render_adds_workers_up():
    exposition = Exposition()
    for worker in (11, 12):
        exposition.update(worker, taken(busy_worker()))
    assert value(exposition, "responses_proxy_requests_total", operation="create", provider="main", code="200") == 2
    assert value(exposition, "responses_proxy_binding_queue") == 4
    name = "gen_ai_client_operation_duration_seconds"
    assert value(exposition, f"{name}_bucket", **LABELS, error_type="", le="1.28") == 0
    assert value(exposition, f"{name}_bucket", **LABELS, error_type="", le="2.56") == 2
    assert value(exposition, f"{name}_sum", **LABELS, error_type="") == 4
    assert value(exposition, "gen_ai_client_token_usage_sum", **LABELS, gen_ai_token_type="output") == 600


def test_update_replaces_what_the_worker_said_before():
    exposition = Exposition()
    metrics = busy_worker()
    exposition.update(1, taken(metrics))
    metrics.settle(exchange())
    exposition.update(1, taken(metrics))
    assert value(exposition, "responses_proxy_requests_total", operation="create", provider="main", code="200") == 2


@pytest.mark.parametrize("kept", [0, 0.3, 0.99])
def test_update_refuses_a_snapshot_that_is_not_whole_and_keeps_the_one_before_it(kept):
    exposition = Exposition()
    whole = taken(busy_worker())
    exposition.update(1, whole)
    before = workers_samples(exposition)
    with pytest.raises(ValueError, match=r"unexpected|not enough"):
        exposition.update(1, whole[: int(len(whole) * kept)])
    with pytest.raises(ValueError, match=r"of this version: responses_proxy_cpu_seconds_total$"):
        exposition.update(1, b"\n".join(whole.splitlines()[:-1]))
    with pytest.raises(ValueError, match=r"of this version: responses_proxy_later_total$"):
        exposition.update(1, whole + b'["responses_proxy_later_total", []]')
    assert workers_samples(exposition) == before


def test_retire_keeps_counters_and_drops_gauges():
    exposition = Exposition()
    exposition.update(1, taken(busy_worker()))
    exposition.retire(1)
    assert value(exposition, "responses_proxy_auth_failures_total", reason="missing") == 1
    assert value(exposition, "responses_proxy_redis_seconds_count", operation="bind") == 1
    assert value(exposition, "responses_proxy_binding_queue") == 0
    assert value(exposition, "responses_proxy_client_connections") == 0
    gone = {"responses_proxy_upstream_connections", "responses_proxy_redis_state"}
    assert not gone & {name for name, _ in samples(exposition)}


def test_retire_of_a_worker_that_never_reported_changes_nothing():
    exposition = Exposition()
    before = workers_samples(exposition)
    exposition.retire(99)
    assert workers_samples(exposition) == before


def test_supervisor_families_say_what_they_are_told():
    exposition = Exposition()
    assert value(exposition, "responses_proxy_config_last_reload_successful") == 1
    exposition.workers = 4
    exposition.draining = True
    exposition.restarted()
    exposition.reload(successful=False)
    assert value(exposition, "responses_proxy_workers") == 4
    assert value(exposition, "responses_proxy_draining") == 1
    assert value(exposition, "responses_proxy_worker_restarts_total") == 1
    assert value(exposition, "responses_proxy_config_last_reload_successful") == 0
    build = {"version": __version__, "python": platform.python_version(), "aiohttp": aiohttp.__version__}
    assert value(exposition, "responses_proxy_build_info", **build) == 1


def test_label_values_are_escaped():
    exposition = Exposition()
    model = 'a"b\\c{d="e"}'
    metrics = make(model)
    metrics.settle(exchange(model=model, usage=Usage(3, 0, 1, 0)))
    exposition.update(1, taken(metrics))
    assert value(exposition, "responses_proxy_tokens_total", provider="main", model=model, type="input") == 3


def served(models):
    metrics = make()
    for model in models:
        metrics.settle(exchange(model=model, usage=Usage(1, 0, 1, 0)))
    return metrics


def models_shown(exposition, name, label):
    return {dict(labels)[label] for shown, labels in samples(exposition) if shown == name}


def test_models_are_bounded_on_the_host_however_many_workers_come_and_go():
    exposition = Exposition(max_models=3)
    for generation in range(4):
        exposition.update(generation, taken(served([f"new-{generation}-{number}" for number in range(2)])))
        exposition.retire(generation)
    shown = {"new-0-0", "new-0-1", "new-1-0", "other"}
    assert models_shown(exposition, "responses_proxy_tokens_total", "model") == shown
    assert models_shown(exposition, "gen_ai_client_token_usage_count", "gen_ai_request_model") == shown
    assert value(exposition, "responses_proxy_tokens_total", provider="main", model="other", type="input") == 5


def test_model_configured_later_counts_apart_without_taking_from_other():
    exposition = Exposition(max_models=1)
    exposition.update(1, taken(served(["first", "late"])))
    after = make("late")
    after.settle(exchange(model="late", usage=Usage(1, 0, 1, 0)))
    exposition.update(2, taken(after))
    exposition.update(1, taken(served(["first", "late"])))
    for model in ("other", "late"):
        assert value(exposition, "responses_proxy_tokens_total", provider="main", model=model, type="input") == 1


def collected(exposition):
    """Return the samples as `samples` does, before they are text; many examples afford no parsing."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in exposition.collect()
        for sample in family.samples
    }


def test_sums_do_not_shrink_by_their_last_bit_when_workers_retire_out_of_order():
    exposition = Exposition()
    for worker, seconds in enumerate((1 / 7, 1 / 7, 4 / 7)):
        metrics = make()
        metrics.redis("bind", "ok", seconds)
        exposition.update(worker, taken(metrics))
    before = value(exposition, "responses_proxy_redis_seconds_sum", operation="bind")
    for worker in (1, 2, 0):
        exposition.retire(worker)
        assert value(exposition, "responses_proxy_redis_seconds_sum", operation="bind") == before


def is_counted(name):
    return name.endswith(("_total", "_bucket", "_sum", "_count"))


records = st.builds(
    stream,
    model=st.sampled_from(["gpt-4o", "a", "b", "c", "d"]),
    status=st.sampled_from([200, 200, 500]),
    ended=st.floats(100, 1e6),
    end=st.sampled_from(ENDS),
    error_type=st.sampled_from(["", "timeout"]),
)
steps = st.tuples(st.integers(0, 2), st.one_of(st.lists(records, max_size=4), st.just("retire")))


@settings(max_examples=60)
@given(st.lists(steps, max_size=10))
def test_counters_never_go_backwards_whatever_workers_do(happenings):
    exposition = Exposition(max_models=2)
    workers = {}
    before = collected(exposition)
    for worker, what in happenings:
        if what == "retire":
            exposition.retire(worker)
            workers.pop(worker, None)
        else:
            metrics = workers.setdefault(worker, make())
            for record in what:
                metrics.settle(record)
            exposition.update(worker, taken(metrics))
        after = collected(exposition)
        backwards = [key for key, was in before.items() if is_counted(key[0]) and after.get(key, -math.inf) < was]
        assert not backwards
        before = after


@settings(max_examples=30)
@given(st.lists(st.lists(records, max_size=6), min_size=1, max_size=4))
def test_histograms_are_cumulative_and_end_at_their_count(workers):
    exposition = Exposition()
    for worker, settled in enumerate(workers):
        metrics = make()
        for record in settled:
            metrics.settle(record)
        exposition.update(worker, taken(metrics))
    buckets = {}
    shown = collected(exposition)
    for (name, labels), counted in shown.items():
        if name.endswith("_bucket"):
            rest = dict(labels)
            bound = float(rest.pop("le"))
            buckets.setdefault((name.removesuffix("_bucket"), frozenset(rest.items())), []).append((bound, counted))
    for (name, labels), cells in buckets.items():
        cells.sort()
        counts = [counted for _, counted in cells]
        assert counts == sorted(counts)
        assert cells[-1] == (math.inf, shown[f"{name}_count", labels])
    duration = "gen_ai_client_operation_duration_seconds_count"
    assert sum(counted for (name, _), counted in shown.items() if name == duration) == sum(map(len, workers))


def test_four_workers_of_eight_thousand_series_each_become_one_exposition():
    models = [f"model-{number}" for number in range(82)]
    metrics = make(*models)
    for model in models:
        metrics.settle(stream(model=model))
    exposition = Exposition()
    for worker in range(4):
        exposition.update(worker, taken(metrics))
    shown = samples(exposition)
    assert 8_000 < len(shown) < 10_000
    durations = [
        counted for (name, _), counted in shown.items() if name == "gen_ai_client_operation_duration_seconds_count"
    ]
    assert durations == [4] * len(models)
