"""Configurations for tests: two tenants, and providers that are scripted upstreams."""

from collections.abc import Iterable, Mapping
from typing import Any

from proxy.config import Config
from tests.rig.upstream import Upstream

ALICE_KEY = "alice-key-0123456789"
BOB_KEY = "bob-key-0123456789"
UPSTREAM_KEY = "upstream-key-0123456789"
"""The credential the gateway holds for the scripted provider."""
ACK_TIMEOUT = 5
"""Seconds a binding waits for Redis where a test says nothing else: a machine that stands still is not its fault."""

ALICE = {"name": "alice", "tenant": "team-a", "key": ALICE_KEY}
BOB = {"name": "bob", "tenant": "team-b", "key": BOB_KEY}


def provider(upstream: Upstream | str, *, kind: str = "openai", **fields: Any) -> dict[str, Any]:
    """Make a provider's settings: its base URL is the upstream's with `/v1`, or the one given."""
    base_url = upstream if isinstance(upstream, str) else f"{upstream.url}/v1"
    return {"kind": kind, "base_url": base_url, "api_key": UPSTREAM_KEY, **fields}


def settings(
    *upstreams: Upstream,
    providers: Mapping[str, Any] | None = None,
    keys: Iterable[Mapping[str, Any]] = (ALICE, BOB),
    **sections: Any,
) -> dict[str, Any]:
    """Make a configuration file's content: alice and bob; upstreams are providers `main`, `second`, `third`."""
    named = dict(zip(("main", "second", "third"), map(provider, upstreams), strict=False))
    bindings = {"ack_timeout": ACK_TIMEOUT, **sections.pop("bindings", {})}
    return {"keys": list(keys), "providers": {**named, **(providers or {})}, "bindings": bindings, **sections}


def config(*upstreams: Upstream, **sections: Any) -> Config:
    """Make a typed configuration from the arguments of `settings()`."""
    return Config.model_validate(settings(*upstreams, **sections))
