"""Dashboards and alert rules, as the chart brings them into a cluster."""

import base64
import gzip
import shutil
import subprocess
import sys
import tarfile

import yaml

from tests.operations import helm
from tests.operations.helm import CHART, ROOT, Refused, read_example, render, render_one, rendered_examples
from tests.operations.tools import tool

GRAFANA = ROOT / "grafana"
RULES = GRAFANA / "alerts/rules.yaml"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
SECRET_LIMIT = 1_048_576
"""Bytes of a Secret, in which Helm keeps a release: chart, values and manifest, compressed and in base64 twice."""
LINK = "https://wiki.example.org/responses-proxy/RUNBOOK.md"


def rules_of(rendered):
    return {
        rule["alert"]: rule
        for group in rendered.one("PrometheusRule")["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def test_dashboards_arrive_byte_for_byte():
    """Each file of grafana/dashboards is a ConfigMap that Grafana's sidecar finds; no template was taken for Helm's."""
    for example in ("production-ha-sentinel", "redis-cluster"):
        maps = [found for found in rendered_examples()[example].all("ConfigMap") if "gateway.yaml" not in found["data"]]
        assert all(found["metadata"]["labels"]["grafana_dashboard"] == "1" for found in maps)
        carried = {name: text for found in maps for name, text in found["data"].items()}
        files = {f"gateway-responses-proxy-{path.name}": path.read_text(encoding="utf-8") for path in DASHBOARDS}
        assert carried == files
        assert len(files) >= 3


def test_dashboards_go_where_the_sidecar_looks():
    """Its namespace and its folder are the operator's choice."""
    examples = rendered_examples()
    there = [found["metadata"] for found in examples["redis-cluster"].all("ConfigMap")]
    assert [metadata["namespace"] for metadata in there].count("monitoring") == len(DASHBOARDS)
    here = [found["metadata"] for found in examples["production-ha-sentinel"].all("ConfigMap")]
    assert all(metadata["namespace"] == helm.NAMESPACE for metadata in here)
    folders = [metadata["annotations"]["grafana_folder"] for metadata in here if "annotations" in metadata]
    assert folders == ["responses-proxy"] * len(DASHBOARDS)


def test_rules_arrive_as_they_were_tested(tmp_path):
    """Prometheus takes them, and every expression and description is the one of grafana/alerts/rules.yaml."""
    spec = rendered_examples()["production-ha-sentinel"].one("PrometheusRule")["spec"]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(spec), encoding="utf-8")
    subprocess.run([tool("promtool"), "check", "rules", str(file)], check=True, capture_output=True)  # noqa: S603
    for group in spec["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["labels"].pop("team") == "platform"
                assert rule["annotations"]["runbook_url"] == f"{LINK}#{rule['alert'].lower()}"
                rule["annotations"]["runbook_url"] = f"https://runbook.invalid/RUNBOOK.md#{rule['alert'].lower()}"
    assert spec["groups"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]


def test_rules_carry_no_link_that_leads_nowhere():
    """Without an address of the runbook there is none; nothing else is lost."""
    values = read_example("redis-cluster")
    values["prometheusRule"] = {"enabled": True}
    bare, linked = rules_of(render_one(values)), rules_of(rendered_examples()["redis-cluster"])
    assert bare.keys() == linked.keys()
    for name, rule in bare.items():
        assert "runbook_url" not in rule["annotations"]
        assert {**rule["annotations"], "runbook_url": f"{LINK}#{name.lower()}"} == linked[name]["annotations"]


def test_alerts_can_be_left_out_by_name():
    """The others, and what they are computed from, stay; a name that there is not is a mistake."""
    first, *others = rules_of(rendered_examples()["redis-cluster"])
    values = read_example("redis-cluster")
    disabled = ([first], [first, "NoSuchAlert"])
    several = ({**values, "prometheusRule": {"enabled": True, "disabled": names}} for names in disabled)
    known, unknown = render(*several)
    assert [*rules_of(known)] == others
    assert 'prometheusRule.disabled: there is no alert "NoSuchAlert"' in str(unknown)


def test_package_holds_what_the_links_lead_to(tmp_path):
    """An archive needs no checkout: it renders the same, and has no file that only a checkout needs."""
    run([sys.executable, helm.__file__, "package", str(CHART), "-d", str(tmp_path)])
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {f"files/dashboards/{path.name}" for path in DASHBOARDS} | {"files/rules.yaml", "README.md"} <= names
    assert not [name for name in names if name.startswith("values-examples")]
    (packaged,) = render(read_example("redis-cluster"), chart=archive)
    assert packaged.objects == rendered_examples()["redis-cluster"].objects


def test_chart_without_its_links_says_so(tmp_path):
    """Some tools leave links out of what they fetch; no dashboard would then be no error."""
    shutil.copytree(CHART, tmp_path / "chart", ignore=shutil.ignore_patterns("files"))
    values = read_example("redis-cluster")
    no_rules, no_dashboards = {"prometheusRule": {"enabled": False}}, {"dashboards": {"enabled": False}}
    several = [{**values, **no_rules}, {**values, **no_dashboards}, {**values, **no_rules, **no_dashboards}]
    answers = render(*several, chart=tmp_path / "chart")
    assert "this copy of the chart has none" in str(answers[0])
    assert "this copy of the chart has no rules" in str(answers[1])
    assert not isinstance(answers[2], Refused)


def test_release_fits_into_a_secret(tmp_path):
    """Helm stores chart and manifest in one Secret; dashboards are most of both."""
    run([sys.executable, helm.__file__, "package", str(CHART), "-d", str(tmp_path)])
    (archive,) = tmp_path.glob("*.tgz")
    manifest = yaml.safe_dump_all(rendered_examples()["production-ha-sentinel"].objects).encode()
    with tarfile.open(archive) as packed:
        members = [packed.extractfile(member) for member in packed.getmembers()]
        files = b"".join(base64.b64encode(member.read()) for member in members if member is not None)
    stored = base64.b64encode(base64.b64encode(gzip.compress(files + manifest)))
    assert len(stored) < SECRET_LIMIT / 2


def run(command):
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
