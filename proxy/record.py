"""What is known of one exchange: filled while it runs, read once when it is settled."""

from proxy.usage import Usage

ENDS = (
    "completed",
    "incomplete",
    "failed",
    "cancelled",
    "client_gone",
    "upstream_cut",
    "upstream_error",
    "idle_timeout",
    "drained",
)
"""How a stream can end; the values of the `end` label."""


class Record:
    """One exchange. Times are seconds on the monotonic clock, 0.0 where a phase never began.

    `waited` sums the time spent waiting for the provider or for the client, so that
    `ended - started - waited` is the gateway's own share.
    """

    __slots__ = (
        "bound",
        "bytes_in",
        "bytes_out",
        "caller",
        "chunks",
        "connected",
        "end",
        "ended",
        "error_type",
        "first_chunk",
        "head_received",
        "kind",
        "last_chunk",
        "method",
        "model",
        "operation",
        "otel_provider",
        "provider",
        "request_id",
        "response_id",
        "retried",
        "routed",
        "started",
        "status",
        "streamed",
        "tenant",
        "upstream_request_id",
        "usage",
        "waited",
    )

    def __init__(self, request_id: str, started: float) -> None:
        self.request_id = request_id
        self.method = ""
        self.operation = "unknown"
        self.provider = ""
        self.kind = ""
        self.otel_provider = ""
        self.model = ""
        self.caller = ""
        self.tenant = ""
        self.response_id = ""
        self.upstream_request_id = ""
        self.status = 0
        self.error_type = ""
        self.end = ""
        self.streamed = False
        self.retried = False
        self.usage: Usage | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.chunks = 0
        self.started = started
        self.routed = 0.0
        self.connected = 0.0
        self.head_received = 0.0
        self.bound = 0.0
        self.first_chunk = 0.0
        self.last_chunk = 0.0
        self.ended = 0.0
        self.waited = 0.0
