"""Vertex AI: Google's models in a project and location, or by an API key alone (express mode)."""

from collections.abc import Callable, Mapping
from typing import Final

from proxy.config import ProviderConfig
from proxy.dialects.anthropic_messages import anthropic_messages
from proxy.dialects.anthropic_messages import vertex_profile as claude_profile
from proxy.dialects.base import Dialect
from proxy.dialects.gemini_generate_content import gemini_generate_content, vertex_profile
from proxy.providers.base import STATELESS, ForModel, Headers, Kind, ModelList, bearer

GLOBAL: Final = "global"
_MULTI_REGIONS: Final = frozenset({"us", "eu"})


def authenticate(config: ProviderConfig) -> Callable[[], Headers]:
    """Send an API key as `x-goog-api-key`; without one, a token file holds an OAuth token, sent as a bearer."""
    if config.api_key is None:
        return bearer(config)
    fixed = [("x-goog-api-key", config.api_key.reveal())]
    return lambda: fixed


def locate(config: ProviderConfig, _template: str | None) -> str:
    """Return the address of the location; a key without a project is for the global one."""
    if config.base_url is not None:
        return config.base_url
    location = location_of(config)
    if location == GLOBAL or (config.api_key is not None and config.project is None):
        return "https://aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def location_of(config: ProviderConfig) -> str:
    """Return the location, the global one where none is configured."""
    return config.location or GLOBAL


def _claude(config: ProviderConfig) -> Dialect:
    profile = claude_profile(config.project or "", location_of(config), config.beta, config.max_tokens)
    return anthropic_messages(profile)


_PARTNERS: Final[Mapping[str, Callable[[ProviderConfig], Dialect]]] = {
    "claude": _claude,
    "anthropic/": _claude,
    "publishers/anthropic/": _claude,
}
"""Dialects of models that are not Google's, by how their names begin."""


def dialect(config: ProviderConfig) -> ForModel:
    """Choose the dialect by the model's publisher, which its name begins with."""
    google = gemini_generate_content(vertex_profile(config.project, location_of(config)))
    partners = {prefix: make(config) for prefix, make in _PARTNERS.items()}
    return lambda model: next((spoken for prefix, spoken in partners.items() if model.startswith(prefix)), google)


KIND = Kind(
    name="vertex",
    otel_name="gcp.vertex_ai",
    title="Google Vertex AI",
    base_url="https://{location}-aiplatform.googleapis.com",
    environment={"project": "GOOGLE_CLOUD_PROJECT", "location": "GOOGLE_CLOUD_LOCATION"},
    operations=STATELESS | {"input_tokens"},
    required=("project", "location"),
    needs=("project",),
    key_suffices=True,
    authenticate=authenticate,
    locate=locate,
    own_headers=lambda _config: [],
    dialect=dialect,
    settings=frozenset({"beta", "credentials_file", "location", "max_tokens", "project"}),
    credentials="google",
    models=ModelList("/v1beta1/publishers/google/models", "publisherModels", "name", "publishers/google/models/"),
)
