"""Mistral: create and token counting; nothing is kept."""

from proxy.providers.base import STATELESS, Kind

KIND = Kind(
    name="mistral",
    otel_name="mistral_ai",
    title="Mistral",
    base_url="https://api.mistral.ai/v1",
    environment={"api_key": "MISTRAL_API_KEY"},
    operations=STATELESS | {"input_tokens"},
)
