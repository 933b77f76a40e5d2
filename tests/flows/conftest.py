"""A gateway every request gets through."""

import pytest

from tests.rig import scripts
from tests.rig.gateway import gateway
from tests.rig.settings import ALICE, config


@pytest.fixture
async def sole(upstream, valkey):
    """Give a gateway of one tenant: ids nobody bound go to the provider, which answers anything with `{}`."""
    for method in ("GET", "POST", "DELETE"):
        upstream.on(method, "*", scripts.json_answer({}))
    async with gateway(config(upstream, keys=[ALICE]), redis_url=valkey.url) as gw:
        yield gw
