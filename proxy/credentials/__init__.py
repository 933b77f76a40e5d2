"""Chooses what a provider's requests authenticate with, by its kind's scheme and what is configured."""

import importlib.util
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from proxy.config import Config, ProviderConfig
from proxy.configfile import ConfigError, Mistake, dotted
from proxy.credentials.base import Clock, Credentials, Report
from proxy.providers.base import Headers, Kind

__all__ = ["Credentials", "Fixed", "Report", "missing_extra", "open_credentials", "require_extras"]


class Fixed:
    """What the configuration itself holds: a key, or a file that something else keeps fresh."""

    def __init__(self, authenticate: Callable[[], Headers]) -> None:
        self._authenticate = authenticate

    async def headers(self, method: str, url: str, headers: Headers, body: bytes) -> Headers:  # noqa: ARG002
        """Return the same for every request."""
        return self._authenticate()

    async def close(self) -> None:
        """Do nothing: nothing is open."""


def _open_aws(config: ProviderConfig, clock: Clock, report: Report) -> Credentials:
    from proxy.credentials.aws import Signature  # noqa: PLC0415 - an extra

    return Signature(config, clock, report)


def _open_google(config: ProviderConfig, clock: Clock, report: Report) -> Credentials:
    from proxy.credentials.google import GoogleToken  # noqa: PLC0415 - an extra

    return GoogleToken(config, clock, report)


def _open_entra(config: ProviderConfig, clock: Clock, report: Report) -> Credentials:
    from proxy.credentials.entra import EntraToken  # noqa: PLC0415 - an extra

    return EntraToken(config, clock, report)


class Scheme(NamedTuple):
    """How to open one scheme, and the extra that brings its libraries."""

    open: Callable[[ProviderConfig, Clock, Report], Credentials]
    extra: str


SCHEMES: Mapping[str, Scheme] = {
    "aws": Scheme(_open_aws, "bedrock"),
    "google": Scheme(_open_google, "vertex"),
    "entra": Scheme(_open_entra, "azure"),
}
EXTRAS: Mapping[str, Mapping[str, str]] = {
    "azure": {"azure-identity": "azure.identity"},
    "bedrock": {"botocore": "botocore"},
    "vertex": {"google-auth": "google.auth", "requests": "requests"},
}
"""The libraries each extra brings, with the module each of them is."""


def _ignore(_message: str) -> None:
    pass


def open_credentials(
    kind: Kind, config: ProviderConfig, *, clock: Clock = time.time, report: Report = _ignore
) -> Credentials:
    """Return what a provider's requests authenticate with; nothing is read or asked for before the first of them.

    A configured key or token goes before the kind's scheme. `report` is told why credentials could not be obtained
    or renewed. Raises ImportError where `missing_extra` has something to say.
    """
    scheme = _scheme(kind, config)
    return Fixed(kind.authenticate(config)) if scheme is None else scheme.open(config, clock, report)


def require_extras(config: Config, kinds: Mapping[str, Kind]) -> None:
    """Raise ConfigError where a provider's libraries are not installed."""
    found = ((name, missing_extra(kinds[one.kind], one)) for name, one in config.providers.items())
    mistakes = [Mistake(dotted(("providers", name, "kind")), missing) for name, missing in found if missing is not None]
    if mistakes:
        raise ConfigError(mistakes)


def missing_extra(kind: Kind, config: ProviderConfig) -> str | None:
    """Say which libraries a provider cannot do without and how to install them, None where they are all here."""
    scheme = _scheme(kind, config)
    extra = kind.extra or (scheme.extra if scheme is not None else "")
    missing = [name for name, module in EXTRAS.get(extra, {}).items() if not _installed(module)]
    if not missing:
        return None
    avoidable = kind.extra is None and "api_key" in kind.required
    way = " where it has no api_key and no token_file" if avoidable else ""
    return f"kind {kind.name} needs {' and '.join(missing)}{way}: pip install 'responses-proxy[{extra}]'"


def _scheme(kind: Kind, config: ProviderConfig) -> Scheme | None:
    if config.api_key is not None or config.token_file is not None:
        return None
    return SCHEMES.get(kind.credentials)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
