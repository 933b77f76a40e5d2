"""JSON log lines: one value per line, written in batches, never with a body or a credential in it."""

from collections.abc import Callable
from typing import Any

import orjson

from proxy.errors import printable
from proxy.record import Record

_BATCH = 64
"""Lines kept at most before they are written without waiting for the flush."""


class Log:
    """Collects lines; `flush` writes them. `now` returns seconds since the epoch, `write` takes whole lines."""

    __slots__ = ("_lines", "_now", "_write")

    def __init__(self, write: Callable[[bytes], object], now: Callable[[], float]) -> None:
        self._write = write
        self._now = now
        self._lines: list[bytes] = []

    def event(self, event: str, **fields: Any) -> None:
        """Write a line about the gateway itself, at once."""
        self._add({"time": self._now(), "event": event, **fields})
        self.flush()

    def exchange(self, record: Record) -> None:
        """Add the line of a settled exchange."""
        self._add(render_exchange(record, self._now()))
        if len(self._lines) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._write(b"".join(lines))

    def _add(self, line: dict[str, Any]) -> None:
        try:
            self._lines.append(orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE))
        except orjson.JSONEncodeError:
            # A provider's header may hold bytes that are no UTF-8.
            line = {name: printable(value) if isinstance(value, str) else value for name, value in line.items()}
            self._lines.append(orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE))


def render_exchange(record: Record, now: float) -> dict[str, Any]:
    """Describe an exchange: who, what, where to, how it ended and how long each phase took (milliseconds)."""
    line: dict[str, Any] = {
        "time": now,
        "event": "exchange",
        "request_id": record.request_id,
        "operation": record.operation,
        "status": record.status,
        "provider": record.provider,
        "model": record.model,
        "caller": record.caller,
        "tenant": record.tenant,
        "total_ms": _since(record, record.ended),
        "overhead_ms": round((record.ended - record.started - record.waited) * 1000, 3),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
    }
    phases = (
        ("routed_ms", record.routed),
        ("connected_ms", record.connected),
        ("head_received_ms", record.head_received),
        ("bound_ms", record.bound),
        ("first_chunk_ms", record.first_chunk),
    )
    line.update((name, _since(record, at)) for name, at in phases if at)
    known = (
        ("response_id", record.response_id),
        ("upstream_request_id", record.upstream_request_id),
        ("error_type", record.error_type),
        ("end", record.end),
    )
    line.update(pair for pair in known if pair[1])
    if record.retried:
        line["retried"] = True
    if record.usage is not None:
        line["tokens"] = record.usage._asdict()
    return line


def _since(record: Record, at: float) -> float:
    return round((at - record.started) * 1000, 3)
