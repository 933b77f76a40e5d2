"""Together AI: create only; nothing is kept. It serves few models by the Responses API, the others by chat."""

from proxy.dialects.chat_completions import Profile, efforts
from proxy.providers.base import STATELESS, Kind, chat

NATIVE = frozenset({"zai-org/GLM-5.3"})
"""Models served by the Responses API, as far as https://docs.together.ai/docs/inference/responses-api shows them.

Others accept such requests, it says, "but they aren't supported and may return malformed output".
"""
PROFILE = Profile(
    max_tokens="max_tokens",
    settings=frozenset({"temperature", "top_p"}),
    effort={**efforts("low", "medium", "high"), "none": {"reasoning": {"enabled": False}}},
    # The usage comes anyway.
    asks_for_usage=False,
)

KIND = Kind(
    name="together-ai",
    otel_name="together_ai",
    title="Together AI",
    base_url="https://api.together.ai/v1",
    environment={"api_key": "TOGETHER_API_KEY"},
    operations=STATELESS,
    dialect=chat(PROFILE, natively=NATIVE.__contains__),
    settings=frozenset({"api", "path"}),
)
