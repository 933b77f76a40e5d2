"""DeepSeek: chat completions; nothing is kept. It reads text only."""

from proxy.dialects.chat_completions import Media, Profile, efforts
from proxy.providers.base import STATELESS, Kind, chat

PROFILE = Profile(
    max_tokens="max_tokens",
    settings=frozenset({"parallel_tool_calls", "temperature", "top_logprobs", "top_p"}),
    formats=frozenset({"json_object"}),
    effort={**efforts("low", "medium", "high", "xhigh", "max"), "none": {"thinking": {"type": "disabled"}}},
    media=Media(images=False),
)

KIND = Kind(
    name="deepseek",
    otel_name="deepseek",
    title="DeepSeek",
    base_url="https://api.deepseek.com",
    environment={"api_key": "DEEPSEEK_API_KEY"},
    operations=STATELESS,
    dialect=chat(PROFILE),
    settings=frozenset({"path"}),
)
