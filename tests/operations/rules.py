"""What is in the alert rules and the dashboards, for the tests that run them."""

import functools
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.rig.gateway import ROOT

GRAFANA = ROOT / "grafana"
RULES = GRAFANA / "alerts" / "rules.yaml"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
_PARTS = ("lhs", "rhs", "expr", "param", "args", "vector_selector")


@functools.cache
def rules(kind: str) -> dict[str, dict[str, Any]]:
    """Return the rules that are an `alert` or a `record`, by their names."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


def panels() -> dict[str, tuple[Path, dict[str, Any]]]:
    """Return the panels that ask something, by dashboard and number, with the file they are in."""
    found = {}
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            if panel["type"] != "row":
                found[f"{file.stem}: {panel['title']} ({panel['id']})"] = (file, panel)
    return found


def selectors(expr: str) -> set[str]:
    """Return every selector of an expression, as it would be asked for now."""
    parsed = importlib.import_module("promql_parser").parse(expr)
    return {
        each.prettify().partition(" offset ")[0] for each in _walk(parsed) if type(each).__name__ == "VectorSelector"
    }


def _walk(part: Any) -> Iterator[Any]:
    yield part
    for name in _PARTS:
        inner = getattr(part, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None:
                yield from _walk(each)
