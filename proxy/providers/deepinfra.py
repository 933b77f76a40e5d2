"""DeepInfra: chat completions only; nothing is kept."""

from proxy.dialects.chat_completions import Profile, efforts, same
from proxy.providers.base import STATELESS, Kind, chat

PROFILE = Profile(
    max_tokens="max_tokens",
    settings=frozenset({"prompt_cache_key", "temperature", "top_p", "user"}),
    # Its table of features has no call that is required, or named.
    choices=frozenset({"none"}),
    effort=efforts("none", "low", "medium", "high"),
    tiers=same("flex", "priority"),
    strict_tools=False,
)

KIND = Kind(
    name="deepinfra",
    otel_name="deepinfra",
    title="DeepInfra",
    base_url="https://api.deepinfra.com/v1/openai",
    environment={"api_key": "DEEPINFRA_API_KEY"},
    operations=STATELESS,
    dialect=chat(PROFILE),
    settings=frozenset({"path"}),
)
