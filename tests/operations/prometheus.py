"""A real Prometheus on loopback, scraping every second, with the alert rules loaded."""

import contextlib
import subprocess
import tempfile
import time
import urllib.error
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from grafana.query import Prometheus
from tests.operations.tools import tool
from tests.rig.gateway import ROOT, free_port

RULES = ROOT / "grafana" / "alerts" / "rules.yaml"
JOB = "responses-proxy"
SCRAPE_INTERVAL = "1s"
PATIENCE = 30.0
STOP_PATIENCE = 15.0


@contextlib.contextmanager
def prometheus(targets: Mapping[str, int]) -> Iterator[Prometheus]:
    """Scrape the admin ports of these gateways, by the names of their hosts, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="prometheus-") as directory:
        place, port = Path(directory), free_port()
        (place / "prometheus.yml").write_text(yaml.safe_dump(_configuration(targets)), encoding="utf-8")
        line = [
            tool("prometheus"),
            f"--config.file={place / 'prometheus.yml'}",
            f"--storage.tsdb.path={place / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (place / "output").open("wb") as output:
            process = subprocess.Popen(line, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603 - looked up by us
        try:
            server = Prometheus(f"http://127.0.0.1:{port}")
            _wait(server, process, place / "output")
            yield server
        finally:
            process.terminate()
            process.wait(STOP_PATIENCE)


def _configuration(targets: Mapping[str, int]) -> dict[str, object]:
    hosts = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name, "namespace": "models"}}
        for name, port in targets.items()
    ]
    return {
        "global": {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": JOB, "static_configs": hosts}],
    }


def _wait(server: Prometheus, process: subprocess.Popen[bytes], output: Path) -> None:
    """Wait until it has scraped every target."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, output.read_text(encoding="utf-8")
        with contextlib.suppress(urllib.error.URLError, ValueError):
            active = server.get("targets", state="active")["activeTargets"]
            if active and all(target["health"] == "up" for target in active):
                return
        time.sleep(0.05)
    raise TimeoutError(output.read_text(encoding="utf-8"))
