"""OpenRouter: create only; its streams end with `[DONE]` and carry no `event:` lines."""

from proxy.dialects.chat_completions import EVERY_EFFORT, Hosted, Media, Profile, same
from proxy.providers.base import STATELESS, Kind, always, chat

WEB_SEARCH = Hosted(
    "openrouter:web_search",
    {
        "filters.allowed_domains": "allowed_domains",
        "filters.blocked_domains": "excluded_domains",
        "search_context_size": "search_context_size",
        "user_location": "user_location",
    },
)
SPELLINGS = ("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11")
PROFILE = Profile(
    settings=frozenset(
        {
            "metadata",
            "parallel_tool_calls",
            "prompt_cache_key",
            "prompt_cache_options",
            "temperature",
            "top_logprobs",
            "top_p",
            "user",
        },
    ),
    effort={effort: {"reasoning": {"effort": effort}} for effort in EVERY_EFFORT},
    tiers=same("auto", "default", "fast", "flex", "priority", "scale"),
    hosted=dict.fromkeys(SPELLINGS, WEB_SEARCH),
    media=Media(developer=True, audio=True, files=True, file_urls=True, in_tools=True),
)

KIND = Kind(
    name="openrouter",
    otel_name="openrouter",
    title="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    environment={"api_key": "OPENROUTER_API_KEY"},
    operations=STATELESS,
    dialect=chat(PROFILE, natively=always),
    settings=frozenset({"api", "path"}),
    proof="/key",
)
