"""Groq: create only; nothing is kept."""

from proxy.providers.base import STATELESS, Kind

KIND = Kind(
    name="groq",
    otel_name="groq",
    title="Groq",
    base_url="https://api.groq.com/openai/v1",
    environment={"api_key": "GROQ_API_KEY"},
    operations=STATELESS,
)
