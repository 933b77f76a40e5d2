"""Every series of the gateway, as it is declared."""

import re

import pytest

from proxy.families import (
    DURATION_BUCKETS,
    SUPERVISOR_FAMILIES,
    TOKEN_BUCKETS,
    WORKER_FAMILIES,
)

FAMILIES = (*WORKER_FAMILIES, *SUPERVISOR_FAMILIES)
UNITS = ("_seconds", "_bytes", "_usage")


def test_family_is_declared_once():
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_family_is_named_described_and_labelled_by_the_conventions(family):
    assert re.fullmatch(r"(gen_ai_client|responses_proxy)(_[a-z]+)+", family.name)
    assert family.name.endswith("_total") == (family.type == "counter")
    assert family.help.endswith(".")
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in family.labels)


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_only_a_histogram_has_buckets_and_they_rise(family):
    assert bool(family.buckets) == (family.type == "histogram")
    assert list(family.buckets) == sorted(set(family.buckets))
    if family.buckets:
        assert family.name.endswith(UNITS)


def test_buckets_are_opentelemetrys_with_durations_doubled_on():
    assert DURATION_BUCKETS[:3] == (0.01, 0.02, 0.04)
    assert DURATION_BUCKETS[13:] == (81.92, 163.84, 327.68, 655.36, 1310.72)
    assert TOKEN_BUCKETS[:3] == (1, 4, 16)
    assert TOKEN_BUCKETS[-1] == 67_108_864
    assert len(TOKEN_BUCKETS) == 14
