"""Every example of the chart, rendered: what is true of each."""

import hashlib
import math
import re
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml

from proxy.check import check
from proxy.embedded import _STOP_TIMEOUT
from proxy.fleet import END_GRACE
from proxy.metrics import INFLIGHT_STREAMS
from proxy.providers import REGISTRY
from tests.operations.customresources import SPECS
from tests.operations.helm import CHART, EXAMPLES, NAMESPACE, RELEASE, read_example, rendered_examples

KUBERNETES = ("1.31", "1.37")
"""The oldest version that the chart claims, and the newest there are schemas of."""

each = pytest.mark.parametrize("example", [path.stem for path in EXAMPLES])


@pytest.fixture
def rendered(example):
    return rendered_examples()[example]


@pytest.fixture
def config(rendered):
    return yaml.safe_load(rendered.configuration)


def environment_of(text):
    """Make up what a configuration refers to."""
    names = re.findall(r"\$\{(\w+)\}", text)
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in names if name.endswith("SHA256")}
    return {name: digests.get(name, f"{name.lower()}-0123456789") for name in names}


def selects(selector, labels):
    return selector["matchLabels"].items() <= labels.items()


def test_examples_are_the_ones_that_were_promised():
    """A test over no files would hold for ever."""
    assert {"minimal", "production-ha-sentinel", "redis-cluster", "multi-zone"} <= {path.stem for path in EXAMPLES}


@each
@pytest.mark.parametrize("version", KUBERNETES)
def test_example_is_what_kubernetes_takes(rendered, version):
    """Every object is valid, and none has a field that Kubernetes does not know."""
    for manifest in rendered.objects:
        spec = SPECS.get((manifest["apiVersion"], manifest["kind"]))
        if spec is None:
            kubernetes_validate.validate(manifest, version, strict=True)
        else:
            jsonschema.validate(manifest["spec"], spec)


@each
def test_example_claims_versions_of_kubernetes_that_are_tested(example):
    """The chart refuses older clusters than the schemas it is held against."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == f">={KUBERNETES[0]}.0-0", example


@each
def test_example_configures_the_gateway(rendered, tmp_path):
    """The gateway takes the file, with nothing to remark: no credential in it stands there as it is."""
    file = tmp_path / "gateway.yaml"
    file.write_text(rendered.configuration, encoding="utf-8")
    file.chmod(0o644)
    report = check(file, environment_of(rendered.configuration))
    assert (report.status, report.errors) == (0, "")
    assert "warning" not in report.output


@each
def test_example_keeps_credentials_out_of_config_maps(config):
    """Who reads every ConfigMap of the namespace has no credential: each is a reference."""
    written = [provider.get("api_key") for provider in config["providers"].values()]
    written += [key.get("key") for key in config["keys"]]
    written += re.findall("://[^/@]*:([^/@]+)@", config.get("redis", {}).get("url", ""))
    credentials = [value for value in written if value is not None]
    assert credentials
    assert all(re.fullmatch(r"\$\{\w+\}", value) for value in credentials)


@each
def test_every_object_says_whose_it_is(rendered):
    """Names, namespaces and labels tell two releases apart."""
    for manifest in rendered.objects:
        metadata = manifest["metadata"]
        assert metadata["name"].startswith(f"{RELEASE}-responses-proxy")
        assert metadata["labels"]["app.kubernetes.io/instance"] == RELEASE
        assert metadata["namespace"] in {NAMESPACE, "monitoring"}


@each
def test_selectors_find_the_pods(rendered):
    """Everything that is about the pods selects them, and nothing else of another release."""
    labels = rendered.pod["metadata"]["labels"]
    spec = rendered.pod["spec"]
    selectors = [rendered.one("Deployment")["spec"]["selector"]]
    selectors += [{"matchLabels": service["spec"]["selector"]} for service in rendered.all("Service")]
    selectors += [budget["spec"]["selector"] for budget in rendered.all("PodDisruptionBudget")]
    selectors += [policy["spec"]["podSelector"] for policy in rendered.all("NetworkPolicy")]
    selectors += [monitor["spec"]["selector"] for monitor in rendered.all("PodMonitor")]
    selectors += [constraint["labelSelector"] for constraint in spec["topologySpreadConstraints"]]
    assert all(selects(selector, labels) for selector in selectors)
    assert all(selector["matchLabels"]["app.kubernetes.io/instance"] == RELEASE for selector in selectors)


@each
def test_service_monitor_finds_the_metrics_service_alone(rendered):
    """The Service of the API would be a second target on the same pods."""
    for monitor in rendered.all("ServiceMonitor"):
        found = [s for s in rendered.all("Service") if selects(monitor["spec"]["selector"], s["metadata"]["labels"])]
        assert [service["metadata"]["name"] for service in found] == [f"{RELEASE}-responses-proxy-metrics"]
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in found[0]["spec"]["ports"]}


@each
def test_what_refers_to_an_object_names_it(rendered):
    """Each reference leads to an object of this release, or to one the example says is there."""
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in rendered.objects}
    for scaler in rendered.all("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in names
    for ingress in rendered.all("Ingress"):
        for rule in ingress["spec"]["rules"]:
            assert {("Service", path["backend"]["service"]["name"]) for path in rule["http"]["paths"]} <= names
    for route in rendered.all("HTTPRoute"):
        service = rendered.one("Service", "-responses-proxy")
        assert route["spec"]["rules"][0]["backendRefs"] == [
            {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}
        ]
    assert ("ServiceAccount", rendered.pod["spec"]["serviceAccountName"]) in names
    volumes = {volume["name"] for volume in rendered.pod["spec"]["volumes"]}
    assert {mount["name"] for mount in rendered.gateway["volumeMounts"]} <= volumes


@each
def test_environment_comes_from_the_secret(example, rendered):
    """The pod's variables are those of the Secret that exists, or that the External Secrets Operator makes."""
    (source,) = rendered.gateway["envFrom"]
    made = [secret["spec"]["target"]["name"] for secret in rendered.all("ExternalSecret")]
    existing = read_example(example)["secrets"].get("existingSecret")
    assert [source["secretRef"]["name"]] == (made or [existing])


@each
def test_ports_are_those_of_the_configuration(rendered, config):
    """Container, Services and network policy agree with what the gateway listens on."""
    ports = {port["name"]: port["containerPort"] for port in rendered.gateway["ports"]}
    assert ports == {"http": config["server"]["port"], "metrics": config["server"]["admin_port"]}
    for service in rendered.all("Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports.keys()
    for monitor in rendered.all("PodMonitor"):
        assert monitor["spec"]["podMetricsEndpoints"][0]["port"] == "metrics"
    for policy in rendered.all("NetworkPolicy"):
        allowed = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
        assert sorted(allowed) == sorted(ports.values())


@each
def test_admin_port_is_not_exposed_with_the_api(rendered):
    """Metrics and health ask for no key: what faces clients leads to the API's port alone."""
    service = rendered.one("Service", "-responses-proxy")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    metrics = rendered.one("Service", "-metrics")
    assert metrics["spec"]["type"] == "ClusterIP"
    assert metrics["spec"]["publishNotReadyAddresses"] is True
    for policy in rendered.all("NetworkPolicy"):
        (rule,) = [r for r in policy["spec"]["ingress"] if r["ports"] == [{"port": 9091, "protocol": "TCP"}]]
        assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


@each
def test_probes_ask_the_admin_port(rendered):
    """Readiness follows the drain, liveness does not: a draining pod is not restarted."""
    asked = {name: rendered.gateway[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: get["path"] for name, get in asked.items()} == {
        "startup": "/readyz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {get["port"] for get in asked.values()} == {"metrics"}


@each
def test_grace_period_covers_the_drain(rendered, config):
    """A pod is killed only after everything the gateway may take to stop."""
    server = config["server"]
    grace = rendered.pod["spec"]["terminationGracePeriodSeconds"]
    assert grace == server["pre_stop"] + server["drain_timeout"] + 30
    assert grace > math.ceil(server["pre_stop"] + server["drain_timeout"] + END_GRACE + _STOP_TIMEOUT)
    assert server["pre_stop"] > 0


@each
def test_readiness_turns_before_the_port_closes(rendered, config):
    """A load balancer that asks /readyz itself has heard of the drain while the pod still accepts."""
    probe = rendered.gateway["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"] < config["server"]["pre_stop"]


@each
def test_pod_has_no_more_rights_than_it_needs(rendered):
    """What breaks out of the gateway finds no root, no writable system, no token."""
    spec = rendered.pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert rendered.gateway["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@each
def test_replicas_share_a_redis(rendered, config):
    """More than one pod at a time, a rollout's included, is only where bindings are not one pod's own."""
    deployment = rendered.one("Deployment")["spec"]
    if "redis" in config:
        assert deployment["strategy"] == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
        }
        assert rendered.all("PodDisruptionBudget")
    else:
        assert deployment["strategy"] == {"type": "Recreate"}
        assert deployment["replicas"] == 1
        assert not rendered.all("PodDisruptionBudget")


@each
def test_autoscaler_counts_streams(rendered):
    """It asks for a metric that the gateway has, leaves the number of replicas alone, and shrinks slowly."""
    for scaler in rendered.all("HorizontalPodAutoscaler"):
        pods = scaler["spec"]["metrics"][0]["pods"]
        assert pods["metric"]["name"] == INFLIGHT_STREAMS.name
        assert "replicas" not in rendered.one("Deployment")["spec"]
        down = scaler["spec"]["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] > rendered.pod["spec"]["terminationGracePeriodSeconds"]


@each
def test_network_policy_lets_the_gateway_reach_what_it_is_configured_with(rendered, config):
    """Redis, every provider and DNS; and not everything."""
    for policy in rendered.all("NetworkPolicy"):
        rules = policy["spec"]["egress"]
        assert {"port": 53, "protocol": "UDP"} in [port for rule in rules for port in rule["ports"]]
        assert all(rule.get("ports") for rule in rules)
        for host, port in destinations(config):
            assert any(allows(rule, host, port) for rule in rules), (host, port)


def destinations(config):
    """Return every host and port of a configuration."""
    for provider in config["providers"].values():
        url = urlsplit(provider.get("base_url") or REGISTRY[provider["kind"]].base_url or "https://cloud.invalid")
        yield url.hostname, url.port or (443 if url.scheme == "https" else 80)
    hosts = re.sub(r"^.*://([^/@]*@)?", "", config.get("redis", {}).get("url", "")).partition("/")[0]
    for host in filter(None, hosts.split(",")):
        name, _, port = host.partition(":")
        yield name, int(port)
        if port == "26379":
            yield name, 6379


def allows(rule, host, port):
    """Whether a rule lets out to a host; one of this cluster is known by its namespace."""
    if {"port": port, "protocol": "TCP"} not in rule["ports"]:
        return False
    labels = [peer.get("namespaceSelector", {}).get("matchLabels", {}) for peer in rule.get("to", ())]
    if not host.endswith(".svc"):
        return not labels or {} in labels
    return not labels or {"kubernetes.io/metadata.name": host.split(".")[-2]} in labels
