"""Which credentials every user of this machine can read: in the configuration file, or in the files that it names."""

import stat
from collections.abc import Iterator
from pathlib import Path

from proxy.config import Config
from proxy.configfile import Document, dotted
from proxy.doubts import credential_files
from proxy.redisurl import parse_redis_url

_TELLING = ("auth", "cookie", "key", "secret", "token")
"""Parts of the names of headers that carry credentials."""


def find_exposed(path: Path | None, document: Document | None, config: Config) -> Iterator[str]:
    """Name every file that is open to everyone and holds a credential.

    Without a file of its own the configuration comes from the environment.
    """
    if path is not None and document is not None:
        yield from _exposed_text(path, document)
        credentials = frozenset(_find_credentials(document.data))
        yield from _exposed_files((key, file) for key, file in document.files if key in credentials)
    yield from _exposed_files(_named_files(config))


def readable_by_all(path: Path) -> bool:
    """Tell whether every user of this machine can read a file: its own mode, and the way to it, allow it."""
    try:
        real = path.resolve(strict=True)
        modes = [parent.stat().st_mode for parent in real.parents]
        return bool(real.stat().st_mode & stat.S_IROTH) and all(mode & stat.S_IXOTH for mode in modes)
    except OSError:
        return False


def _exposed_text(path: Path, document: Document) -> Iterator[str]:
    literal = [key for key in _find_credentials(document.data) if key not in document.references]
    if literal and readable_by_all(path):
        yield (
            f"{path} can be read by every user of this machine and holds {', '.join(literal)}: "
            "write ${NAME} or ${file:/path} instead, or chmod 600"
        )


def _exposed_files(named: Iterator[tuple[str, str]]) -> Iterator[str]:
    for key, file in named:
        if readable_by_all(Path(file)):
            yield f"{key}: {file} can be read by every user of this machine: chmod 600"


def _named_files(config: Config) -> Iterator[tuple[str, str]]:
    for name, provider in config.providers.items():
        for setting, file in credential_files(provider):
            yield dotted(("providers", name, setting)), file
    if config.redis.url is not None:
        options = dict(parse_redis_url(config.redis.url.reveal()).options)
        if "ssl_keyfile" in options:
            yield "redis.url", options["ssl_keyfile"]


def _find_credentials(data: dict[str, object]) -> Iterator[str]:
    redis, keys, providers = data.get("redis"), data.get("keys"), data.get("providers")
    if isinstance(redis, dict) and any(sign in str(redis.get("url")) for sign in ("@", "password=")):
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
