"""Asking a Prometheus what a panel asks: Grafana's variables put in, the answer as numbers."""

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]

TIMEOUT = 30.0
"""Seconds for Prometheus to answer."""
EVERYTHING = ".*"
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class Line(NamedTuple):
    """One series of an answer: its labels, and its values by Unix time."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


class Prometheus:
    """A running server, by its URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def at(self, expr: str, time: float) -> list[Line]:
        """Evaluate an expression at one time."""
        result = self.get("query", query=expr, time=time)["result"]
        if isinstance(result, list) and result and not isinstance(result[0], dict):
            return [Line({}, [_point(result)])]  # a scalar
        return [Line(each["metric"], [_point(each["value"])]) for each in result]

    def over(self, expr: str, start: float, end: float, step: float) -> list[Line]:
        """Evaluate an expression at every step of a time."""
        result = self.get("query_range", query=expr, start=start, end=end, step=step)["result"]
        return [Line(each["metric"], [_point(value) for value in each["values"]]) for each in result]

    def get(self, path: str, **parameters: object) -> Any:
        """Ask the API; an error raises with Prometheus's own words."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - the URL is the operator's own
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(f"{parameters}: {error.read().decode()}") from None


def panels(dashboard: Path) -> Iterator[Json]:
    """Give a dashboard's panels, those that only head others too."""
    yield from json.loads(dashboard.read_text(encoding="utf-8"))["panels"]


def substitute(expr: str, *, rate_interval: str, spread: str, chosen: Mapping[str, str]) -> str:
    """Put in what Grafana would: its intervals, and for each variable what is chosen, or all."""
    for name, value in (("__rate_interval", rate_interval), ("__range", spread)):
        expr = expr.replace(f"${name}", value)
    return re.sub(r"\$(\w+)", lambda found: chosen.get(found[1], EVERYTHING), expr)


def caption(legend: str, labels: Mapping[str, str]) -> str:
    """Fill a legend's labels in."""
    return _LEGEND.sub(lambda found: labels.get(found[1], ""), legend)


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
