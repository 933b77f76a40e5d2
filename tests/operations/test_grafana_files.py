"""Dashboards and rules as the tools of their makers see them: types, parser, promtool."""

import importlib
import json
import re
import shutil
import subprocess

import pytest

from tests.operations.rules import DASHBOARDS, GRAFANA, RULES, panels, rules
from tests.operations.tools import tool
from tests.rig.gateway import ROOT

TYPES = ROOT / "tests" / "operations" / "types"
OF_PANELS = {"timeseries": "TimeSeries", "stat": "Stat", "bargauge": "BarGauge", "table": "Table"}
PLAIN = """
type Plain<T> = T extends string ? `${T}` : T extends (infer Each)[] ? Plain<Each>[]
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> } : T;
"""
"""Enumerations of strings are words in JSON."""
OPTIONS = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--moduleResolution", "nodenext"]
VARIABLE = re.compile(r"\$\w+")
ALERT_TESTS = sorted((GRAFANA / "alerts").glob("tests*.yaml"))


@pytest.fixture(scope="module")
def types(tmp_path_factory):
    """Install Grafana's types, as the lock file has them."""
    place = tmp_path_factory.mktemp("types")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(TYPES / name, place)
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run([tool("npm"), "ci", *quiet], cwd=place, check=True, capture_output=True)  # noqa: S603
    return place


def typed(dashboard, panel):
    """Render a dashboard, and of each panel its options and its own kind of field, as constants with their types."""
    lines = ["import type { Dashboard } from '@grafana/schema';", PLAIN]
    for kind, name in OF_PANELS.items():
        source = f"@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen"
        lines.append(f"import type * as {kind} from '{source}';")
    lines.append(f"export const dashboard: Plain<Dashboard> = {json.dumps(dashboard)};")
    for each in panel:
        number, kind = each["id"], each["type"]
        lines.append(f"export const options{number}: Plain<{kind}.Options> = {json.dumps(each['options'])};")
        custom = each["fieldConfig"]["defaults"].get("custom")
        if custom is not None:
            lines.append(f"export const field{number}: Plain<{kind}.FieldConfig> = {json.dumps(custom)};")
    return "\n".join(lines)


def compile_types(place, **sources):
    """Check constants with TypeScript's compiler; return its exit status and what it says."""
    for name, source in sources.items():
        (place / f"{name}.ts").write_text(source, encoding="utf-8")
    line = [tool("npx"), "--no-install", "tsc", *OPTIONS, *(f"{name}.ts" for name in sources)]
    done = subprocess.run(line, cwd=place, capture_output=True, text=True, check=False)  # noqa: S603
    return done.returncode, done.stdout


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def asking(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_dashboards_have_grafanas_types(types):
    """No member is unknown, missing or of another kind, in the dashboards and in their panels' own settings."""
    sources = {file.stem: typed(read(file), asking(read(file))) for file in DASHBOARDS}
    assert compile_types(types, **sources) == (0, "")


def test_a_misspelt_member_is_noticed(types):
    """The check above checks."""
    dashboard = read(DASHBOARDS[0])
    dashboard["panels"][1]["gridPos"]["wdith"] = 4
    panel = asking(dashboard)[0]
    panel["options"]["colorMode"] = "colourful"
    status, said = compile_types(types, misspelt=typed(dashboard, [panel]))
    assert status != 0
    assert "wdith" in said
    assert "colourful" in said


EXPRESSIONS = [
    *(target["expr"] for _, panel in panels().values() for target in panel["targets"]),
    *(rule["expr"] for kind in ("alert", "record") for rule in rules(kind).values()),
]


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_expression_is_promql(expr):
    """By another parser than Prometheus's own."""
    parser = importlib.import_module("promql_parser")
    assert parser.parse(VARIABLE.sub("5m", expr)).prettify()


def test_rules_are_good():
    """Promtool finds nothing wrong with them."""
    _promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("file", ALERT_TESTS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should(file):
    """And at no other time."""
    _promtool("test", "rules", str(file))


def _promtool(*arguments):
    done = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
