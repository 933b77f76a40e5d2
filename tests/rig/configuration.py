"""Configuration files in tests: every section there is, a provider to begin with, and what is wrong with a text."""

from collections.abc import Mapping

import pytest

from proxy.config import (
    ArchiveConfig,
    BindingsConfig,
    Config,
    FetchConfig,
    KeyConfig,
    Limits,
    ProviderConfig,
    RedisConfig,
    ServerConfig,
    Timeouts,
)
from proxy.configfile import ConfigError
from proxy.configload import parse_config
from proxy.providers import REGISTRY

SECTIONS = (
    ServerConfig,
    RedisConfig,
    KeyConfig,
    Timeouts,
    ProviderConfig,
    BindingsConfig,
    ArchiveConfig,
    FetchConfig,
    Limits,
    Config,
)
PROVIDER = "providers: {p: {kind: openai, api_key: x}}\n"


def parse(text: str, **environment: str) -> Config:
    """Read a file's text."""
    return parse_config(text, environment=environment, kinds=REGISTRY)


def mistakes(text: str, **environment: str) -> Mapping[str, str]:
    """Return what is wrong with a file's text, by setting."""
    with pytest.raises(ConfigError) as caught:
        parse(text, **environment)
    return dict(caught.value.mistakes)
