"""The panels that dashboards are made of, as Grafana's JSON: each answers one question, which is its description."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from string import ascii_uppercase
from typing import Any, NamedTuple

from grafana import promql

Json = dict[str, Any]

OVERVIEW, PROVIDERS, RUNTIME = "responses-proxy-overview", "responses-proxy-providers", "responses-proxy-runtime"
"""The dashboards' uids, which links lead to."""

SCHEMA_VERSION = 39
"""Of Grafana 11, the oldest that is supported; later ones bring a dashboard up to theirs as they load it."""
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, RED = "green", "yellow", "red"
CARRIED = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
"""What a link takes along, besides what was clicked."""


class Query(NamedTuple):
    """A PromQL expression, and what its series are called; in a table, the title and the unit of its column."""

    expr: str
    legend: str
    unit: str = ""


class Panel(NamedTuple):
    """A panel without its place: its width in columns, its height in rows of the grid, and the rest of its JSON."""

    width: int
    height: int
    body: Json


def row(title: str) -> Panel:
    """Head the panels below."""
    return Panel(COLUMNS, 1, {"type": "row", "title": title, "collapsed": False, "panels": []})


def graph(
    title: str,
    question: str,
    *queries: Query,
    unit: str,
    width: int = 8,
    stacked: bool = False,
    most: float | None = None,
    limits: Mapping[str, float] | None = None,
    links: Sequence[Json] = (),
) -> Panel:
    """Draw lines over time, or areas on top of one another; `limits` are drawn as lines, in their colours."""
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 60 if stacked else 8,
        "showPoints": "auto",
        "pointSize": 4,
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if limits else "off"},
    }
    defaults = {**_field(unit, limits), "color": {"mode": "palette-classic-by-name"}, "min": 0, "custom": custom}
    if most is not None:
        defaults["max"] = most
    if links:
        defaults["links"] = list(links)
    legend = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["mean", "max"]}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return _panel("timeseries", title, question, queries, (width, 8), defaults=defaults, options=options)


def figure(
    title: str,
    question: str,
    expr: str,
    *,
    unit: str,
    width: int = 4,
    limits: Mapping[str, float] | None = None,
    base: str = GREEN,
    words: Mapping[float, str] | None = None,
    links: Sequence[Json] = (),
) -> Panel:
    """Show the newest value as a number, before its own past; `words` stand for values that are states."""
    defaults = {**_field(unit, limits, base), "color": {"mode": "thresholds"}}
    if words:
        named = {f"{value:g}": {"text": text, "index": at} for at, (value, text) in enumerate(words.items())}
        defaults["mappings"] = [{"type": "value", "options": named}]
    if links:
        defaults["links"] = list(links)
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none" if words else "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "value",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    }
    return _panel("stat", title, question, [Query(expr, title)], (width, 4), defaults=defaults, options=options)


def bars(
    title: str, question: str, expr: str, legend: str, *, unit: str, width: int = 8, links: Sequence[Json] = ()
) -> Panel:
    """Compare sums over the time shown, the largest first."""
    defaults = {**_field(unit), "color": {"mode": "palette-classic-by-name"}, "min": 0, "links": list(links)}
    options = {
        "displayMode": "gradient",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "valueMode": "color",
        "namePlacement": "auto",
        "showUnfilled": True,
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 300,
    }
    queries = [Query(f"sort_desc({expr})", legend)]
    return _panel("bargauge", title, question, queries, (width, 8), defaults=defaults, options=options, instant=True)


def table(title: str, question: str, key: str, *queries: Query, width: int, links: Sequence[Json] = ()) -> Panel:
    """List one line per value of the label `key`, with a column per query."""
    columns = {f"Value #{ref}": query for ref, query in zip(ascii_uppercase, queries, strict=False)}
    overrides = [_override(query.legend, unit=query.unit) for query in queries]
    if links:
        overrides.append(_override(key, links=list(links)))
    transformations = [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True},
                "indexByName": {name: at for at, name in enumerate([key, *columns])},
                "renameByName": {name: query.legend for name, query in columns.items()},
            },
        },
    ]
    defaults = {"custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}, "decimals": 2}
    options = {
        "frameIndex": 0,
        "showHeader": True,
        "cellHeight": "sm",
        "sortBy": [{"displayName": queries[0].legend, "desc": True}],
    }
    made = _panel("table", title, question, queries, (width, 8), defaults=defaults, options=options, instant=True)
    made.body["transformations"] = transformations
    made.body["fieldConfig"]["overrides"] = overrides
    return made


def _panel(
    kind: str,
    title: str,
    question: str,
    queries: Iterable[Query],
    size: tuple[int, int],
    *,
    defaults: Json,
    options: Json,
    instant: bool = False,
) -> Panel:
    targets = [
        {
            "refId": ref,
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend,
            "instant": instant,
            "range": not instant,
            "format": "table" if kind == "table" else "time_series",
        }
        for ref, query in zip(ascii_uppercase, queries, strict=False)
    ]
    body = {
        "type": kind,
        "title": title,
        "description": question,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }
    return Panel(*size, body)


def _field(unit: str, limits: Mapping[str, float] | None = None, base: str = GREEN) -> Json:
    steps = [{"color": base, "value": None}, *({"color": name, "value": at} for name, at in (limits or {}).items())]
    return {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}}


def _override(column: str, **properties: Any) -> Json:
    changed = [{"id": name, "value": value} for name, value in properties.items()]
    return {"matcher": {"id": "byName", "options": column}, "properties": changed}


def token_areas(*matchers: str) -> tuple[Query, ...]:
    """Cut the tokens per second into four kinds that add up to all."""
    return (
        Query(promql.tokens_without("input", "cached_input", *matchers), "input, not cached"),
        Query(promql.rate(promql.TOKENS, 'type="cached_input"', *matchers), "input, cached"),
        Query(promql.tokens_without("output", "reasoning", *matchers), "output, not reasoning"),
        Query(promql.rate(promql.TOKENS, 'type="reasoning"', *matchers), "output, reasoning"),
    )


# -- links and variables -----------------------------------------------------------------------------------------------


def drill(title: str, uid: str, *chosen: str) -> Json:
    """Lead from what was clicked to a dashboard; `chosen` sets its variables."""
    return {"title": title, "url": f"/d/{uid}?{'&'.join((*chosen, CARRIED))}", "targetBlank": False}


def neighbour(title: str, uid: str) -> Json:
    """Lead from a dashboard to another, with its time and variables."""
    return {
        "type": "link",
        "title": title,
        "url": f"/d/{uid}",
        "icon": "dashboard",
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def data_source() -> Json:
    """Let the viewer choose the Prometheus."""
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "skipUrlSync": False,
        "options": [],
    }


def choice(name: str, label: str, query: str, *, everything: str | None = None) -> Json:
    """Let the viewer choose among a label's values; `everything` matches more than those there are."""
    variable = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": query, "refId": name, "qryType": 1},
        "regex": "",
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "skipUrlSync": False,
        "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }
    return variable if everything is None else {**variable, "allValue": everything}


INSTANCES = (
    choice("job", "Job", "label_values(responses_proxy_build_info, job)", everything=".*"),
    choice("instance", "Instance", 'label_values(responses_proxy_build_info{job=~"$job"}, instance)', everything=".*"),
)


def dashboard(
    uid: str, title: str, description: str, *, variables: Sequence[Json], links: Sequence[Json], panels: Sequence[Panel]
) -> Json:
    """Put panels in their places, from left to right, and name the whole."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["responses-proxy"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "timezone": "browser",
        "weekStart": "",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "annotations": {"list": []},
        "templating": {"list": list(variables)},
        "links": list(links),
        "panels": _placed(panels),
    }


def _placed(panels: Iterable[Panel]) -> list[Json]:
    numbers = count(1)
    placed: list[Json] = []
    x = y = tallest = 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        position = {"h": panel.height, "w": panel.width, "x": x, "y": y}
        placed.append({"id": next(numbers), "gridPos": position, **panel.body})
        x, tallest = x + panel.width, max(tallest, panel.height)
    return placed
