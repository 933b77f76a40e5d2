"""Gemini's own API (Google AI Studio), with an API key."""

from collections.abc import Callable

from proxy.config import ProviderConfig
from proxy.dialects.gemini_generate_content import gemini_generate_content, gemini_profile
from proxy.providers.base import STATELESS, ForModel, Headers, Kind, ModelList, bearer


def authenticate(config: ProviderConfig) -> Callable[[], Headers]:
    """Send the key as `x-goog-api-key`; a token file holds an OAuth token, sent as a bearer."""
    if config.api_key is None:
        return bearer(config)
    fixed = [("x-goog-api-key", config.api_key.reveal())]
    return lambda: fixed


def dialect(_config: ProviderConfig) -> ForModel:
    """Speak generateContent, whatever the model."""
    spoken = gemini_generate_content(gemini_profile())
    return lambda _model: spoken


KIND = Kind(
    name="gemini",
    otel_name="gcp.gemini",
    title="Google Gemini",
    base_url="https://generativelanguage.googleapis.com",
    environment={"api_key": "GEMINI_API_KEY"},
    operations=STATELESS | {"input_tokens"},
    authenticate=authenticate,
    own_headers=lambda _config: [],
    dialect=dialect,
    settings=frozenset(),
    models=ModelList("/v1beta/models?pageSize=1000", "models", "name", "models/"),
)
