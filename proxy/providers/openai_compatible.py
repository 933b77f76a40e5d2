"""Any server that speaks the Responses API: vLLM, Ollama, llama.cpp, LM Studio, a replay server, another gateway."""

from proxy.providers.base import Kind

KIND = Kind(
    name="openai-compatible",
    otel_name="openai",
    title="OpenAI-compatible server",
    base_url=None,
    environment={},
    required=(),
)
