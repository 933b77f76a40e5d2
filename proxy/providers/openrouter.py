"""OpenRouter: create only; its streams end with `[DONE]` and carry no `event:` lines."""

from proxy.providers.base import STATELESS, Kind

KIND = Kind(
    name="openrouter",
    otel_name="openrouter",
    title="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    environment={"api_key": "OPENROUTER_API_KEY"},
    operations=STATELESS,
)
