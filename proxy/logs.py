"""JSON log lines: one value per line, written in batches, never with a body or a credential in it."""

from collections.abc import Callable
from typing import Any

import orjson

from proxy.errors import printable
from proxy.record import Record

_BATCH = 64
"""Lines kept at most before they are written without waiting for the flush."""
PHASES = tuple((f"{phase}_ms", phase) for phase in ("routed", "connected", "head_received", "bound", "first_chunk"))
KNOWN_LATER = ("response_id", "upstream_request_id", "error_type", "end", "retried")


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
    started, elapsed = record.started, record.ended - record.started
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
        "total_ms": _milliseconds(elapsed),
        "overhead_ms": _milliseconds(elapsed - record.waited),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
    }
    for name, field in PHASES:
        at = getattr(record, field)
        if at:
            line[name] = _milliseconds(at - started)
    for name in KNOWN_LATER:
        value = getattr(record, name)
        if value:
            line[name] = value
    if record.usage is not None:
        line["tokens"] = record.usage._asdict()
    return line


def _milliseconds(seconds: float) -> float:
    """Round to whole microseconds; `round` itself takes ten times as long."""
    return int(seconds * 1_000_000 + 0.5) / 1000
