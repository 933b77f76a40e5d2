"""Dashboards, alerts and runbook hold together: made by their program, tested, explained."""

import functools
import json
import re
from pathlib import Path

import pytest
import yaml

from grafana import generate
from proxy.families import SUPERVISOR_FAMILIES, WORKER_FAMILIES
from proxy.logs import KNOWN_LATER, PHASES, render_exchange
from proxy.record import Record
from proxy.usage import Usage

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "grafana" / "alerts"
RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
BASE = "https://runbook.invalid/RUNBOOK.md#"
"""What whoever installs the rules replaces with an address of their own, the anchor's sign excepted."""
DASHBOARDS = {name: json.loads(text) for name, text in generate.render().items()}
UIDS = {"responses-proxy-overview", "responses-proxy-providers", "responses-proxy-runtime"}
FILTER = re.compile(r"jq (?:-\w )?'(select[^']+)'")
FIELD = re.compile(r"(?<=\.)[a-z_]+|(?<=[{ ])[a-z]+_ms")
STRING = re.compile(r'"[^"]*"')
EVENT = re.compile(r"\bevent == \"(\w+)\"|\bevents? `(\w+)`")
METRIC = re.compile(r"(?<![\w:])(?:responses_proxy|gen_ai_client)_\w+")
INHIBITED = re.compile(r"=~?\"ResponsesProxy(\w+|\([\w|]+\))\"")
SUFFIX = re.compile(r"_(?:bucket|sum|count)$")


@functools.cache
def rules():
    groups = yaml.safe_load((ALERTS / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


@functools.cache
def rule_tests():
    files = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in ALERTS.glob("tests*.yaml")]
    return [case for file in files for test in file["tests"] for case in test["alert_rule_test"]]


def anchors(text):
    """Return the anchors that renderers make of headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboard_is_what_the_program_makes(name):
    """Run `python -m grafana.generate` after a change to a panel."""
    assert (generate.DASHBOARDS / name).read_text(encoding="utf-8") == generate.render()[name]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_answers_a_question(name):
    """It says which, in what unit, and has a number of its own."""
    asked = panels(DASHBOARDS[name])
    assert not [panel["title"] for panel in asked if "?" not in panel["description"]]
    assert not [panel["title"] for panel in asked if not _units(panel)]
    assert len({panel["id"] for panel in asked}) == len(asked)


def _units(panel):
    overrides = [each["id"] for override in panel["fieldConfig"]["overrides"] for each in override["properties"]]
    return "unit" in panel["fieldConfig"]["defaults"] or "unit" in overrides


@pytest.mark.parametrize("name", DASHBOARDS)
def test_links_lead_to_dashboards(name):
    """And take what was chosen along."""
    dashboard = DASHBOARDS[name]
    fields = [panel["fieldConfig"] for panel in panels(dashboard)]
    links = [link for field in fields for link in field["defaults"].get("links", ())]
    links += [link for field in fields for each in field["overrides"] for link in _links(each)]
    assert {link["url"].partition("?")[0] for link in (*links, *dashboard["links"])} <= {f"/d/{uid}" for uid in UIDS}
    assert all("${__url_time_range}" in link["url"] for link in links)
    assert all(link["includeVars"] and link["keepTime"] for link in dashboard["links"])
    assert bool(links) == (name == "overview.json")


def _links(override):
    return [link for each in override["properties"] if each["id"] == "links" for link in each["value"]]


def test_dashboards_have_their_uids_and_variables():
    """By which links, bookmarks and provisioning find them again."""
    assert {dashboard["uid"] for dashboard in DASHBOARDS.values()} == UIDS
    variables = {name: [each["name"] for each in d["templating"]["list"]] for name, d in DASHBOARDS.items()}
    assert variables == {
        "overview.json": ["datasource", "job", "instance"],
        "providers.json": ["datasource", "job", "instance", "provider", "model"],
        "runtime.json": ["datasource", "job", "instance", "provider"],
    }


def test_panels_do_not_overlap():
    """Each cell of the grid belongs to one panel."""
    for dashboard in DASHBOARDS.values():
        places = [panel["gridPos"] for panel in dashboard["panels"]]
        cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("name", rules())
def test_alert_says_what_to_do(name):
    """It has a severity, a summary, a description and a section of the runbook under its name."""
    rule = rules()[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == BASE + name.lower()
    section = re.search(rf"^### {name}\n\n\*\*(\w+)\.\*\*", RUNBOOK, re.MULTILINE)
    assert section is not None
    assert section[1] == rule["labels"]["severity"]


@pytest.mark.parametrize("name", rules())
def test_section_of_an_alert_is_whole(name):
    """What it means, how to make sure, what to do."""
    section = RUNBOOK.split(f"### {name}\n")[1].split("\n#")[0]
    assert "*Confirm.*" in section
    assert "*Do.*" in section


@pytest.mark.parametrize("name", rules())
def test_alert_is_tested_firing_and_not_firing(name):
    """A rule that never fires is as bad as one that always does."""
    assert {bool(case["exp_alerts"]) for case in rule_tests() if case["alertname"] == name} == {True, False}


def test_runbook_has_no_section_of_an_alert_that_is_gone():
    """And its links lead somewhere."""
    assert set(re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)) == set(rules())
    assert set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK)) <= anchors(RUNBOOK)


def test_inhibitions_name_alerts_that_are():
    """Alertmanager says nothing where a name is misspelt."""
    text = (ROOT / "grafana" / "README.md").read_text(encoding="utf-8")
    named = {f"ResponsesProxy{end}" for ends in INHIBITED.findall(text) for end in ends.strip("()").split("|")}
    assert named
    assert named <= set(rules())


def test_runbook_names_events_that_are_logged():
    """A search for an event that nobody writes finds nothing at night."""
    named = {event for pair in EVENT.findall(RUNBOOK) for event in pair if event}
    source = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "proxy").glob("*.py"))
    assert named
    assert not {event for event in named if f'"{event}"' not in source}


def test_runbook_asks_for_fields_that_lines_have():
    """A filter on a field that no line has passes nothing."""
    record = Record("id", 1.0)
    for _, field in PHASES:
        setattr(record, field, 2.0)
    for field in KNOWN_LATER:
        setattr(record, field, "set")
    record.usage = Usage(1, 1, 1, 1)
    known = {*render_exchange(record, 3.0), *Usage._fields}
    asked = [field for program in FILTER.findall(RUNBOOK) for field in FIELD.findall(STRING.sub("", program))]
    assert len(asked) > 10
    assert not set(asked) - known


@pytest.mark.parametrize(
    "file", ["grafana/alerts/rules.yaml", "deploy/RUNBOOK.md", "grafana/README.md", "README.md", *DASHBOARDS]
)
def test_metrics_named_are_the_gateways(file):
    """No dashboard, rule or text names a metric that there is not."""
    path = generate.DASHBOARDS / file if file in DASHBOARDS else ROOT / file
    known = {family.name for family in (*WORKER_FAMILIES, *SUPERVISOR_FAMILIES)}
    named = set(METRIC.findall(path.read_text(encoding="utf-8")))
    assert not {name for name in named if not {name, SUFFIX.sub("", name)} & known}
