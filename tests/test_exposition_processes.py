"""What `/metrics` tells of the processes themselves, the supervisor's own among them."""

import time

from proxy.exposition import Exposition
from proxy.families import CPU_SECONDS, PROCESS_GAUGES, REDIS_STATE
from proxy.metrics import Metrics
from proxy.redisqueue import STATES
from tests.rig.gateway import total


def update(exposition, worker, *watched):
    """Give an exposition the snapshot of a worker with these watched families."""
    metrics = Metrics(providers=["main"], models=[])
    for family, values in watched:
        metrics.watch(family, lambda values=values: values)
    exposition.update(worker, b"".join(metrics.snapshot()))


def text(exposition):
    return exposition.render("")[0].decode()


def value(exposition, name, **labels):
    return total(text(exposition), name, **labels)


def test_timestamps_are_of_the_start_and_of_the_last_reload_that_succeeded():
    times = iter((1000.0, 2000.0))
    exposition = Exposition(clock=lambda: next(times))
    reloaded = "responses_proxy_config_last_reload_success_timestamp_seconds"
    assert value(exposition, reloaded) == 1000
    exposition.reload(successful=False)
    assert value(exposition, reloaded) == 1000
    exposition.reload(successful=True)
    assert value(exposition, reloaded) == 2000
    assert value(exposition, "responses_proxy_start_time_seconds") == 1000


def test_processes_are_shown_each_and_their_processor_time_together():
    exposition = Exposition()
    assert 'responses_proxy_cpu_seconds_total{process="worker"} 0.0' in text(exposition)
    for worker, slot in ((1, 1), (2, 2), (3, 1)):
        gauges = [(family, {(f"worker-{slot}",): 7}) for family in PROCESS_GAUGES]
        update(exposition, worker, *gauges, (CPU_SECONDS, {("worker",): 1_500_000_000}))
    for family in PROCESS_GAUGES:
        assert value(exposition, family.name, process="supervisor") > 0
        assert value(exposition, family.name, process="worker-1") == 14, "a draining one and the one after it"
        assert value(exposition, family.name, process="worker-2") == 7
    assert value(exposition, "responses_proxy_cpu_seconds_total", process="worker") == 4.5
    exposition.retire(1)
    assert value(exposition, "responses_proxy_cpu_seconds_total", process="worker") == 4.5
    assert value(exposition, "responses_proxy_max_fds", process="worker-1") == 7
    assert 0 < value(exposition, "responses_proxy_cpu_seconds_total", process="supervisor") <= time.process_time()


def test_redis_state_is_the_number_of_workers_in_it():
    exposition = Exposition()
    for worker, now in enumerate(("up", "down", "up")):
        update(exposition, worker, (REDIS_STATE, {("bindings", state): state == now for state in STATES}))
    shown = {state: value(exposition, "responses_proxy_redis_state", store="bindings", state=state) for state in STATES}
    assert shown == {"up": 2, "read_only": 0, "down": 1}
