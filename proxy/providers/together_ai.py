"""Together AI: create only; nothing is kept."""

from proxy.providers.base import STATELESS, Kind

KIND = Kind(
    name="together-ai",
    otel_name="together_ai",
    title="Together AI",
    base_url="https://api.together.ai/v1",
    environment={"api_key": "TOGETHER_API_KEY"},
    operations=STATELESS,
)
