"""Every series of the gateway, with its labels and buckets. Nothing else defines a series."""

from typing import Literal, NamedTuple

Labels = tuple[str, ...]

DURATION_BUCKETS = tuple(0.01 * 2**power for power in range(18))
TOKEN_BUCKETS = tuple(4.0**power for power in range(14))
OWN_TIME_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Family(NamedTuple):
    """One metric family as Prometheus knows it; only a histogram has buckets."""

    type: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()


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
WORKERS = Family("gauge", "responses_proxy_workers", "Worker processes alive.")
WORKER_RESTARTS = Family(
    "counter", "responses_proxy_worker_restarts_total", "Worker processes replaced after an unexpected end."
)
DRAINING = Family("gauge", "responses_proxy_draining", "1 while the gateway is stopping.")
RELOAD_SUCCESSFUL = Family(
    "gauge", "responses_proxy_config_last_reload_successful", "1 if the newest configuration is in force."
)
BUILD_INFO = Family(
    "gauge", "responses_proxy_build_info", "What is running; always 1.", ("version", "python", "aiohttp")
)

COUNTERS = (REQUESTS, TOKENS, STREAM_ENDS, REDIS_OPERATIONS, BINDINGS_DROPPED, ARCHIVE_DROPPED, AUTH_FAILURES)
HISTOGRAMS = (DURATION, FIRST_CHUNK, OUTPUT_CHUNK, TOKEN_USAGE, OVERHEAD, REDIS_SECONDS)
GAUGES = (INFLIGHT_REQUESTS, INFLIGHT_STREAMS, BINDING_QUEUE, ARCHIVE_QUEUE, UPSTREAM_CONNECTIONS)
WORKER_FAMILIES = (*HISTOGRAMS, *COUNTERS, *GAUGES)
"""What workers count; the rest is the supervisor's."""
SUPERVISOR_FAMILIES = (WORKERS, WORKER_RESTARTS, DRAINING, RELOAD_SUCCESSFUL, BUILD_INFO)
