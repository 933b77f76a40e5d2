"""Real clients, each with assertions of its own: the official SDKs for Python and Node, and the Codex CLI."""

import pytest

from tests.rig.clients import NEEDED, missing, run_client, understanding
from tests.rig.gateway import gateway
from tests.rig.settings import UPSTREAM_KEY, config

pytestmark = NEEDED


@pytest.mark.parametrize("client", ["openai-py", "openai-node", "codex"])
async def test_client_works_against_the_gateway(client, valkey):
    """Its own suite, unchanged, passes with the gateway between it and the provider."""
    if reason := missing(client):
        pytest.skip(reason)
    async with understanding() as base_url:
        main = {"kind": "openai", "base_url": base_url, "api_key": UPSTREAM_KEY}
        async with gateway(config(providers={"main": main}), redis_url=valkey.url) as gw:
            status, output = await run_client(client, gw)
    assert status == 0, output
    assert "\nok " in "\n" + output
