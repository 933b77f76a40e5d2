"""The `check` command: everything that is wrong with a configuration, or the routes it makes and what is doubtful."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import uvloop

from proxy.auth import Keys
from proxy.config import Config, KeyConfig, ProviderConfig
from proxy.configfile import ConfigError, read_document
from proxy.configload import default_config, parse_config, read_file
from proxy.credentials import require_extras
from proxy.doubts import credential_files, find_doubts, may_ask
from proxy.exposure import find_exposed
from proxy.probe import OK, Finding, probe_providers
from proxy.providers import REGISTRY
from proxy.redisprobe import probe_redis
from proxy.redisurl import parse_redis_url
from proxy.routing import Router
from proxy.tables import table

MISTAKEN = 2
DOUBTFUL = 1
"""Exit status where something is to be looked at again, and the caller asked for that to count."""
NAMES_SHOWN = 4

_UNCONFIGURED = {
    "fixed": "-",
    "google": "Google's default credentials",
    "aws": "AWS credential chain",
    "entra": "Entra identity of the environment",
}
"""Where a provider without a credential of its own has one from."""


class Report(NamedTuple):
    """What the command prints, and its exit status."""

    status: int
    output: str
    errors: str


def check(path: Path | None, environment: Mapping[str, str], *, probe: bool = False, strict: bool = False) -> Report:
    """Validate a file, or the environment alone where there is none; status 2 where there are mistakes.

    `probe` also asks every provider and Redis. `strict` makes anything doubtful status 1.
    """
    name = "the environment" if path is None else str(path)
    try:
        config, warnings = _load(path, environment)
    except ConfigError as error:
        count = len(error.mistakes)
        return Report(MISTAKEN, "", f"{name}: {count} mistake{'s' if count > 1 else ''}\n{error}\n")
    lines = [f"{name}: good", "", *describe(config)]
    findings = uvloop.run(_probe(config)) if probe else []
    if findings:
        lines += table([("PROBE", "RESULT", ""), *findings])
    lines += [f"warning: {warning}" for warning in warnings]
    doubtful = warnings or any(finding.result != OK for finding in findings)
    return Report(DOUBTFUL if strict and doubtful else 0, "\n".join(lines) + "\n", "")


async def _probe(config: Config) -> list[Finding]:
    found = await probe_providers(config)
    return found if config.redis.url is None else [*found, *await probe_redis(config.redis.url.reveal())]


def _load(path: Path | None, environment: Mapping[str, str]) -> tuple[Config, list[str]]:
    text = None if path is None else read_file(path)
    if text is None:
        config, document = default_config(environment, REGISTRY), None
    else:
        config = parse_config(text, environment=environment, kinds=REGISTRY)
        document = read_document(text, environment)
    require_extras(config, REGISTRY)
    return config, [*find_exposed(path, document, config), *find_doubts(config)]


def describe(config: Config) -> Iterator[str]:
    """Render what the gateway would do, as aligned tables without a credential."""
    server = config.server
    yield from table(
        [
            ("listen", f"{_address(server.host, server.port)}, {_count(server.workers, 'worker')}"),
            ("prefixes", " ".join(server.prefixes)),
            ("metrics", _address(server.admin_host, server.admin_port)),
            ("bindings", f"{_redis(config)}, kept {config.bindings.ttl_days:g} days"),
            ("responses", f"of providers that keep none: {config.archive.ttl_days:g} days"),
            ("unknown ids", "forward" if config.forwards_unknown else "refuse"),
        ]
    )
    providers = [
        (name, provider.kind, _base_url(provider), _credential(provider)) for name, provider in config.providers.items()
    ]
    yield from table([("PROVIDER", "KIND", "BASE URL", "CREDENTIAL"), *providers])
    if config.models:
        yield from table([("ALIAS", "PROVIDER", "UPSTREAM MODEL", "KEYS"), *_aliases(config)])
    keys = [
        (key.name, key.tenant, _allowed(key.providers), _allowed(key.models), _default(config, key))
        for key in config.keys or (_made_at_start(),)
    ]
    yield from table([("KEY", "TENANT", "PROVIDERS", "MODELS", "DEFAULT"), *keys])


def _aliases(config: Config) -> Iterator[tuple[str, str, str, str]]:
    """Say for each alias what it stands for and whose keys may ask for it."""
    router, callers = Router(config), Keys(config.keys).callers
    for alias, (provider, model) in router.aliases.items():
        names = [caller.name for caller in callers if may_ask(router, caller, alias)]
        yield alias, provider, model, "all" if len(names) == len(callers) else _some(names)


def _some(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join([*names[:NAMES_SHOWN], *([f"{more} more"] if more > 0 else [])]) or "none"


def _made_at_start() -> KeyConfig:
    return KeyConfig(name="default", tenant="default")


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _redis(config: Config) -> str:
    """Say where Redis is, leaving out user, password and options."""
    if config.redis.url is None:
        return "embedded server"
    return str(parse_redis_url(config.redis.url.reveal()))


def _base_url(provider: ProviderConfig) -> str:
    kind = REGISTRY[provider.kind]
    return kind.locate(provider, kind.base_url) or "-"


def _credential(provider: ProviderConfig) -> str:
    for setting, file in credential_files(provider):
        return f"{setting} {file}"
    return _UNCONFIGURED[REGISTRY[provider.kind].credentials] if provider.api_key is None else "api_key"


def _allowed(names: Iterable[str] | None) -> str:
    return "all" if names is None else ", ".join(names)


def _default(config: Config, key: KeyConfig) -> str:
    usable = key.providers or tuple(config.providers)
    for name in (key.default_provider, config.default_provider):
        if name is not None and name in usable:
            return name
    return usable[0] if len(usable) == 1 else "-"
