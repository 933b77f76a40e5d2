"""What flow tests do again and again: ask for a response as raw bytes, and look at what a settled exchange left."""

import orjson
from prometheus_client.parser import text_string_to_metric_families

from tests.rig.eventually import eventually
from tests.rig.gateway import bearer
from tests.rig.settings import ALICE_KEY, provider

PATH = "/v1/responses"
PLAIN = {"model": "gpt-4o-mini", "input": "hello"}
STREAMED = {**PLAIN, "stream": True}


def timed(upstream, **timeouts):
    """Make the settings of the provider `main`, with these timeouts in seconds; no comments break a silence unasked."""
    return {"providers": {"main": provider(upstream, timeouts={"keep_alive_comment": 3600, **timeouts})}}


async def ask(client, body, *, key=ALICE_KEY):
    """Send a create on an open connection."""
    await client.request("POST", PATH, headers=bearer(key), json=body)


async def create(gw, body, **options):
    """Send a create on a connection of its own, and read the answer to its end."""
    return await gw.fetch("POST", PATH, json=body, **options)


async def stream_ends(gw):
    """Return how many streams ended how, without the zeros."""
    families = text_string_to_metric_families(await gw.exposition())
    samples = [sample for family in families for sample in family.samples]
    ends = [sample for sample in samples if sample.name == "responses_proxy_stream_ends_total" and sample.value]
    return {sample.labels["end"]: sample.value for sample in ends}


def relay_of(exchange):
    """Return what moves an exchange's answer, None before there is one."""
    return exchange._delivery and exchange._delivery._relay


async def nothing_left(gw, *upstreams):
    """Wait until no exchange is under way and no connection to a provider is in use or open."""
    pools = gw.app._upstreams.values()
    await eventually(lambda: not gw.app._handlers.active)
    await eventually(lambda: not any(pool.connections()["active"] for pool in pools))
    await eventually(lambda: not any(upstream.open_connections for upstream in upstreams))


def log_lines(capfd):
    """Return the lines logged for exchanges since the last look; the gateway writes the last ones when it closes."""
    lines = [orjson.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "exchange"]
