"""The shelf of providers: one small file per kind, listed here."""

from collections.abc import Mapping

from proxy.providers import (
    anthropic,
    azure_openai,
    bedrock,
    bedrock_openai,
    cerebras,
    cohere,
    deepinfra,
    deepseek,
    gemini,
    groq,
    huggingface,
    mistral,
    openai,
    openai_chat_compatible,
    openai_compatible,
    openrouter,
    sandbox,
    together_ai,
    vertex,
    xai,
)
from proxy.providers.base import Kind

REGISTRY: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        openai.KIND,
        azure_openai.KIND,
        xai.KIND,
        groq.KIND,
        together_ai.KIND,
        openrouter.KIND,
        mistral.KIND,
        bedrock_openai.KIND,
        cerebras.KIND,
        deepinfra.KIND,
        deepseek.KIND,
        huggingface.KIND,
        openai_chat_compatible.KIND,
        anthropic.KIND,
        bedrock.KIND,
        cohere.KIND,
        gemini.KIND,
        vertex.KIND,
        openai_compatible.KIND,
        sandbox.KIND,
    )
}
