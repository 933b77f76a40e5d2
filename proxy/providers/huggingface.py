"""Hugging Face's router of inference providers: chat completions, the Responses API as a trial; nothing is kept."""

from proxy.dialects.chat_completions import Profile, efforts
from proxy.providers.base import STATELESS, Kind, chat

PROFILE = Profile(
    max_tokens="max_tokens",
    settings=frozenset({"temperature", "top_logprobs", "top_p"}),
    effort=efforts("none", "minimal", "low", "medium", "high", "xhigh"),
)

KIND = Kind(
    name="huggingface",
    otel_name="huggingface",
    title="Hugging Face",
    base_url="https://router.huggingface.co/v1",
    environment={"api_key": "HF_TOKEN"},
    operations=STATELESS,
    dialect=chat(PROFILE),
    settings=frozenset({"api", "path"}),
)
