"""The chart against what it deploys: its README's commands, the image, and a gateway under its configuration."""

import functools
import operator
import re
import signal

import promql_parser
import pytest
import yaml

from proxy.__main__ import _parser
from proxy.metrics import INFLIGHT_STREAMS
from tests.operations import helm
from tests.operations.helm import CHART, ROOT, rendered_examples
from tests.rig.eventually import eventually
from tests.rig.gateway import command

README = (CHART / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = {"OPENAI_API_KEY": "sk-unused", "ALICE_KEY": "sk-gw-0123456789abcdef"}


def blocks(mark):
    """Return the code that stands behind a mark, without the indentation of the list it may be in."""
    found = re.findall(rf"^( *)<!-- {mark} -->\n *```\w*\n(.*?)\n *```$", README, re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indentation}", "", code, flags=re.MULTILINE) for indentation, code in found]


@pytest.mark.parametrize("code", blocks("offline"), ids=["check", "package"])
def test_command_of_the_readme_works(code, checkout):
    """What needs no cluster is run word for word; Helm's SDK stands for its command."""
    checkout.run(code)


def test_readme_names_values_that_there_are():
    """Each value of the table is one of values.yaml, or of the gateway's own configuration."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    values["config"] |= yaml.safe_load(rendered_examples()["multi-zone"].configuration)
    table = README.partition("## Values that matter")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        section = ""
        for name in re.findall("`([^`]+)`", row):
            path = f"{section}{name}" if name.startswith(".") else name
            section = path.partition(".")[0]
            functools.reduce(operator.getitem, path.removesuffix(".*").split("."), values)


def test_readme_shows_every_example():
    """Nobody looks for what is not listed."""
    assert {f"{path.stem}.yaml" for path in helm.EXAMPLES} == {
        *re.findall(r"^ +\| `([\w-]+\.yaml)` \|", README, re.MULTILINE)
    }


def test_adapters_rule_serves_what_the_autoscaler_asks_for():
    """Its query is the sum of a pod's series, and its name the one in the HorizontalPodAutoscaler."""
    (code,) = blocks("adapter")
    (rule,) = yaml.safe_load(code)["rules"]["custom"]
    assert rule["name"]["as"] == INFLIGHT_STREAMS.name
    assert rule["seriesQuery"].partition("{")[0] == INFLIGHT_STREAMS.name
    promql_parser.parse(rule["seriesQuery"])
    query = rule["metricsQuery"]
    for template, text in (("GroupBy", "pod"), ("Series", INFLIGHT_STREAMS.name), ("LabelMatchers", 'namespace="llm"')):
        query = query.replace(f"<<.{template}>>", text)
    assert (
        promql_parser.parse(query).prettify().split()
        == promql_parser.parse(f'sum by (pod) ({INFLIGHT_STREAMS.name}{{namespace="llm"}})').prettify().split()
    )


def test_ingress_asks_for_the_settings_that_nginx_is_tested_with():
    """Each annotation is a setting of deploy/nginx.conf; how large a body may be the gateway decides."""
    annotations = rendered_examples()["production-ha-sentinel"].one("Ingress")["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io/"
    settings = {name.removeprefix(prefix).replace("-", "_"): value for name, value in annotations.items()}
    assert settings.pop("proxy_body_size") == "0"
    tested = (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
    assert len(settings) >= 5
    for name, value in settings.items():
        unit = "s" if name.endswith("_timeout") else ""
        assert f" {name} {value}{unit};\n" in tested


def test_container_starts_what_the_image_has():
    """Arguments, user and data directory are those that deploy/Dockerfile prepares."""
    container = rendered_examples()["minimal"].gateway
    arguments = _parser().parse_args(container["args"])
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {str(arguments.data_dir), "/tmp"}  # noqa: S108
    assert str(arguments.config.parent) in {mount["mountPath"] for mount in container["volumeMounts"]}
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert re.search(r'^ENTRYPOINT \[.*"responses-proxy"\]$', dockerfile, re.MULTILINE)
    assert f"VOLUME {arguments.data_dir}\n" in dockerfile
    security = rendered_examples()["minimal"].pod["spec"]["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in dockerfile


async def test_gateway_answers_the_probes_also_while_it_drains():
    """A gateway under the minimal example's configuration: ready, then draining and alive, then gone."""
    rendered = rendered_examples()["minimal"]
    content = yaml.safe_load(rendered.configuration)
    content["server"].update(host="127.0.0.1", admin_host="127.0.0.1")
    paths = {rendered.gateway[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    async with command(content, environment=ENVIRONMENT) as gateway:
        assert {path: (await gateway.admin(path)).status for path in paths} == {"/readyz": 200, "/healthz": 200}
        assert await gateway.metric(INFLIGHT_STREAMS.name) == 0
        gateway.signal(signal.SIGTERM)
        await eventually(lambda: "draining" in gateway.output())
        assert {path: (await gateway.admin(path)).status for path in paths} == {"/readyz": 503, "/healthz": 200}
        gateway.signal(signal.SIGTERM)
        assert await gateway.exited() == 0
