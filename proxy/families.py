"""Every series of the gateway, with its labels and buckets. Nothing else defines a series."""

from typing import Literal, NamedTuple

Labels = tuple[str, ...]

DURATION_BUCKETS = tuple(0.01 * 2**power for power in range(18))
TOKEN_BUCKETS = tuple(4.0**power for power in range(14))
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BILLION = 1_000_000_000
OWN_TIME_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Family(NamedTuple):
    """One metric family as Prometheus knows it; only a histogram has buckets.

    `scale` of what a counter's cells hold make one of what it shows: they are whole numbers, or their sums would depend
    on the order of their terms.
    """

    type: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()
    scale: int = 1


_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "provider", "gen_ai_request_model")

DURATION = Family(
    "histogram",
    "gen_ai_client_operation_duration_seconds",
    "Time from a request's arrival to the end of its answer.",
    (*_GEN_AI, "error_type"),
    DURATION_BUCKETS,
)
FIRST_CHUNK = Family(
    "histogram",
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "Time from a streaming request's arrival to the first chunk of its answer.",
    _GEN_AI,
    DURATION_BUCKETS,
)
OUTPUT_CHUNK = Family(
    "histogram",
    "gen_ai_client_operation_time_per_output_chunk_seconds",
    "Mean time between the chunks of a stream after its first, observed once per stream.",
    _GEN_AI,
    DURATION_BUCKETS,
)
TOKEN_USAGE = Family(
    "histogram",
    "gen_ai_client_token_usage",
    "Input and output tokens per response.",
    (*_GEN_AI, "gen_ai_token_type"),
    TOKEN_BUCKETS,
)
REQUESTS = Family(
    "counter",
    "responses_proxy_requests_total",
    "Requests answered, by the status the client received.",
    ("operation", "provider", "code"),
)
TOKENS = Family(
    "counter",
    "responses_proxy_tokens_total",
    "Tokens used; cached_input is part of input, reasoning part of output.",
    ("provider", "model", "type"),
)
OVERHEAD = Family(
    "histogram",
    "responses_proxy_overhead_seconds",
    "The gateway's own share of a request: its duration without waiting for provider or client.",
    ("operation",),
    OWN_TIME_BUCKETS,
)
INFLIGHT_REQUESTS = Family(
    "gauge", "responses_proxy_inflight_requests", "Requests a provider is serving now.", ("provider",)
)
INFLIGHT_STREAMS = Family("gauge", "responses_proxy_inflight_streams", "Streams open now.", ("provider",))
STREAM_ENDS = Family(
    "counter", "responses_proxy_stream_ends_total", "Streams ended, by what ended them.", ("provider", "end")
)
REDIS_OPERATIONS = Family(
    "counter", "responses_proxy_redis_operations_total", "Redis operations.", ("operation", "outcome")
)
REDIS_SECONDS = Family(
    "histogram", "responses_proxy_redis_seconds", "Time a Redis operation took.", ("operation",), OWN_TIME_BUCKETS
)
BINDING_QUEUE = Family("gauge", "responses_proxy_binding_queue", "Bindings waiting to be written to Redis.")
BINDINGS_DROPPED = Family(
    "counter", "responses_proxy_bindings_dropped_total", "Bindings given up before Redis had them."
)
ARCHIVE_QUEUE = Family(
    "gauge", "responses_proxy_archive_queue_bytes", "Compressed responses waiting to be written to Redis."
)
ARCHIVE_DROPPED = Family(
    "counter", "responses_proxy_archive_dropped_total", "Responses given up before Redis had them."
)
AUTH_FAILURES = Family(
    "counter", "responses_proxy_auth_failures_total", "Requests refused for their gateway key.", ("reason",)
)
UPSTREAM_CONNECTIONS = Family(
    "gauge", "responses_proxy_upstream_connections", "Connections to providers.", ("provider", "state")
)
UPSTREAM_CONNECT = Family(
    "histogram",
    "responses_proxy_upstream_connect_seconds",
    "Time to make a new connection to a provider: its name's resolution, TCP and TLS.",
    ("provider",),
    LATENCY_BUCKETS,
)
UPSTREAM_CONNECT_FAILURES = Family(
    "counter",
    "responses_proxy_upstream_connect_failures_total",
    "New connections to a provider that could not be made, or not in time.",
    ("provider",),
)
UPSTREAM_RETRIES = Family(
    "counter",
    "responses_proxy_upstream_retries_total",
    "Requests sent once more, over a new connection, because the pooled one was stale.",
    ("provider",),
)
CLIENT_CONNECTIONS = Family("gauge", "responses_proxy_client_connections", "Connections of clients open now.")
REDIS_STATE = Family(
    "gauge",
    "responses_proxy_redis_state",
    "Workers that found a store in Redis in this state when last they used it: up, read_only (no writes) or down.",
    ("store", "state"),
)
EVENT_LOOP_LAG = Family(
    "histogram",
    "responses_proxy_event_loop_lag_seconds",
    "How late a timer of a worker's event loop fires, sampled five times a second to the millisecond.",
    (),
    LATENCY_BUCKETS,
)
RESIDENT_MEMORY = Family(
    "gauge",
    "responses_proxy_resident_memory_bytes",
    "Memory of a process that is in RAM, shared pages included; "
    "a worker that still drains after a reload is added to the one of its slot.",
    ("process",),
)
OPEN_FDS = Family(
    "gauge",
    "responses_proxy_open_fds",
    "File descriptors a process has open; a worker that still drains after a reload is added to the one of its slot.",
    ("process",),
)
MAX_FDS = Family(
    "gauge",
    "responses_proxy_max_fds",
    "File descriptors a process may have open; "
    "a worker that still drains after a reload is added to the one of its slot.",
    ("process",),
)
CPU_SECONDS = Family(
    "counter",
    "responses_proxy_cpu_seconds_total",
    "Processor time, user and system, of the supervisor and of all workers together, gone ones included.",
    ("process",),
    scale=BILLION,
)
WORKERS = Family("gauge", "responses_proxy_workers", "Worker processes alive.")
WORKER_RESTARTS = Family(
    "counter", "responses_proxy_worker_restarts_total", "Worker processes replaced after an unexpected end."
)
DRAINING = Family("gauge", "responses_proxy_draining", "1 while the gateway is stopping.")
RELOAD_SUCCESSFUL = Family(
    "gauge", "responses_proxy_config_last_reload_successful", "1 if the newest configuration is in force."
)
RELOAD_TIME = Family(
    "gauge",
    "responses_proxy_config_last_reload_success_timestamp_seconds",
    "Unix time at which the configuration in force was taken, at the start or by a reload.",
)
START_TIME = Family("gauge", "responses_proxy_start_time_seconds", "Unix time at which the supervisor started.")
BUILD_INFO = Family(
    "gauge", "responses_proxy_build_info", "What is running; always 1.", ("version", "python", "aiohttp")
)

COUNTERS = (
    REQUESTS,
    TOKENS,
    STREAM_ENDS,
    REDIS_OPERATIONS,
    BINDINGS_DROPPED,
    ARCHIVE_DROPPED,
    AUTH_FAILURES,
    UPSTREAM_CONNECT_FAILURES,
    UPSTREAM_RETRIES,
)
HISTOGRAMS = (
    DURATION,
    FIRST_CHUNK,
    OUTPUT_CHUNK,
    TOKEN_USAGE,
    OVERHEAD,
    REDIS_SECONDS,
    UPSTREAM_CONNECT,
    EVENT_LOOP_LAG,
)
PROCESS_GAUGES = (RESIDENT_MEMORY, OPEN_FDS, MAX_FDS)
WATCHED = (
    INFLIGHT_REQUESTS,
    INFLIGHT_STREAMS,
    BINDING_QUEUE,
    ARCHIVE_QUEUE,
    UPSTREAM_CONNECTIONS,
    CLIENT_CONNECTIONS,
    REDIS_STATE,
    *PROCESS_GAUGES,
    CPU_SECONDS,
)
"""What is not counted as it happens but read when a snapshot is taken."""
WORKER_FAMILIES = (*HISTOGRAMS, *COUNTERS, *WATCHED)
"""What workers tell of; the rest is the supervisor's, which has its own share of the last four."""
SUPERVISOR_FAMILIES = (
    WORKERS,
    WORKER_RESTARTS,
    DRAINING,
    RELOAD_SUCCESSFUL,
    RELOAD_TIME,
    START_TIME,
    BUILD_INFO,
)
