"""Amazon Bedrock by Converse: requests signed from AWS's standard credential chain, or a bearer API key."""

from proxy.config import ProviderConfig
from proxy.dialects.base import Dialect
from proxy.dialects.bedrock_converse import bedrock_converse, load_decoder, profile_of
from proxy.providers.base import STATELESS, ForModel, Kind


def dialect(_config: ProviderConfig) -> ForModel:
    """Speak Converse as the family of the model does."""
    load_decoder()

    def choose(model: str) -> Dialect:
        return bedrock_converse(profile_of(model))

    return choose


KIND = Kind(
    name="bedrock",
    otel_name="aws.bedrock",
    title="Bedrock",
    base_url="https://bedrock-runtime.{region}.amazonaws.com",
    environment={"api_key": "AWS_BEARER_TOKEN_BEDROCK", "profile": "AWS_PROFILE", "region": "AWS_REGION"},
    operations=STATELESS | {"input_tokens"},
    required=("region",),
    evidence=(
        "AWS_ACCESS_KEY_ID",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ),
    needs=("region",),
    dialect=dialect,
    settings=frozenset({"region", "profile", "role_arn"}),
    credentials="aws",
    extra="bedrock",
    models=None,
)
