"""Every recorded answer of a provider that speaks another format says through the gateway what it said itself."""

import asyncio
import json
from typing import Any, NamedTuple

import pytest
from openai.types.responses import Response

from tests.dialects.anthropic_messages import recorded as anthropic
from tests.dialects.bedrock_converse import recorded as bedrock
from tests.dialects.chat_completions import recorded as chat
from tests.dialects.cohere_chat import recorded as cohere
from tests.dialects.gemini_generate_content import recorded as gemini
from tests.dialects.oracle import calls_of, read_events, reasoning_of, text_of
from tests.rig.gateway import gateway
from tests.rig.settings import UPSTREAM_KEY, config

AT_ONCE = 16
SMALL = {"1": 2500, "7": 12_000, "event": 1_000_000}
"""Bytes up to which a stream is replayed in chunks of a size: tiny ones must not be too many."""
PATHS = {"groq": "/openai/v1", "openrouter": "/api/v1"}
CHAT_KINDS = {"groq", "cerebras", "mistral", "openrouter", "together-ai", "huggingface"}
CUT_SHORT = {"length", "max_tokens", "MAX_TOKENS", "model_context_window_exceeded", 2}
FILTERED = {"content_filter", "refusal", "SAFETY", "guardrail_intervened", "content_filtered"}


class Said(NamedTuple):
    """What an answer says: text, reasoning, calls with their arguments, status, output tokens where told."""

    text: str
    reasoning: str
    calls: list[tuple[str, Any]]
    status: str
    output_tokens: int | None


def status_of(finish):
    if finish == "UNEXPECTED_TOOL_CALL":
        return "failed"
    return "incomplete" if finish in CUT_SHORT | FILTERED else "completed"


def of_anthropic(recording):
    content = anthropic.content_of(recording)
    return Said(content.text, content.reasoning, content.calls, status_of(content.stop), content.usage["output_tokens"])


def of_bedrock(recording):
    content = bedrock.content_of(recording)
    calls = [(name, arguments) for name, arguments, _ in content.calls]
    usage = content.usage and content.usage["outputTokens"]
    return Said(content.text, content.reasoning, calls, status_of(content.stop), usage)


def of_cohere(recording):
    content = cohere.content_of(recording)
    calls = [(name, arguments) for _, name, arguments in content.calls]
    tokens = content.usage["tokens"]["output_tokens"]
    return Said(content.text, content.plan + content.thinking, calls, status_of(content.finish), int(tokens))


def of_gemini(recording):
    content = gemini.content_of(recording)
    tokens = sum(content.usage.get(name, 0) for name in ("candidatesTokenCount", "thoughtsTokenCount"))
    return Said(content.text, content.reasoning, content.calls, status_of(content.finish), tokens or None)


def of_chat(recording):
    content = chat.content_of(recording)
    calls = [(name, parsed(arguments)) for name, arguments in content.calls]
    status = "failed" if content.failed else status_of(content.finish)
    return Said(content.text, content.reasoning, calls, status, None)


READERS = {
    "messages": (anthropic, of_anthropic),
    "converse": (bedrock, of_bedrock),
    "converse-stream": (bedrock, of_bedrock),
    "cohere-chat": (cohere, of_cohere),
    "generateContent": (gemini, of_gemini),
    "streamGenerateContent": (gemini, of_gemini),
    "chat.completions": (chat, of_chat),
}


def parsed(arguments):
    """Parse arguments; those that were cut short stay as they are."""
    try:
        return json.loads(arguments)
    except json.JSONDecodeError:
        return arguments


def said_by(response):
    calls = [(name, parsed(arguments)) for name, arguments in calls_of(response)]
    usage = response["usage"] and response["usage"]["output_tokens"]
    return Said(text_of(response), reasoning_of(response), calls, response["status"], usage)


def providers(replay):
    """Configure a provider for every folder of recordings, of its own kind where it has one."""
    key = {"api_key": UPSTREAM_KEY}
    made = {
        "anthropic": {"kind": "anthropic"},
        "cohere": {"kind": "cohere"},
        "gemini": {"kind": "gemini"},
        "bedrock": {"kind": "bedrock", "region": "eu-central-1"},
        "vertex": {"kind": "vertex", "project": "p", "location": "eu"},
    }
    made = {name: {**one, **key, "base_url": replay.base_url(name)} for name, one in made.items()}
    for name in {recording.provider for recording in chat.ANSWERS} - made.keys():
        kind = name if name in CHAT_KINDS else "openai-chat-compatible"
        api = {"api": "chat"} if name in ("groq", "mistral", "openrouter", "together-ai") else {}
        base_url = replay.base_url(name) + PATHS.get(name, "/v1")
        made[name] = {"kind": kind, "base_url": base_url, **api, **key}
    return made


def answers():
    """Return the recordings of success whose provider answers in a format of its own; other ways to it are others'."""
    modules = {module for module, _ in READERS.values()}
    found = [recording for module in modules for recording in module.ANSWERS]
    own = {"anthropic", "cohere", "gemini", "bedrock", "vertex"}
    return [
        recording
        for recording in found
        if (recording.provider in own) == (recording.api != "chat.completions")
        and recording.api in READERS
        and not (recording.api == "messages" and anthropic.is_spliced(recording))
    ]


def is_stream(recording):
    return recording in READERS[recording.api][0].STREAMS


def model_of(recording):
    """Return the name by which the replay server knows a recording; on Vertex it tells Claude from Gemini."""
    claude = recording.provider == "vertex" and recording.api == "messages"
    return f"claude-{recording.model}" if claude else recording.model


async def ask(gw, recording):
    """Ask for a recording through the gateway; return the final response."""
    stream = is_stream(recording)
    answer = await gw.fetch(
        "POST",
        "/v1/responses",
        headers=[("x-tfy-provider-name", recording.provider)],
        json={"model": model_of(recording), "input": "hello", "stream": stream, "store": False},
    )
    assert answer.end == "complete"
    if answer.status != 200:  # an answer that is a failure within a success
        return {"status": "failed", "error": answer.json()["error"]}
    if stream:
        return read_events(answer.body)[-1]["response"]
    response = answer.json()
    assert response.pop("provider")
    Response.model_validate(response)
    return response


def fits(response, wanted):
    """Compare what came with what was recorded; chat completions count their tokens in too many ways."""
    if wanted.status == "failed":
        return response["status"] == "failed" and response["error"]["message"]
    said = said_by(response)
    if wanted.output_tokens is None:
        # Custom tools' calls, which some recordings have, are none of the functions' that are read there.
        own = {name for name, _ in wanted.calls}
        said = said._replace(output_tokens=None, calls=[call for call in said.calls if call[0] in own])
    return said == wanted


@pytest.mark.parametrize("chunk", ["1", "7", "event"])
async def test_recording_says_through_the_gateway_what_the_provider_said(chunk, replay, valkey):
    """Whatever the provider and the size of the chunks; whole answers pass once."""
    replay.reset()
    replay.configure(chunk=chunk)
    chosen = [
        recording
        for recording in answers()
        if (len(recording.body) < SMALL[chunk] if is_stream(recording) else chunk == "event")
    ]
    turn = asyncio.Semaphore(AT_ONCE)
    wrong = {}

    async def compare(gw, recording):
        async with turn:
            response = await ask(gw, recording)
        wanted = READERS[recording.api][1](recording)
        if not fits(response, wanted):
            wrong[recording.id] = (response, wanted)

    async with gateway(config(providers=providers(replay)), redis_url=valkey.url) as gw:
        await asyncio.gather(*(compare(gw, recording) for recording in chosen))
    assert wrong == {}
    assert len(chosen) > 20
