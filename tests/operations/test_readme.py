"""The operator's three ways, as the README shows them, followed as far as no daemon and no cluster is needed."""

import re
import shlex
import subprocess
from pathlib import Path

from tests.operations.tools import tool
from tests.rig.gateway import command
from tests.rig.settings import ALICE_KEY, settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(mark):
    """Return the commands that stand behind a mark."""
    (code,) = re.findall(rf"^<!-- {mark} -->\n```\n(.*?)\n```$", README, re.DOTALL | re.MULTILINE)
    return code


def test_compose_takes_the_commands():
    """Without a daemon: the file is good, the services are there, and Compose knows every option."""
    compose = tool("docker-compose")
    for line in block("compose").splitlines():
        docker, name, *words = shlex.split(line)
        assert (docker, name, words[0]) == ("docker", "compose", "-f")
        asked = [compose, *words[:2], "config", "--services"]
        services = subprocess.run(asked, cwd=ROOT, capture_output=True, check=True)  # noqa: S603
        verb, *rest = words[2:]
        known = subprocess.run([compose, verb, "--help"], capture_output=True, check=True).stdout.decode()  # noqa: S603
        assert all(option in known for option in rest if option.startswith("--"))
        if verb == "exec":
            assert rest[0] in services.stdout.decode().split()


def test_helm_takes_the_commands(checkout):
    """Helm's SDK stands for its command; what would be installed is rendered."""
    assert "kind: Deployment" in checkout.run(block("helm").replace("helm install", "helm template"))


async def test_doctor_finds_a_gateway_well(checkout, valkey):
    """The command of the README, with the gateway's own address and a shorter silence."""
    content = settings(providers={"sandbox": {"kind": "sandbox"}}, redis={"url": valkey.url})
    async with command(content) as gateway:
        code = block("doctor").replace("sk-gw-…", ALICE_KEY).replace("https://llm.example.com", gateway.url)
        assert gateway.url in code
        assert " 0 WARN, 0 FAIL" in checkout.run(f"{code} --silence 1")
