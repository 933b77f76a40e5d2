"""Every query of every dashboard and rule, on a real Prometheus that scrapes a real gateway under traffic."""

import asyncio
import contextlib
import importlib
import math
import re
import time
from random import Random
from typing import NamedTuple

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from grafana.query import Dashboard, Prometheus
from tests.operations import traffic
from tests.operations.prometheus import prometheus
from tests.operations.rules import DASHBOARDS, GRAFANA, RULES, panels, rules, selectors
from tests.rig.gateway import ROOT, command
from tests.rig.valkey import Valkey

pytestmark = pytest.mark.timeout(240)  # the first test of the module waits for the traffic

SECONDS, RATE, RATE_INTERVAL = 24, 20, 15
PANELS = panels()
METRIC = re.compile(r"(?<![\w:])(?:responses_proxy|gen_ai_client)_\w+")
SUFFIX = re.compile(r"_(?:total|bucket|sum|count|created)$")
RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
ASKED = [
    line
    for block in re.findall(r"^```promql\n(.*?)^```", RUNBOOK, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
PROSE = [ROOT / "README.md", *(ROOT / "deploy").rglob("*.md"), GRAFANA / "README.md"]


class Seen(NamedTuple):
    """What was observed: by a Prometheus that is still there, in a time; and what the gateway showed at its end."""

    server: Prometheus
    start: float
    end: float
    exposition: str

    def dashboard(self, file):
        """Open a dashboard at that time."""
        return Dashboard(file, self.server, start=self.end - 10, end=self.end, rate_interval=RATE_INTERVAL)


@pytest.fixture(scope="module")
def seen(valkey_binary):
    """Run a gateway of two workers under traffic, watched; once, for all tests here."""
    with Valkey(valkey_binary) as valkey, contextlib.ExitStack() as stack:
        yield asyncio.run(_watch(valkey, stack))


async def _watch(valkey, stack):
    random = Random(7)  # noqa: S311
    async with traffic.neighbourhood(random) as providers:
        content = traffic.configuration(providers, redis={"url": valkey.url}, server={"workers": 2})
        async with command(content) as host:
            server = stack.enter_context(prometheus({"gateway-1": host.admin_port}))
            start = time.time()
            await traffic.Callers([host.url], rate=RATE, random=random).call(SECONDS)
            end = time.time()
            return Seen(server, start, end, (await host.admin("/metrics")).body.decode())


def families(exposition):
    """Return the families by name, without the suffix of counters."""
    return {family.name for family in text_string_to_metric_families(exposition)}


def tells(lines):
    """Whether there are series, and every one of them has a number."""
    return bool(lines) and all(any(math.isfinite(value) for _, value in line.points) for line in lines)


@pytest.mark.parametrize("name", PANELS)
def test_panel_shows_data(name, seen):
    """Each of its queries returns series, none of which is only NaN."""
    file, panel = PANELS[name]
    dashboard = seen.dashboard(file)
    mute = [target["expr"] for target in panel["targets"] if not tells(dashboard.ask(target, 1))]
    assert not mute


@pytest.mark.parametrize("name", rules("record"))
def test_record_has_data(name, seen):
    """What alerts are made of is there."""
    assert tells(seen.server.at(name, seen.end))


@pytest.mark.parametrize("name", rules("alert"))
def test_alert_looks_at_what_is_there(name, seen):
    """Each of its selectors finds series, and Prometheus evaluates the whole."""
    expr = rules("alert")[name]["expr"]
    assert not {each for each in selectors(expr) if not seen.server.at(each, seen.end)}
    seen.server.at(expr, seen.end)


@pytest.mark.parametrize("expr", sorted(set(ASKED)))
def test_query_of_the_runbook_looks_at_what_is_there(expr, seen):
    """What is typed at night works."""
    assert not {each for each in selectors(expr) if not seen.server.at(each, seen.end)}
    seen.server.at(expr, seen.end)


def test_rules_are_evaluated_without_error(seen):
    """Prometheus has them all, and is content."""
    loaded = [rule for group in seen.server.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in loaded} == {*rules("alert"), *rules("record")}
    assert {(rule["health"], rule.get("lastError", "")) for rule in loaded} == {("ok", "")}


@pytest.mark.parametrize("file", [*DASHBOARDS, RULES, *PROSE], ids=lambda file: str(file.relative_to(ROOT)))
def test_metrics_named_exist(file, seen):
    """A dashboard, a rule or a text that names a metric names one of the gateway's."""
    shown = {sample.name for family in text_string_to_metric_families(seen.exposition) for sample in family.samples}
    named = set(METRIC.findall(file.read_text(encoding="utf-8")))
    assert not named - shown - families(seen.exposition)


def test_metrics_that_exist_are_on_a_dashboard(seen):
    """Or else it is said why not."""
    absent = yaml.safe_load((GRAFANA / "absent.yaml").read_text(encoding="utf-8"))
    named = {each for file in DASHBOARDS for each in METRIC.findall(file.read_text(encoding="utf-8"))}
    shown = named | {SUFFIX.sub("", each) for each in named}
    assert families(seen.exposition) - shown == set(absent)


def test_picture_is_drawn_from_the_same_queries(seen, tmp_path):
    """The script that draws dashboards knows every kind of panel; the overview has them all."""
    draw = importlib.import_module("grafana.draw")
    assert {panel["type"] for _, panel in PANELS.values()} == set(draw.DRAWN)
    draw.save(draw.draw(seen.dashboard(DASHBOARDS[0]), 1), tmp_path / "overview.png")
    assert (tmp_path / "overview.png").read_bytes().startswith(b"\x89PNG")
