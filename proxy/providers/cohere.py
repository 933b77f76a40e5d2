"""Cohere: its own chat API; nothing is kept."""

from collections.abc import Callable

from proxy.config import ProviderConfig
from proxy.dialects.base import Dialect
from proxy.dialects.cohere_chat import Profile, cohere_chat
from proxy.providers.base import STATELESS, Kind, ModelList

_DIALECT = cohere_chat(Profile())


def speak(_config: ProviderConfig) -> Callable[[str], Dialect | None]:
    """Speak Cohere's chat, whatever the model."""
    return lambda _model: _DIALECT


def derive_base_url(url: str) -> str:
    """Cut off the version, as Cohere's SDK does."""
    return url.rstrip("/").removesuffix("/v1").removesuffix("/v2")


KIND = Kind(
    name="cohere",
    otel_name="cohere",
    title="Cohere",
    base_url="https://api.cohere.com",
    environment={"api_key": "CO_API_KEY", "base_url": "CO_API_URL"},
    operations=STATELESS,
    derive_base_url=derive_base_url,
    dialect=speak,
    settings=frozenset(),
    models=ModelList(path="/v1/models?page_size=1000&endpoint=chat", list="models", name="name"),
)
