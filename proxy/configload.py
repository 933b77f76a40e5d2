"""Reads a configuration, from a file or from the environment alone, and tells every mistake in an operator's words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.config import (
    ArchiveConfig,
    BindingsConfig,
    Config,
    FetchConfig,
    KeyConfig,
    Limits,
    ProviderConfig,
    RedisConfig,
    Section,
    ServerConfig,
    Timeouts,
)
from proxy.configfile import ConfigError, Document, Location, Mistake, dotted, read_document
from proxy.consistency import Kinds, find_inconsistencies, suggest


def parse_config(
    text: str, *, environment: Mapping[str, str], kinds: Kinds, server: Mapping[str, str] | None = None
) -> Config:
    """Read a configuration file's text; settings in `server` win over the file's.

    Raises ConfigError with every mistake there is.
    """
    return _build(read_document(text, environment), kinds, server)


def default_config(environment: Mapping[str, str], kinds: Kinds, *, server: Mapping[str, str] | None = None) -> Config:
    """Configure, without a file, each kind whose settings the environment holds, under the kind's own name.

    Raises ConfigError; its mistakes name environment variables.
    """
    found = {name: kind.find(environment) for name, kind in kinds.items()}
    providers = {name: {"kind": name, **settings} for name, settings in found.items() if settings is not None}
    variables = {
        dotted(("providers", name, field)): kinds[name].environment[field]
        for name, settings in found.items()
        for field in settings or ()
    }
    data: dict[str, Any] = {"providers": providers}
    if environment.get("REDIS_URL"):
        data["redis"] = {"url": environment["REDIS_URL"]}
        variables["redis.url"] = "REDIS_URL"
    try:
        return _build(Document(data, frozenset(variables), ()), kinds, server)
    except ConfigError as error:
        mistakes = [Mistake(variables.get(key, key), message) for key, message in error.mistakes]
    raise ConfigError(mistakes)


def load_config(
    path: Path | None,
    *,
    environment: Mapping[str, str],
    kinds: Kinds,
    server: Mapping[str, str] | None = None,
) -> Config:
    """Read the file, or the environment alone where there is none; settings in `server` win over both.

    Raises ConfigError with every mistake there is.
    """
    if path is None:
        return default_config(environment, kinds, server=server)
    return parse_config(read_file(path), environment=environment, kinds=kinds, server=server)


def read_file(path: Path) -> str:
    """Return a configuration file's text. Raises ConfigError where there is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        message = "no such file; leave --config out to configure providers from the environment"
    except IsADirectoryError:
        message = "is a directory: name the file in it"
    except UnicodeDecodeError:
        message = "is not UTF-8 text"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    raise ConfigError([Mistake(str(path), message)])


def _build(document: Document, kinds: Kinds, server: Mapping[str, str] | None) -> Config:
    """Type a document; every mistake of notation, type and consistency is raised at once."""
    data = {name: value for name, value in document.data.items() if value is not None}
    if server:
        data["server"] = {**data["server"], **server} if isinstance(data.get("server"), dict) else dict(server)
    document = document._replace(data=data)
    config, mistakes = _validate(data)
    mistakes += find_inconsistencies(document, kinds)
    unread = {mistake.key for mistake in document.mistakes}
    mistakes = [*document.mistakes, *(mistake for mistake in mistakes if mistake.key not in unread)]
    if config is None or mistakes:
        raise ConfigError(sorted(mistakes))
    return config


def _validate(data: dict[str, Any]) -> tuple[Config | None, list[Mistake]]:
    try:
        return Config.model_validate(data), []
    except ValidationError as error:
        return None, [_explain(details) for details in error.errors(include_url=False, include_input=False)]


def _explain(details: ErrorDetails) -> Mistake:
    """Say what is wrong in an operator's words, without the value."""
    location = tuple(part for part in details["loc"] if part != "[key]")
    key = dotted(location)
    match details["type"]:
        case "extra_forbidden":
            return Mistake(key, f"unknown setting{suggest(str(location[-1]), _settings_at(location))}")
        case "value_error":
            return Mistake(key, str(details["ctx"]["error"]))
        case kind:
            return Mistake(key, _PLAIN_WORDS.get(kind) or details["msg"].replace("Input should", "should"))


_PLAIN_WORDS = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}

_SECTIONS: dict[str, type[Section]] = {
    "server": ServerConfig,
    "redis": RedisConfig,
    "keys": KeyConfig,
    "providers": ProviderConfig,
    "bindings": BindingsConfig,
    "archive": ArchiveConfig,
    "limits": Limits,
    "fetch": FetchConfig,
}


def _settings_at(location: Location) -> list[str]:
    """Return the settings that may stand where an unknown one was found."""
    if len(location) == 1:
        return list(Config.model_fields)
    section = Timeouts if location[-2] == "timeouts" else _SECTIONS[str(location[0])]
    return list(section.model_fields)
