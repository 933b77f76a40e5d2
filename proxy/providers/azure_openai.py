"""Azure OpenAI's v1 surface: an `api-key` header or an Entra token; the model is a deployment's name.

Without a key and a token file, the token is that of the identity the environment has.
"""

from collections.abc import Callable

from proxy.config import ProviderConfig
from proxy.providers.base import Headers, Kind, bearer


def authenticate(config: ProviderConfig) -> Callable[[], Headers]:
    """Send the resource key as `api-key`; a token file holds an Entra token, sent as a bearer."""
    if config.token_file is not None or config.api_key is None:
        return bearer(config)
    fixed = [("api-key", config.api_key.reveal())]
    return lambda: fixed


def derive_base_url(endpoint: str) -> str:
    """Turn `https://res.openai.azure.com` into the v1 surface's base URL."""
    base = endpoint.rstrip("/")
    return base if base.endswith("/openai/v1") else f"{base.removesuffix('/openai')}/openai/v1"


KIND = Kind(
    name="azure-openai",
    otel_name="azure.ai.openai",
    title="Azure OpenAI",
    base_url=None,
    environment={"api_key": "AZURE_OPENAI_API_KEY", "base_url": "AZURE_OPENAI_ENDPOINT"},
    required=("api_key", "base_url"),
    authenticate=authenticate,
    derive_base_url=derive_base_url,
    credentials="entra",
)
