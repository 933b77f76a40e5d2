"""The faces, by dialect."""

from collections.abc import Mapping

from tests.rig.faces import (
    anthropic_messages,
    bedrock_converse,
    chat_completions,
    cohere_chat,
    gemini_generate_content,
)
from tests.rig.faces.base import Face

FACES: Mapping[str, Face] = {
    "chat_completions": chat_completions.FACE,
    "anthropic_messages": anthropic_messages.FACE,
    "bedrock_converse": bedrock_converse.FACE,
    "cohere_chat": cohere_chat.FACE,
    "gemini_generate_content": gemini_generate_content.FACE,
}
