"""The report: a line for each row and the settings under it, or JSON for machines; pure."""

from collections import Counter
from collections.abc import Sequence

import orjson

from proxy.doctor.base import Row, Verdict

FAILED = 1
_VERDICT, _PROBE = 6, 16


def render_line(row: Row) -> str:
    """Render one row, and under it what to change."""
    indent = " " * (_VERDICT + _PROBE)
    first = f"{row.verdict:<{_VERDICT}}{row.probe:<{_PROBE}}{row.found}\n"
    return first + "".join(f"{indent}→ {line}\n" for line in row.change)


def render_sum(rows: Sequence[Row]) -> str:
    """Render how many rows there are of each verdict."""
    counts = Counter(row.verdict for row in rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict) + "\n"


def render_json(url: str, rows: Sequence[Row]) -> bytes:
    """Render everything as one JSON document."""
    listed = [
        {
            "probe": row.probe,
            "verdict": row.verdict.value,
            "found": row.found,
            "change": list(row.change),
            "figures": dict(row.figures),
        }
        for row in rows
    ]
    worst = next((verdict for verdict in (Verdict.FAIL, Verdict.WARN) if _has(rows, verdict)), Verdict.OK)
    return orjson.dumps({"url": url, "verdict": worst.value, "rows": listed}, option=orjson.OPT_INDENT_2) + b"\n"


def status_of(rows: Sequence[Row]) -> int:
    """Return the exit status: a warning is none."""
    return FAILED if _has(rows, Verdict.FAIL) else 0


def _has(rows: Sequence[Row], verdict: Verdict) -> bool:
    return any(row.verdict is verdict for row in rows)
