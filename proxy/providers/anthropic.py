"""Anthropic: create and token counting, in its own format; nothing is kept."""

from collections.abc import Callable

from proxy.config import ProviderConfig
from proxy.dialects.anthropic_messages import anthropic_messages, anthropic_profile
from proxy.providers.base import STATELESS, ForModel, Headers, Kind, ModelList, bearer

VERSION = "2023-06-01"
"""The version of the API asked for unless another is configured. What the next one, 2026-10-21, changes for this use
is that it refuses temperature and top_p, which models up to 4.6 still take in this."""


def version_header(config: ProviderConfig) -> Headers:
    """Name the version of the API, without which nothing is answered."""
    return [("anthropic-version", config.version or VERSION)]


def authenticate(config: ProviderConfig) -> Callable[[], Headers]:
    """Authenticate with `x-api-key`, or with the bearer token of a file."""
    if config.token_file is not None or config.api_key is None:
        return bearer(config)
    fixed = [("x-api-key", config.api_key.reveal())]
    return lambda: fixed


def dialect(config: ProviderConfig) -> ForModel:
    """Speak the Messages API, whatever the model."""
    spoken = anthropic_messages(anthropic_profile(config.version or VERSION, config.beta, config.max_tokens))
    return lambda _model: spoken


KIND = Kind(
    name="anthropic",
    otel_name="anthropic",
    title="Anthropic",
    base_url="https://api.anthropic.com",
    environment={"api_key": "ANTHROPIC_API_KEY", "base_url": "ANTHROPIC_BASE_URL"},
    operations=STATELESS | {"input_tokens"},
    authenticate=authenticate,
    own_headers=version_header,
    dialect=dialect,
    settings=frozenset({"version", "beta", "max_tokens"}),
    models=ModelList("/v1/models?limit=1000"),
)
