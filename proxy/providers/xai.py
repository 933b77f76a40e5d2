"""xAI: keeps responses for 30 days under bare UUID ids; its errors are `{"code", "error": "text"}` or OpenAI's."""

from proxy.providers.base import STATEFUL, Kind

KIND = Kind(
    name="xai",
    otel_name="x_ai",
    title="xAI",
    base_url="https://api.x.ai/v1",
    environment={"api_key": "XAI_API_KEY"},
    operations=STATEFUL,
)
