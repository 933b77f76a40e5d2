"""What the chart makes of single values, and what it refuses."""

import copy
import functools
import json

import kubernetes_validate
import pytest
import yaml

from proxy import __version__
from tests.operations.helm import CHART, Refused, read_example, render, render_one

KEYS = [{"name": "alice", "tenant": "team-a", "key": "${ALICE_KEY}"}]
REDIS = {"redis": {"url": "redis://redis:6379/0"}}
CREDENTIAL = "holds a credential, which every reader of the ConfigMap would see"
SEVERAL = "more than one replica needs a Redis that all share"

REFUSED = {
    "no provider": ({"config": {"providers": None}}, "config.providers: name at least one"),
    "no key": ({"config": {"keys": []}}, "config.keys: name at least one"),
    "replicas without Redis": ({"replicaCount": 2}, f"config.redis.url: {SEVERAL}"),
    "autoscaling without Redis": ({"autoscaling": {"enabled": True}}, f"config.redis.url: {SEVERAL}"),
    "loopback": (
        {"config": {"server": {"admin_host": "127.0.0.1"}}},
        "config.server.admin_host: nothing outside the pod",
    ),
    "one port twice": (
        {"config": {"server": {"port": 9091}}},
        "config.server.admin_port: is config.server.port already",
    ),
    "literal key of a provider": (
        {"config": {"providers": {"o": {"kind": "openai", "api_key": "sk-canary"}}}},
        f"config.providers.o.api_key: {CREDENTIAL}",
    ),
    "literal key that is a number": (
        {"config": {"keys": [{"name": "a", "tenant": "a", "key": 123456789012345678}]}},
        f"config.keys[0].key: {CREDENTIAL}",
    ),
    "literal header": (
        {"config": {"providers": {"o": {"kind": "openai", "headers": {"X-Auth": "canary"}}}}},
        f"config.providers.o.headers.X-Auth: {CREDENTIAL}",
    ),
    "literal gateway key": (
        {"config": {"keys": [{"name": "a", "tenant": "a", "key": "sk-gw-canary"}]}},
        f"config.keys[0].key: {CREDENTIAL}",
    ),
    "literal password": (
        {"config": {"redis": {"url": "rediss+cluster://user:canary@a:6379,b:6379"}}},
        f"config.redis.url: {CREDENTIAL}",
    ),
    "two Secrets": ({"secrets": {"create": True}}, "secrets: choose one of"),
    "references to nothing": ({"secrets": {"existingSecret": ""}}, "secrets: config refers to ${…}, but no Secret"),
    "files of no Secret": (
        {
            "secrets": {"existingSecret": "", "mountPath": "/run/secrets"},
            "extraEnvFrom": [{"secretRef": {"name": "x"}}],
        },
        "secrets.mountPath: there is no Secret",
    ),
    "two monitors": (
        {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}},
        "metrics: serviceMonitor and podMonitor would scrape every pod twice",
    ),
    "two budgets": ({"podDisruptionBudget": {"minAvailable": 1}}, "podDisruptionBudget: set maxUnavailable or"),
    "volume beside Redis": ({"config": REDIS}, "persistence: is of the embedded store"),
    "bounds crossed": (
        {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}, "config": REDIS},
        "autoscaling.minReplicas: is above maxReplicas",
    ),
    "unknown value": ({"replicas": 3}, "additional properties 'replicas' not allowed"),
    "unknown value below": (
        {"metrics": {"enabled": True}},
        "at '/metrics': additional properties 'enabled' not allowed",
    ),
    "text for a number": ({"replicaCount": "3"}, "at '/replicaCount': got string, want integer"),
    "text for a duration": (
        {"config": {"server": {"drain_timeout": "300s"}}},
        "at '/config/server/drain_timeout': got string, want number",
    ),
    "number for a label": ({"podLabels": {"tier": 1}}, "at '/podLabels/tier': got number, want string"),
    "no port": ({"config": {"server": {"port": 0}}}, "at '/config/server/port': minimum: got 0, want 1"),
    "too little margin": ({"shutdownMargin": 5}, "at '/shutdownMargin': minimum: got 5, want 21"),
    "ingress without hosts": ({"ingress": {"enabled": True}}, "at '/ingress/hosts': minItems: got 0, want 1"),
    "external secret of no store": (
        {"secrets": {"existingSecret": "", "externalSecret": {"enabled": True}}},
        "at '/secrets/externalSecret/secretStoreRef/name': minLength: got 0, want 1",
    ),
    "variable that is none": ({"secrets": {"values": {"a-b": "x"}}}, "invalid propertyName 'a-b'"),
}


def changed(values, change):
    """Return values with a change, as a further file of values would make it."""
    merged = copy.deepcopy(values)
    for name, value in change.items():
        old = merged.get(name)
        merged[name] = changed(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


@functools.cache
def refusals():
    minimal = read_example("minimal")
    answers = render(*(changed(minimal, change) for change, _ in REFUSED.values()))
    return dict(zip(REFUSED, answers, strict=True))


def rendered(change, example="minimal", **options):
    return render_one(changed(read_example(example), change), **options)


@pytest.mark.parametrize("mistake", REFUSED)
def test_mistake_is_refused_in_words(mistake):
    """The message names the value, says what is wrong, and repeats no credential."""
    answer = refusals()[mistake]
    assert isinstance(answer, Refused)
    assert REFUSED[mistake][1] in str(answer)
    assert "canary" not in str(answer)


def test_every_mistake_is_told_at_once():
    """One attempt is enough to learn of all."""
    with pytest.raises(Refused) as refused:
        render_one({"replicaCount": 2})
    assert all(f"config.{name}" in str(refused.value) for name in ("providers", "keys", "redis.url"))


def test_app_version_is_the_gateways():
    """The chart of a release runs that release's image."""
    assert yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"] == __version__
    assert rendered({}).gateway["image"] == f"responses-proxy:{__version__}"


def test_image_may_be_pinned():
    """A digest names the image for good; a tag of one's own goes before the chart's."""
    digest = f"sha256:{'0' * 64}"
    image = {"repository": "registry.example.org/gateway", "tag": "main"}
    images = ({"image": image}, {"image": {**image, "digest": digest}})
    tagged, pinned = render(*(changed(read_example("minimal"), change) for change in images))
    assert tagged.gateway["image"] == "registry.example.org/gateway:main"
    assert pinned.gateway["image"] == f"registry.example.org/gateway@{digest}"


def test_schema_knows_every_default():
    """Each value of values.yaml is in the schema, and the schema names no other but `global`."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert schema["properties"].keys() - {"global"} == values.keys()
    assert not [*_unlike(schema, schema["properties"], values)]


def _unlike(schema, properties, values, path=""):
    """Yield the sections whose values are not those that the schema lists."""
    for name, value in values.items():
        found = properties.get(name, {})
        found = schema["definitions"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found
        if isinstance(value, dict) and found.get("additionalProperties") is False:
            if not value.keys() <= found["properties"].keys():
                yield f"{path}.{name}"
            yield from _unlike(schema, found["properties"], value, f"{path}.{name}")


def test_grace_period_counts_fractions_and_a_hook():
    """Whatever delays SIGTERM delays the kill, and a fraction of a second is a second."""
    server = {"server": {"pre_stop": 2.5, "drain_timeout": 60}}
    hook = {"preStop": {"sleep": {"seconds": 7}}}
    spec = rendered({"config": server, "lifecycle": hook, "shutdownMargin": 40}).pod["spec"]
    assert spec["terminationGracePeriodSeconds"] == 7 + 3 + 60 + 40
    assert spec["containers"][0]["lifecycle"] == hook


def test_pods_follow_the_configuration():
    """A change of the configuration, or of a Secret the chart makes, rolls the pods; nothing else does."""
    made = {"secrets": {"existingSecret": "", "create": True, "values": {"ALICE_KEY": "a", "OPENAI_API_KEY": "b"}}}
    changes = {
        "nothing": {},
        "service": {"service": {"port": 81}},
        "configuration": {"config": {"limits": {"max_body_bytes": 1000}}},
        "secret": made,
        "other secret": changed(made, {"secrets": {"values": {"OPENAI_API_KEY": "c"}}}),
    }
    answers = render(*(changed(read_example("minimal"), change) for change in changes.values()))
    pods = dict(zip(changes, (answer.pod for answer in answers), strict=True))
    assert pods["nothing"] == pods["service"]
    assert pods["nothing"] != pods["configuration"]
    assert pods["secret"] != pods["other secret"]


def test_numbers_reach_the_gateway_as_written():
    """Large ones too: a template language that knows only floats would write 1.34217728e+08."""
    config = {"limits": {"max_body_bytes": 134217728}, "bindings": {"ack_timeout": 0.25}}
    text = rendered({"config": config}).configuration
    assert "max_body_bytes: 134217728\n" in text
    assert "ack_timeout: 0.25\n" in text


def test_secret_of_the_chart_holds_the_values():
    """For trying things out; the ConfigMap still has references only."""
    values = {"OPENAI_API_KEY": "sk-canary", "ALICE_KEY": "sk-gw-canary"}
    answer = rendered({"secrets": {"existingSecret": "", "create": True, "values": values, "mountPath": "/run/keys"}})
    secret = answer.one("Secret")
    assert secret["stringData"] == values
    assert answer.gateway["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
    assert {"name": "secrets", "mountPath": "/run/keys", "readOnly": True} in answer.gateway["volumeMounts"]
    assert "canary" not in yaml.safe_dump_all(answer.all("ConfigMap") + answer.all("Deployment"))
    assert "WARNING: secrets.values" in answer.notes


def test_notes_warn_where_clients_would_be_refused():
    """A port that closes at once is one that some node still sends to."""
    assert "WARNING: config.server.pre_stop is 0" in rendered({"config": {"server": {"pre_stop": 0}}}).notes
    assert "WARNING" not in rendered({}).notes


def test_names_fit_and_can_be_chosen():
    """Kubernetes takes 63 characters; two releases of one name do not meet."""
    long = rendered({}, name="a" * 53)
    assert max(len(manifest["metadata"]["name"]) for manifest in long.objects) <= 63
    assert rendered({"fullnameOverride": "llm"}).one("Deployment")["metadata"]["name"] == "llm"
    assert rendered({}, name="my-responses-proxy").one("Deployment")["metadata"]["name"] == "my-responses-proxy"


def test_selector_of_ones_own_is_kept():
    """What a constraint says of its pods goes before what the chart would fill in."""
    own = {"matchLabels": {"tier": "edge"}}
    constraint = {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": own}
    spec = rendered({"topologySpreadConstraints": [constraint]}).pod["spec"]
    assert spec["topologySpreadConstraints"] == [constraint]


def test_every_extension_is_valid_kubernetes():
    """What operators add is where the pod's definition has a place for it."""
    change = {
        "commonLabels": {"team": "platform"},
        "podLabels": {"azure.workload.identity/use": "true"},
        "podAnnotations": {"a": "b"},
        "deploymentAnnotations": {"reloader.stakater.com/auto": "true"},
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccount": {"create": False, "name": "existing"},
        "priorityClassName": "high",
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "affinity": {"podAntiAffinity": {}},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "extraEnv": [{"name": "AWS_REGION", "value": "eu-central-1"}],
        "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
        "extraArgs": ["--workers=2"],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
        "initContainers": [{"name": "wait", "image": "busybox"}],
        "extraContainers": [{"name": "beside", "image": "busybox"}],
        "persistence": {"existingClaim": "bindings"},
        "replicaCount": 0,
    }
    answer = rendered(change)
    for manifest in answer.objects:
        kubernetes_validate.validate(manifest, "1.37", strict=True)
        assert manifest["metadata"]["labels"]["team"] == "platform"
    spec = answer.pod["spec"]
    assert answer.pod["metadata"]["labels"].items() >= {**change["commonLabels"], **change["podLabels"]}.items()
    assert answer.gateway["args"][-1] == "--workers=2"
    assert spec["serviceAccountName"] == "existing"
    assert not answer.all("ServiceAccount") + answer.all("PersistentVolumeClaim")
    assert [volume["persistentVolumeClaim"] for volume in spec["volumes"] if volume["name"] == "data"] == [
        {"claimName": "bindings"}
    ]
    for name in ("priorityClassName", "nodeSelector", "affinity", "tolerations", "dnsConfig", "imagePullSecrets"):
        assert spec[name] == change[name]
