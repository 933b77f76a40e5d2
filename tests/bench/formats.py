"""Streams as the providers write them, event by event the members of recorded ones; each delta carries one word."""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

DELTAS = 2000
"""Deltas that differ from each other as a provider's do; then they come again."""
WORD = b" word"
MESSAGE_ID = "0a1b4ea7-8c4b-4c84-b06a-fd6a2f5f18fd"


class Format(NamedTuple):
    """One provider's stream: what comes before the deltas, the delta of a number, what comes after the last.

    `kind` is configured with `base` behind the upstream's address; `asked` ends the path of a request for a stream.
    """

    kind: str
    base: str
    asked: bytes
    content_type: bytes
    opening: bytes
    delta: Callable[[int], bytes]
    closing: bytes
    settings: str = ""
    """What else is configured."""


def chat_chunk(choices: bytes, usage: bytes = b"null") -> bytes:
    """Write a chunk of a chat completion as OpenAI does when asked for usage."""
    return (
        b'data: {"id":"chatcmpl-DcaUg6tKQGwQiagiWuz68swFulF7e","object":"chat.completion.chunk","created":1778089118,'
        b'"model":"bench","service_tier":"default","system_fingerprint":null,"choices":[%b],"usage":%b,'
        b'"obfuscation":"t9eh2YA"}\n\n' % (choices, usage)
    )


def chat_choice(delta: bytes, reason: bytes = b"null") -> bytes:
    """Write a chunk with the one choice."""
    return chat_chunk(b'{"index":0,"delta":%b,"finish_reason":%b}' % (delta, reason))


CHAT_USAGE = (
    b'{"prompt_tokens":36,"completion_tokens":87,"total_tokens":123,"prompt_tokens_details":{"cached_tokens":0,'
    b'"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
    b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'
)
CHAT = Format(
    kind="openai-chat-compatible",
    base="/v1",
    asked=b"/chat/completions",
    content_type=b"text/event-stream; charset=utf-8",
    opening=chat_choice(b'{"role":"assistant","content":"","refusal":null}'),
    delta=lambda _number: chat_choice(b'{"content":"%b"}' % WORD),
    closing=chat_choice(b"{}", b'"stop"') + chat_chunk(b"", CHAT_USAGE) + b"data: [DONE]\n\n",
)


def named(event: bytes, members: bytes) -> bytes:
    """Write an event that bears its type as its name too."""
    return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (event, event, members)


def anthropic_delta(number: int) -> bytes:
    """Write a delta, blanks of a changing number before its last brace."""
    delta = b',"index":0,"delta":{"type":"text_delta","text":"%b"}' % WORD
    return named(b"content_block_delta", delta + b" " * (4 + number % 12))


ANTHROPIC = Format(
    kind="anthropic",
    base="",
    asked=b"/messages",
    content_type=b"text/event-stream; charset=utf-8",
    opening=named(
        b"message_start",
        b',"message":{"model":"bench","id":"msg_011CeCGmhWyMqVM1fWyYYKrQ","type":"message","role":"assistant",'
        b'"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":36,'
        b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1,"service_tier":"standard"}}',
    )
    + named(b"content_block_start", b',"index":0,"content_block":{"type":"text","text":""}')
    + b'event: ping\ndata: {"type": "ping"}\n\n',
    delta=anthropic_delta,
    closing=named(b"content_block_stop", b',"index":0')
    + named(
        b"message_delta",
        b',"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":36,'
        b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":87}',
    )
    + named(b"message_stop", b""),
)


def gemini_chunk(number: int, text: bytes, reason: bytes = b"") -> bytes:
    """Write a chunk as Google does: the usage so far in each, line ends of two bytes."""
    return (
        b'data: {"candidates": [{"content": {"parts": [{"text": "%b"}],"role": "model"}%b,"index": 0}],'
        b'"usageMetadata": {"promptTokenCount": 36,"candidatesTokenCount": %d,"totalTokenCount": %d,'
        b'"promptTokensDetails": [{"modality": "TEXT","tokenCount": 36}]},"modelVersion": "bench",'
        b'"responseId": "J3dHapyWENS3g8UPyrefuAE"}'
        b"\r\n\r\n" % (text, reason, number, 36 + number)
    )


GEMINI = Format(
    kind="gemini",
    base="",
    asked=b":streamGenerateContent",
    content_type=b"text/event-stream",
    opening=gemini_chunk(1, WORD),
    delta=lambda number: gemini_chunk(number + 1, WORD),
    closing=gemini_chunk(DELTAS, WORD, b',"finishReason": "STOP"'),
)

COHERE = Format(
    kind="cohere",
    base="",
    asked=b"/v2/chat",
    content_type=b"text/event-stream",
    opening=b'event: message-start\ndata: {"id":"%b","type":"message-start","delta":{"message":{"role":"assistant",'
    b'"content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}\n\n'
    % MESSAGE_ID.encode()
    + named(b"content-start", b',"index":0,"delta":{"message":{"content":{"type":"text","text":""}}}'),
    delta=lambda _number: named(b"content-delta", b',"index":0,"delta":{"message":{"content":{"text":"%b"}}}' % WORD),
    closing=named(b"content-end", b',"index":0')
    + named(
        b"message-end",
        b',"delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":12,"output_tokens":87},'
        b'"tokens":{"input_tokens":36,"output_tokens":87},"cached_tokens":0}}',
    )
    + b"data: [DONE]\n\n",
)


def frame(event: bytes, payload: bytes) -> bytes:
    """Write a message of an AWS event stream, with both of its checksums."""
    told = ((b":event-type", event), (b":content-type", b"application/json"), (b":message-type", b"event"))
    headers = b"".join(
        bytes([len(name)]) + name + b"\x07" + len(value).to_bytes(2, "big") + value for name, value in told
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


PADDING = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def bedrock_delta(number: int) -> bytes:
    """Write a delta, its padding of a changing length."""
    pad = PADDING[: 1 + number % len(PADDING)]
    return frame(b"contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"%b"},"p":"%b"}' % (WORD, pad))


BEDROCK = Format(
    kind="bedrock",
    base="",
    asked=b"/converse-stream",
    content_type=b"application/vnd.amazon.eventstream",
    opening=frame(b"messageStart", b'{"p":"abcdefghijklmnopqrs","role":"assistant"}'),
    delta=bedrock_delta,
    closing=frame(b"contentBlockStop", b'{"contentBlockIndex":0,"p":"abcdefghijkl"}')
    + frame(b"messageStop", b'{"p":"abcdefghijk","stopReason":"end_turn"}')
    + frame(
        b"metadata",
        b'{"metrics":{"latencyMs":605},"p":"abcdefghijklm",'
        b'"usage":{"inputTokens":36,"outputTokens":87,"totalTokens":123}}',
    ),
    settings=", region: us-east-1",
)

FORMATS = {
    "chat_completions": CHAT,
    "anthropic_messages": ANTHROPIC,
    "gemini_generate_content": GEMINI,
    "cohere_chat": COHERE,
    "bedrock_converse": BEDROCK,
}
"""By the name of the dialect, which is that of the provider in the gateway's configuration too."""
