"""OpenAI itself: the whole API."""

from proxy.providers.base import Kind

KIND = Kind(
    name="openai",
    otel_name="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    environment={
        "api_key": "OPENAI_API_KEY",
        "base_url": "OPENAI_BASE_URL",
        "organization": "OPENAI_ORG_ID",
        "project": "OPENAI_PROJECT_ID",
    },
)
