"""The shelf of providers: one small file per kind, listed here."""

from collections.abc import Mapping

from proxy.providers import (
    azure_openai,
    bedrock_openai,
    groq,
    mistral,
    openai,
    openai_compatible,
    openrouter,
    sandbox,
    together_ai,
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
        openai_compatible.KIND,
        sandbox.KIND,
    )
}
