"""Mistral: create and token counting; nothing is kept."""

import re
from hashlib import blake2b

from proxy.dialects.chat_completions import Media, Profile
from proxy.providers.base import STATELESS, Kind, always, chat

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")


def fit_call_id(call_id: str) -> str:
    """Return the id where it is nine letters and digits, which is all there may be, or nine drawn from it."""
    if _CALL_ID.fullmatch(call_id):
        return call_id
    digest = blake2b(call_id.encode("utf-8", "replace"), digest_size=9).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest)


PROFILE = Profile(
    max_tokens="max_tokens",
    settings=frozenset({"metadata", "parallel_tool_calls", "prompt_cache_key", "temperature", "top_p"}),
    # The usage comes anyway, and what it does not know it refuses.
    asks_for_usage=False,
    media=Media(files=True, file_urls=True, document="document_url", in_tools=True),
    call_id=fit_call_id,
)

KIND = Kind(
    name="mistral",
    otel_name="mistral_ai",
    title="Mistral",
    base_url="https://api.mistral.ai/v1",
    environment={"api_key": "MISTRAL_API_KEY"},
    operations=STATELESS | {"input_tokens"},
    dialect=chat(PROFILE, natively=always),
    settings=frozenset({"api", "path"}),
)
