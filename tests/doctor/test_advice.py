"""The settings to change: whose, and that there is one for every symptom."""

import ast
from pathlib import Path

import pytest

from proxy.doctor.advice import ADVICE, ANY, GATEWAY, HOPS, advise, identify

DOCTOR = Path(__file__).parents[2] / "proxy" / "doctor"


@pytest.mark.parametrize(
    ("headers", "hop"),
    [
        ({"Server": "nginx/1.22.1"}, "nginx"),
        ({"Server": "openresty"}, "nginx"),
        ({"Server": "envoy"}, "Envoy"),
        ({"Server": "istio-envoy"}, "Envoy"),
        ({"x-envoy-upstream-service-time": "3"}, "Envoy"),
        ({"Server": "awselb/2.0"}, "AWS ALB"),
        ({"Via": "1.1 google"}, "Google Cloud"),
        ({"Server": "cloudflare"}, ""),
        ({}, ""),
    ],
)
def test_hop_is_known_by_its_headers(headers, hop):
    assert identify(headers) == hop


def test_advice_is_that_of_the_hop_in_front_and_of_the_gateway():
    assert advise("upload_held", "nginx") == ("nginx: proxy_request_buffering off; proxy_http_version 1.1",)
    lines = advise("cut_when_silent", "AWS ALB")
    assert [line.partition(":")[0] for line in lines] == ["AWS ALB", "gateway"]


def test_advice_is_that_of_every_hop_where_none_is_known():
    assert [line.partition(":")[0] for line in advise("sent_again", "")] == ["nginx", "HAProxy", "Envoy"]
    assert advise("wrong_key", "nginx") == advise("wrong_key", "")


def test_every_line_is_some_hops_or_the_gateways():
    assert {name for lines in ADVICE.values() for name in lines} <= {*HOPS, GATEWAY, ANY}


def test_every_symptom_is_one_that_a_probe_finds_and_the_other_way_round():
    """Because a symptom that is misspelt would fail when it is needed."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in DOCTOR.rglob("*.py") if file.stem != "advice"]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    asked = {
        argument.value
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("advise")
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    assert set(ADVICE) <= words
    assert asked <= set(ADVICE)
