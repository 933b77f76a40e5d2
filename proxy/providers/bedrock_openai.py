"""Bedrock's OpenAI-compatible Responses endpoints, with a bearer API key."""

from proxy.providers.base import STATEFUL, Kind


def derive_base_url(region: str) -> str:
    """Turn a region, which is all the environment names, into the runtime endpoint's base URL."""
    return f"https://bedrock-runtime.{region}.amazonaws.com/openai/v1"


KIND = Kind(
    name="bedrock-openai",
    otel_name="aws.bedrock",
    title="Bedrock (OpenAI-compatible)",
    base_url=None,
    environment={"api_key": "AWS_BEARER_TOKEN_BEDROCK", "base_url": "AWS_REGION"},
    operations=STATEFUL | {"input_tokens"},
    required=("api_key", "base_url"),
    derive_base_url=derive_base_url,
)
