"""Real clients in front of providers that keep nothing: all they ask for works, but for what is not there to be had."""

import re
from dataclasses import replace

import pytest

from proxy.providers import REGISTRY
from tests.rig.clients import NEEDED, missing, run_client, understanding
from tests.rig.eventually import eventually
from tests.rig.faces import FACES
from tests.rig.gateway import gateway
from tests.rig.settings import UPSTREAM_KEY, config

pytestmark = NEEDED

NO_BACKGROUND = "background is not available with this provider."
NO_COMPACTION = "does not offer 'compact'"
NO_CONVERSATIONS = "does not offer 'conversations'"
NO_COUNTING = "does not offer 'input_tokens'"
NO_CHAT_COUNTING = "This provider does not count tokens."
NO_SCHEMA_BESIDE_TOOLS = "This provider cannot have a text format and tools to call at once."

STATE = {
    "py-openai-background_cancel": NO_BACKGROUND,
    "py-openai-background_poll": NO_BACKGROUND,
    # Only a background response is cut off and taken up again by this case; others are in test_conversations.py.
    "py-openai-retrieve_stream_starting_after": NO_BACKGROUND,
    "py-openai-compact": NO_COMPACTION,
    "py-openai-conversations": NO_CONVERSATIONS,
    "node-openai-background_cancel": NO_BACKGROUND,
    "node-openai-resume_stream": NO_BACKGROUND,
    "node-openai-resume_stream_helper": NO_BACKGROUND,
    "node-openai-compact": NO_COMPACTION,
    "node-openai-conversations": NO_CONVERSATIONS,
}
"""What no provider without a store of its own can do, and the gateway does not do for it."""
COUNTING = {"py-openai-input_tokens": NO_COUNTING, "node-openai-input_tokens": NO_COUNTING}
CANNOT = {
    "anthropic_messages": STATE,
    "bedrock_converse": STATE,
    "chat_completions": {**STATE, **COUNTING},
    "cohere_chat": {**STATE, **COUNTING, "codex-schema": NO_SCHEMA_BESIDE_TOOLS},
    "gemini_generate_content": STATE,
    "groq": {**STATE, **COUNTING},
    "huggingface": {**STATE, **COUNTING},
    "mistral": STATE,
    "openrouter": {**STATE, **COUNTING},
    "together-ai": {**STATE, **COUNTING},
}
"""The cases that fail, by dialect or kind, and what the client is told then."""
SERVED_BY_CHAT = {
    "cerebras": "gpt-oss-120b",
    "deepinfra": "deepseek-ai/DeepSeek-V3.2",
    "groq": "openai/gpt-oss-120b",
    "huggingface": "Qwen/Qwen3-235B-A22B",
    "mistral": "mistral-large-latest",
    "openrouter": "anthropic/claude-sonnet-5",
    "together-ai": "Qwen/Qwen3-235B-A22B",
}
"""Kinds that speak chat completions, some only when asked to, each with a model."""
NATIVE = ["groq", "huggingface", "mistral", "openrouter", "together-ai"]
"""Kinds that answer in the Responses API, and keep nothing."""
PREFIXES = {"openai-py": "py-openai-", "openai-node": "node-openai-", "codex": "codex-"}
LEAST = {"openai-py": 25, "openai-node": 12, "codex": 9}
"""How many cases have to pass."""
ALIAS = "the-model"
"""Bedrock's runtime has no list of models: what a configuration names is all there is to list."""


def check(output, client, cannot):
    """Hold what a client said to what it can do: all of it, but for what it is refused for this reason."""
    passed = re.findall(r"^ok (\S+)", output, re.MULTILINE)
    failed = dict(re.findall(r"^not ok ([^\s:]+): (.*)$", output, re.MULTILINE))
    expected = {case: why for case, why in cannot.items() if case.startswith(PREFIXES[client])}
    assert failed.keys() == expected.keys(), output
    assert all(why in failed[case] for case, why in expected.items()), output
    assert len(passed) >= LEAST[client], output


@pytest.mark.parametrize("client", PREFIXES)
@pytest.mark.parametrize("dialect", FACES)
async def test_client_works_in_front_of_a_dialect(dialect, client, upstream, valkey):
    """Its own suite, unchanged; what cannot be done is refused, with the reason."""
    if reason := missing(client, slow=("openai-node", "codex")):
        pytest.skip(reason)
    face = FACES[dialect]
    served = config(providers={"main": face.configure(upstream)}, models={ALIAS: f"main/{face.model}"})
    async with gateway(served, redis_url=valkey.url) as gw:
        _, output = await run_client(client, gw, MODEL=face.model)
        await eventually(lambda: all(exchange.finished.is_set() for exchange in upstream.requests))
    check(output, client, CANNOT[dialect])


@pytest.mark.parametrize("client", ["openai-py", "openai-node"])
@pytest.mark.parametrize("kind", NATIVE)
async def test_client_works_in_front_of_a_kind_without_a_store(kind, client, valkey):
    """What the provider would have to keep the gateway does."""
    if reason := missing(client, slow=("openai-node",)):
        pytest.skip(reason)
    async with understanding() as base_url:
        main = {"kind": kind, "base_url": base_url, "api_key": UPSTREAM_KEY, "api": "responses"}
        async with gateway(config(providers={"main": main}), redis_url=valkey.url) as gw:
            _, output = await run_client(client, gw)
    check(output, client, CANNOT[kind])


@pytest.mark.parametrize("client", ["openai-py", "codex"])
@pytest.mark.parametrize("kind", SERVED_BY_CHAT)
async def test_client_works_in_front_of_a_kind_that_is_asked_for_chat(kind, client, upstream, valkey):
    """Each renders chat completions in a way of its own."""
    if reason := missing(client, slow=("openai-py", "codex")):
        pytest.skip(reason)
    api = {"api": "chat"} if "api" in REGISTRY[kind].settings else {}
    face = replace(FACES["chat_completions"], kind=kind, model=SERVED_BY_CHAT[kind], settings=api)
    served = config(providers={"main": face.configure(upstream)}, models={ALIAS: f"main/{face.model}"})
    async with gateway(served, redis_url=valkey.url) as gw:
        _, output = await run_client(client, gw, MODEL=face.model)
    counting = {"py-openai-input_tokens": NO_CHAT_COUNTING if kind == "mistral" else NO_COUNTING}
    check(output, client, {**STATE, **counting})
