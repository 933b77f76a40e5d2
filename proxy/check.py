"""The `check` command: everything that is wrong with a configuration, or the routes it makes."""

import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from proxy.config import Config, KeyConfig, ProviderConfig
from proxy.configfile import ConfigError, Document, Location, dotted, read_document
from proxy.configload import default_config, parse_config, read_file
from proxy.credentials import require_extras
from proxy.providers import REGISTRY
from proxy.redisurl import parse_redis_url

_TELLING = ("auth", "cookie", "key", "secret", "token")
"""Parts of the names of headers that carry credentials."""

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


def check(path: Path | None, environment: Mapping[str, str]) -> Report:
    """Validate a file, or the environment alone where there is none; status 2 where there are mistakes."""
    name = "the environment" if path is None else str(path)
    try:
        config, warnings = _load(path, environment)
    except ConfigError as error:
        count = len(error.mistakes)
        return Report(2, "", f"{name}: {count} mistake{'s' if count > 1 else ''}\n{error}\n")
    lines = [f"{name}: good", "", *describe(config)]
    lines += [f"warning: {warning}" for warning in warnings]
    return Report(0, "\n".join(lines) + "\n", "")


def _load(path: Path | None, environment: Mapping[str, str]) -> tuple[Config, list[str]]:
    if path is None:
        config = default_config(environment, REGISTRY)
        require_extras(config, REGISTRY)
        return config, list(find_doubts(config))
    text = read_file(path)
    config = parse_config(text, environment=environment, kinds=REGISTRY)
    require_extras(config, REGISTRY)
    exposed = _exposed(path, read_document(text, environment))
    return config, [*exposed, *find_doubts(config)]


def describe(config: Config) -> Iterator[str]:
    """Render what the gateway would do, as aligned tables without a credential."""
    server = config.server
    yield from _table(
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
    yield from _table([("PROVIDER", "KIND", "BASE URL", "CREDENTIAL"), *providers])
    if config.models:
        aliases = [(alias, *target.split("/", 1)) for alias, target in config.models.items()]
        yield from _table([("MODEL", "PROVIDER", "UPSTREAM MODEL"), *aliases])
    keys = [
        (key.name, key.tenant, _allowed(key.providers), _allowed(key.models), _default(config, key))
        for key in config.keys or (_made_at_start(),)
    ]
    yield from _table([("KEY", "TENANT", "PROVIDERS", "MODELS", "DEFAULT"), *keys])


def find_doubts(config: Config) -> Iterator[str]:
    """Return what is allowed and yet cannot be meant."""
    for index, key in enumerate(config.keys):
        for model in key.models or ():
            target = config.models.get(model, model)
            if _provider_of(target) in config.providers and not _may_use(key, target):
                yield f"keys[{index}].models: {key.name} may use {model}, but not its provider {_provider_of(target)}"
    for alias, target in config.models.items():
        if config.keys and not any(_may_use(key, target) for key in config.keys):
            yield f"{dotted(('models', alias))}: no key may use its provider {_provider_of(target)}"
    for location, file in _named_files(config):
        if not Path(file).is_file():
            yield f"{dotted(location)}: there is no such file yet"


def _named_files(config: Config) -> Iterator[tuple[Location, str]]:
    for name, provider in config.providers.items():
        for setting, file in _files(provider):
            yield ("providers", name, setting), file
    if config.fetch.ca_file is not None:
        yield ("fetch", "ca_file"), config.fetch.ca_file


def _may_use(key: KeyConfig, target: str) -> bool:
    return key.providers is None or _provider_of(target) in key.providers


def _provider_of(target: str) -> str:
    return target.partition("/")[0]


def _exposed(path: Path, document: Document) -> Iterator[str]:
    """Name the credentials that every user of this machine can read in the file."""
    if not path.stat().st_mode & stat.S_IROTH:
        return
    literal = [key for key in _find_credentials(document.data) if key not in document.references]
    if literal:
        yield (
            f"{path} can be read by every user of this machine and holds {', '.join(literal)}: "
            "write ${NAME} or ${file:/path} instead, or chmod 600"
        )


def _find_credentials(data: dict[str, object]) -> Iterator[str]:
    redis, keys, providers = data.get("redis"), data.get("keys"), data.get("providers")
    if isinstance(redis, dict) and "@" in str(redis.get("url")):
        yield "redis.url"
    for index, key in enumerate(keys if isinstance(keys, list) else []):
        if key.get("key") is not None:
            yield dotted(("keys", index, "key"))
    for name, provider in providers.items() if isinstance(providers, dict) else ():
        if provider.get("api_key") is not None:
            yield dotted(("providers", name, "api_key"))
        for header in provider.get("headers", ()):
            if any(part in header.lower() for part in _TELLING):
                yield dotted(("providers", name, "headers", header))


def _made_at_start() -> KeyConfig:
    return KeyConfig(name="default", tenant="default")


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""


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
    for setting, file in _files(provider):
        return f"{setting} {file}"
    return _UNCONFIGURED[REGISTRY[provider.kind].credentials] if provider.api_key is None else "api_key"


def _files(provider: ProviderConfig) -> list[tuple[str, str]]:
    """Return the settings that name a file with credentials, and the file."""
    settings = {"token_file": provider.token_file, "credentials_file": provider.credentials_file}
    return [(setting, file) for setting, file in settings.items() if file is not None]


def _allowed(names: Iterable[str] | None) -> str:
    return "all" if names is None else ", ".join(names)


def _default(config: Config, key: KeyConfig) -> str:
    usable = key.providers or tuple(config.providers)
    for name in (key.default_provider, config.default_provider):
        if name is not None and name in usable:
            return name
    return usable[0] if len(usable) == 1 else "-"
