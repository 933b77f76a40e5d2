"""Clients nobody here wrote, each with assertions of its own, and the provider that understands their prompts."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from tests.rig.eventually import eventually
from tests.rig.gateway import Gateway, free_port
from tests.rig.replay import TRAFFIC
from tests.rig.settings import ALICE_KEY, UPSTREAM_KEY

RUN = TRAFFIC.parent / "clients" / "run.sh"
INSTALLED = Path(os.environ.get("CLIENTS_DIR") or Path.home() / ".cache" / "responses-clients")
ALL = "RESPONSES_PROXY_ALL_CLIENTS"
WEBSOCKET = "*websocket*"
"""The gateway answers an upgrade with 426, so that clients fall back to HTTP: the cases that insist are left out."""
NEEDED = [
    pytest.mark.skipif(not RUN.exists(), reason="../shared/clients is not here"),
    pytest.mark.skipif(
        not (INSTALLED / "venv").exists(), reason=f"install the clients: {RUN.name} install {INSTALLED}"
    ),
    pytest.mark.timeout(600),
]
"""What a test with these clients is marked with."""


def missing(client: str, slow: Iterable[str] = ("codex",)) -> str | None:
    """Return what a client needs and this machine does not have, or why it is not run."""
    if client == "openai-node" and shutil.which("node") is None:
        return "node is not installed"
    if client in slow and not os.environ.get(ALL):
        return f"slow: set {ALL} to run it"
    return None


async def run_client(client: str, gw: Gateway, **settings: str) -> tuple[int | None, str]:
    """Run a client's suite against a gateway; return its exit status and what it said."""
    fixed = {"BASE_URL": f"{gw.url}/v1", "API_KEY": ALICE_KEY, "SKIP": WEBSOCKET, "CLIENTS_DIR": str(INSTALLED)}
    process = await asyncio.create_subprocess_exec(
        *("bash", str(RUN), client),
        env={**os.environ, **fixed, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    sys.stdout.write(output.decode())
    return process.returncode, output.decode()


@contextlib.asynccontextmanager
async def understanding() -> AsyncIterator[str]:
    """Run the provider of the Responses API that understands these clients' prompts; give its base URL."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *("bash", str(RUN), "upstream", str(port), UPSTREAM_KEY),
        env={**os.environ, "CLIENTS_DIR": str(INSTALLED)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: _listening(port))
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        await process.wait()


async def _listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
