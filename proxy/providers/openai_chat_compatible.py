"""Any server that speaks chat completions: vLLM, Ollama, llama.cpp, LM Studio, a provider without a kind of its own."""

from proxy.dialects.chat_completions import Media, Profile
from proxy.providers.base import STATELESS, Kind, chat

PROFILE = Profile(max_tokens="max_tokens", media=Media(audio=True, files=True))

KIND = Kind(
    name="openai-chat-compatible",
    otel_name="openai",
    title="OpenAI-compatible chat server",
    base_url=None,
    environment={},
    operations=STATELESS,
    required=(),
    dialect=chat(PROFILE),
    settings=frozenset({"path"}),
)
