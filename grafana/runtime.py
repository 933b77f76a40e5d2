"""The third dashboard: the gateway's own processes, and the Redis they share."""

from grafana import panels
from grafana.panels import GREEN, RED, YELLOW, Json, Query, choice, figure, graph, row, table
from grafana.promql import OVERHEAD, PROVIDER, STREAMS, increase, quantile, rate, series, total

LAG = "responses_proxy_event_loop_lag_seconds"
REDIS = "responses_proxy_redis_seconds"
SHARES = (0.5, 0.95, 0.99)
OF_PROCESS = "{{instance}}, {{process}}"

NEWEST = (
    figure(
        "Hosts",
        "How many gateways answer Prometheus?",
        f"count({series('responses_proxy_workers')})",
        unit="short",
        width=3,
    ),
    figure(
        "Workers",
        "How many processes serve?",
        total("responses_proxy_workers"),
        unit="short",
        width=3,
        base=RED,
        limits={GREEN: 1},
    ),
    figure(
        "Restarts",
        "How many workers died in the time shown?",
        increase("responses_proxy_worker_restarts_total"),
        unit="short",
        width=3,
        limits={YELLOW: 0.5, RED: 3},
    ),
    figure(
        "Draining",
        "How many hosts are on their way out?",
        total("responses_proxy_draining"),
        unit="short",
        width=3,
        limits={YELLOW: 1},
    ),
    figure(
        "Configuration",
        "Is the newest configuration in force on every host?",
        f"min({series('responses_proxy_config_last_reload_successful')})",
        unit="short",
        width=3,
        base=RED,
        limits={GREEN: 1},
        words={0: "refused", 1: "in force"},
    ),
    figure(
        "Since the last reload",
        "How old is the configuration of the host that took one last?",
        f"time() - max({series('responses_proxy_config_last_reload_success_timestamp_seconds')})",
        unit="s",
        width=3,
    ),
    figure(
        "Youngest host",
        "How long has the host run that was started last?",
        f"time() - max({series('responses_proxy_start_time_seconds')})",
        unit="s",
        width=3,
    ),
    figure(
        "Descriptors used",
        "How near is the fullest process to its limit of open files?",
        f"max({series('responses_proxy_open_fds')} / {series('responses_proxy_max_fds')})",
        unit="percentunit",
        width=3,
        limits={YELLOW: 0.6, RED: 0.8},
    ),
)

PROCESSES = (
    graph(
        "Workers",
        "Does every host have its workers?",
        Query(total("responses_proxy_workers", by="instance"), "{{instance}}"),
        unit="short",
    ),
    graph(
        "Restarts and drains",
        "When did workers die, and when was a host told to stop?",
        Query(rate("responses_proxy_worker_restarts_total", by="instance"), "{{instance}}, restarts/s"),
        Query(total("responses_proxy_draining", by="instance"), "{{instance}}, draining"),
        unit="short",
    ),
    table(
        "What runs",
        "Which version runs where?",
        "instance",
        Query(f"sum by (instance, version, python, aiohttp) ({series('responses_proxy_build_info')})", "hosts", "none"),
        width=8,
    ),
)

SPEED = (
    graph(
        "Overhead",
        "How much of a request's time is the gateway's own?",
        *(Query(quantile(share, OVERHEAD), f"p{share * 100:g}") for share in SHARES),
        unit="s",
        limits={RED: 0.025},
    ),
    graph(
        "Overhead, p95 by operation",
        "Which kind of request costs the gateway most?",
        Query(quantile(0.95, OVERHEAD, by="operation"), "{{operation}}"),
        unit="s",
    ),
    graph(
        "Event-loop lag",
        "Do workers have more to do than they can?",
        *(Query(quantile(share, LAG, by="instance"), f"{{{{instance}}}}, p{share * 100:g}") for share in (0.5, 0.99)),
        unit="s",
        limits={RED: 0.1},
    ),
)

LOAD = (
    graph(
        "Streams in flight",
        "Is the load spread over the hosts?",
        Query(total(STREAMS, PROVIDER, by="instance"), "{{instance}}"),
        unit="short",
    ),
    graph(
        "Clients' connections",
        "How many clients are connected to each host?",
        Query(total("responses_proxy_client_connections", by="instance"), "{{instance}}"),
        unit="short",
    ),
    graph(
        "Connections to providers",
        "How large are the pools, and how much of them works?",
        Query(total("responses_proxy_upstream_connections", PROVIDER, by="provider, state"), "{{provider}}, {{state}}"),
        unit="short",
        stacked=True,
    ),
)

STORE = (
    graph(
        "State of Redis",
        "How many workers do without Redis, or may not write to it?",
        Query(total("responses_proxy_redis_state", by="store, state"), "{{store}}, {{state}}"),
        unit="short",
    ),
    graph(
        "Latency of Redis, p99",
        "Is Redis slow?",
        Query(quantile(0.99, REDIS, by="operation"), "{{operation}}"),
        unit="s",
        limits={RED: 0.1},
    ),
    graph(
        "Operations",
        "What is asked of Redis, and what fails?",
        Query(rate("responses_proxy_redis_operations_total", by="operation, outcome"), "{{operation}}, {{outcome}}"),
        unit="ops",
        stacked=True,
    ),
    graph(
        "Bindings waiting",
        "Are bindings written as fast as they are made?",
        Query(total("responses_proxy_binding_queue", by="instance"), "{{instance}}"),
        unit="short",
    ),
    graph(
        "Responses waiting",
        "Are kept responses written as fast as they are made?",
        Query(total("responses_proxy_archive_queue_bytes", by="instance"), "{{instance}}"),
        unit="bytes",
    ),
    graph(
        "Given up",
        "Was anything lost that Redis should have had?",
        Query(rate("responses_proxy_bindings_dropped_total"), "bindings"),
        Query(rate("responses_proxy_archive_dropped_total"), "responses"),
        unit="ops",
    ),
)

RESOURCES = (
    graph(
        "Memory",
        "Does a process grow?",
        Query(total("responses_proxy_resident_memory_bytes", by="instance, process"), OF_PROCESS),
        unit="bytes",
    ),
    graph(
        "Processor",
        "How many cores are busy?",
        Query(rate("responses_proxy_cpu_seconds_total", by="instance, process"), OF_PROCESS),
        unit="short",
    ),
    graph(
        "File descriptors",
        "How near is a process to its limit, which is what bounds connections?",
        Query(f"{series('responses_proxy_open_fds')} / {series('responses_proxy_max_fds')}", OF_PROCESS),
        unit="percentunit",
        limits={RED: 0.8},
    ),
)

ACCESS = (
    graph(
        "Refused keys",
        "Does someone knock without a key, or with a wrong one?",
        Query(rate("responses_proxy_auth_failures_total", by="reason"), "{{reason}}"),
        unit="reqps",
        width=24,
    ),
)


def build() -> Json:
    """Make the dashboard."""
    provider = choice(
        "provider",
        "Provider",
        f"label_values({series('responses_proxy_upstream_connections')}, provider)",
        everything=".*",
    )
    return panels.dashboard(
        panels.RUNTIME,
        "Responses proxy / Runtime",
        "How are the gateway's own processes, and the Redis they share?",
        variables=[panels.data_source(), *panels.INSTANCES, provider],
        links=[panels.neighbour("Overview", panels.OVERVIEW), panels.neighbour("Providers", panels.PROVIDERS)],
        panels=[
            row("Is it running?"),
            *NEWEST,
            *PROCESSES,
            row("Is it fast?"),
            *SPEED,
            row("How much is under way?"),
            *LOAD,
            row("How is Redis?"),
            *STORE,
            row("Does it have room?"),
            *RESOURCES,
            row("Who is refused?"),
            *ACCESS,
        ],
    )
