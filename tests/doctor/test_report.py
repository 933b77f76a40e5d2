"""The table, the sum, JSON and the exit status."""

import orjson
import pytest

from proxy.doctor.base import Row, Verdict
from proxy.doctor.report import render_json, render_line, render_sum, status_of

OK, WARN, FAIL, SKIP = Verdict
BAD = Row("silence", FAIL, "cut 60.0 s after", ("nginx: a", "HAProxy: b"), {"lasted": 60.0})


def test_line_has_the_settings_under_it():
    assert render_line(BAD).splitlines() == [
        "FAIL  silence         cut 60.0 s after",
        "                      → nginx: a",
        "                      → HAProxy: b",
    ]


@pytest.mark.parametrize(
    ("verdicts", "status", "worst"),
    [([OK, SKIP], 0, "OK"), ([OK, WARN], 0, "WARN"), ([WARN, FAIL, OK], 1, "FAIL"), ([], 0, "OK")],
)
def test_status_is_that_of_failures_alone(verdicts, status, worst):
    rows = [Row("x", verdict, "y") for verdict in verdicts]
    assert status_of(rows) == status
    assert orjson.loads(render_json("http://h/v1", rows))["verdict"] == worst


def test_sum_counts_every_verdict():
    assert render_sum([BAD, BAD, Row("x", OK, "y")]) == "1 OK, 0 WARN, 2 FAIL, 0 SKIP\n"


def test_json_has_every_figure():
    assert orjson.loads(render_json("http://h/v1", [BAD]))["rows"] == [
        {
            "probe": "silence",
            "verdict": "FAIL",
            "found": "cut 60.0 s after",
            "change": ["nginx: a", "HAProxy: b"],
            "figures": {"lasted": 60.0},
        }
    ]
