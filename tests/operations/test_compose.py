import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from proxy.configload import parse_config
from proxy.fleet import END_GRACE
from proxy.providers import REGISTRY
from tests.operations.stack import read_model
from tests.operations.tools import tool

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
EXACT = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")
REFERENCE = re.compile(r"\$\{([A-Z_]+)")
GATEWAYS = ("gateway-1", "gateway-2")
SECONDS = {"h": 3600, "m": 60, "s": 1}


def read(name):
    return (DEPLOY / name).read_text(encoding="utf-8")


def seconds(duration):
    """Read a duration as Compose writes one, such as 1m30s."""
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


@pytest.fixture(scope="module")
def services():
    return read_model(COMPOSE)["services"]


@pytest.fixture(scope="module")
def configuration(services):
    """Give what the gateways are configured to, with a key in the place of the one that is made."""
    text = re.sub(r"\$\{file:[^}]*\}", "sk-gw-made-at-the-first-start", read("compose/gateway/gateway.yaml"))
    return parse_config(text, environment=services["gateway-1"]["environment"], kinds=REGISTRY)


def test_compose_takes_the_file():
    """Without a warning, and without anything in the environment."""
    line = [tool("docker-compose"), "-f", str(COMPOSE), "config", "--quiet"]
    checked = subprocess.run(line, check=False, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})  # noqa: S603
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_file_that_is_mounted_is_there(services):
    """An engine would make a directory of its name instead."""
    binds = [v["source"] for service in services.values() for v in service.get("volumes", []) if v["type"] == "bind"]
    assert len(binds) >= 7
    assert [source for source in binds if not Path(source).exists()] == []


def test_every_service_is_confined(services):
    """Read-only, without capabilities and a way to more of them, within bounds; reached from this machine only."""
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if service["restart"] != "no":
            assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}, name


def test_every_image_is_built_here_or_of_one_exact_version(services):
    """So that the stack of tomorrow is that of today."""
    for name, service in services.items():
        if "build" in service:
            assert (Path(service["build"]["context"]) / service["build"]["dockerfile"]).is_file(), name
        else:
            assert EXACT.fullmatch(service["image"]), name


def test_redis_is_reached_by_the_gateways_only(services):
    """It has no password: its network is all that protects it."""
    assert set(services["redis"]["networks"]) == {"store"}
    assert read_model(COMPOSE)["networks"]["store"]["internal"]
    there = {name for name, service in services.items() if "store" in service.get("networks", {})}
    assert there == {*GATEWAYS, "redis", "sandbox"}
    assert "ports" not in services["redis"]


def test_stop_gives_streams_the_time_that_the_drain_gives_them(services, configuration):
    """The gateways', and nginx's, which ends with the last of its streams."""
    server = configuration.server
    needed = server.pre_stop + server.drain_timeout + END_GRACE
    for name in (*GATEWAYS, "nginx"):
        assert seconds(services[name]["stop_grace_period"]) > needed, name
    assert services["nginx"]["stop_signal"] == "SIGQUIT"


def test_nginx_and_the_gateways_agree(services, configuration):
    """On names, ports, networks, and on who closes an idle connection first."""
    text = read("nginx.conf")
    [upstream] = re.findall(r"upstream \w+ \{(.*?)\n    \}", text, flags=re.DOTALL)
    named = re.findall(r"^\s*server ([\w.-]+):(\d+)", upstream, flags=re.MULTILINE)
    assert named == [(name, str(configuration.server.port)) for name in GATEWAYS]
    for name in GATEWAYS:
        assert set(services["nginx"]["networks"]) & set(services[name]["networks"]), name
    [port] = services["nginx"]["ports"]
    assert re.findall(r"^\s*listen (\d+);", text, flags=re.MULTILINE) == [str(port["target"])]
    [idle] = re.findall(r"keepalive_timeout (\d+)s;", upstream)
    assert int(idle) < configuration.server.pre_stop


def test_prometheus_takes_its_file_and_finds_the_gateways(services, configuration, tmp_path):
    """With the rules beside it, as they are mounted."""
    binds = {v["target"]: v["source"] for v in services["prometheus"]["volumes"] if v["type"] == "bind"}
    for target, source in binds.items():
        shutil.copy(source, tmp_path / Path(target).name)
    checked = subprocess.run(  # noqa: S603
        [tool("promtool"), "check", "config", str(tmp_path / "prometheus.yml")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
    [job] = yaml.safe_load(read("compose/prometheus.yml"))["scrape_configs"]
    [group] = job["static_configs"]
    assert group["targets"] == [f"{name}:{configuration.server.admin_port}" for name in GATEWAYS]
    for name in GATEWAYS:
        assert set(services["prometheus"]["networks"]) & set(services[name]["networks"]), name


def test_grafana_finds_prometheus_and_the_dashboards(services):
    """Its provisioning names the service, and the place where the dashboards are mounted."""
    [source] = yaml.safe_load(read("compose/grafana/datasources/prometheus.yaml"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert set(services["grafana"]["networks"]) & set(services["prometheus"]["networks"])
    [provider] = yaml.safe_load(read("compose/grafana/dashboards/responses-proxy.yaml"))["providers"]
    mounted = {v["target"]: Path(v["source"]) for v in services["grafana"]["volumes"] if v["type"] == "bind"}
    dashboards = sorted(mounted[provider["options"]["path"]].glob("*.json"))
    assert dashboards, "there are dashboards in the directory that is mounted"
    for path in dashboards:
        assert json.loads(path.read_text(encoding="utf-8"))["title"]
    assert mounted["/etc/grafana/provisioning"] == DEPLOY / "compose" / "grafana"


def test_every_key_of_a_provider_can_come_from_the_environment(services):
    """And each variable is in the example of the file that Compose reads them from."""
    example = re.findall(r"^([A-Z_]+)=", read("compose/.env.example"), flags=re.MULTILINE)
    assert set(REFERENCE.findall(read("compose.yaml"))) == set(example)
    asked = set(REFERENCE.findall(read("compose/gateway/gateway.yaml")))
    for name in GATEWAYS:
        assert asked == set(services[name]["environment"])


def test_keys_from_the_file_reach_the_gateways(tmp_path):
    """What has a value is used, what is left empty is as if it were not there."""
    written = tmp_path / "env"
    written.write_text(
        read("compose/.env.example").replace("OPENAI_API_KEY=", "OPENAI_API_KEY=sk-mine", 1), encoding="utf-8"
    )
    line = [tool("docker-compose"), "-f", str(COMPOSE), "--env-file", str(written), "config", "--format", "json"]
    done = subprocess.run(line, check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})  # noqa: S603
    environment = json.loads(done.stdout)["services"]["gateway-1"]["environment"]
    assert (environment["OPENAI_API_KEY"], environment["DEFAULT_PROVIDER"]) == ("sk-mine", "openai")
    assert environment["GROQ_API_KEY"] == "GROQ_API_KEY-is-not-set"
