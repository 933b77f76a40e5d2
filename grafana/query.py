"""Asking a Prometheus what a panel asks: Grafana's variables put in, the answer as numbers."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]

TIMEOUT = 30.0
"""Seconds for Prometheus to answer."""
_LABEL_VALUES = re.compile(r"label_values\((.*), *(\w+)\)")
_VARIABLE = re.compile(r"\$(\w+)")
_SPECIAL = re.compile(r"[$^*{}\[\]'+?.()|\\]")
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


class Dashboard:
    """A dashboard with all its variables at `All`, as it is seen at the end of a time.

    `rate_interval` is what Grafana would look back for a rate: four scrapes, or a step of the graph if that is more.
    """

    def __init__(self, file: Path, server: Prometheus, *, start: float, end: float, rate_interval: float) -> None:
        content = json.loads(file.read_text(encoding="utf-8"))
        self.title: str = content["title"]
        self.panels: Sequence[Json] = content["panels"]
        self._server = server
        self._start, self._end = start, end
        self._values = {"__rate_interval": f"{rate_interval:.0f}s", "__range": f"{end - start:.0f}s"}
        for variable in content["templating"]["list"]:
            if variable["type"] == "query":
                self._values[variable["name"]] = self._everything(variable)

    def _everything(self, variable: Json) -> str:
        """Return what Grafana puts in for `All`: the variable's own word for it, or every value there is."""
        selector, label = _LABEL_VALUES.findall(variable["query"]["query"])[0]
        lines = self._server.at(f"group by ({label}) ({self.substitute(selector)})", self._end)
        if not lines:
            raise ValueError(f"{self.title}: there is nothing to choose for ${variable['name']}")
        return variable.get("allValue") or "|".join(_escape(line.labels[label]) for line in lines)

    def substitute(self, expr: str) -> str:
        """Put the values of variables in."""
        return _VARIABLE.sub(lambda found: self._values[found[1]], expr)

    def ask(self, target: Json, step: float) -> list[Line]:
        """Ask what one query of a panel asks."""
        expr = self.substitute(target["expr"])
        if target["instant"]:
            return self._server.at(expr, self._end)
        return self._server.over(expr, self._start, self._end, step)


def caption(legend: str, labels: Mapping[str, str]) -> str:
    """Fill a legend's labels in."""
    return _LEGEND.sub(lambda found: labels.get(found[1], ""), legend)


def _escape(value: str) -> str:
    """Escape a value within a regular expression within a string, as Grafana does."""
    return _SPECIAL.sub(r"\\\\\g<0>", value)


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
