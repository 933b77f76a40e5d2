"""Every recorded answer of a Responses endpoint passes through as it was: streams and errors to the byte."""

import asyncio
import re

import pytest

from proxy.providers import REGISTRY
from tests.rig.gateway import gateway
from tests.rig.replay import recordings
from tests.rig.settings import ALICE, config, provider

KINDS = {"bedrock": "bedrock-openai", "other": "openai-compatible"}
"""Kinds that are not named like the folder of their recordings."""
SPLICED = {"responses", "responses.retrieve"}
ID = re.compile(r"(?<=/responses/)resp_\w+")
AT_ONCE = 32


def native():
    """Return every recording of a provider's Responses endpoint."""
    return [recording for recording in recordings() if recording.api.partition(".")[0] == "responses"]


def kind(recording):
    """Return the kind of provider a recording is of."""
    return KINDS.get(recording.provider, recording.provider)


def streamed(recording):
    """Whether an answer is a stream, also where its recorder dropped the type."""
    return recording.streamed or recording.body.startswith((b"event:", b"data:"))


def call(gw, recording):
    """Ask for a recording: the replay server knows it by the model's name, or by the id in the target."""
    request = recording.exchange["request"]
    target = ID.sub(recording.model, "/v1/responses" + request["url"].partition("/responses")[2])
    body = recording.request
    if body is None and request["method"] == "POST":
        body = {"input": "hello", "stream": streamed(recording)}
    return gw.fetch(
        request["method"],
        target,
        headers=[("x-tfy-provider-name", kind(recording))],
        json=None if body is None else {**body, "model": recording.model},
    )


def expected(recording):
    """Return what the client has to receive: of a response as JSON, its provider's kind is the last member."""
    body = recording.body
    if streamed(recording) or recording.status >= 400 or recording.api not in SPLICED:
        return body
    end = body.rindex(b"}")
    return b'%b,"provider":"%b"%b' % (body[:end], kind(recording).encode(), body[end:])


def passes(chunk, recording):
    """Whether a recording is replayed in chunks of that size: tiny ones must not be too many; JSON comes in one."""
    if not streamed(recording):
        return chunk == "all"
    return len(recording.body) < {"1": 5500, "7": 9000}.get(chunk, 1_000_000)


@pytest.mark.parametrize("chunk", ["1", "7", "event", "all"])
async def test_recording_passes_as_it_was(chunk, replay, valkey):
    """Whatever the provider, the operation, the size of the chunks, and what else is under way."""
    replay.reset()
    replay.configure(chunk=chunk)
    assert {kind(recording) for recording in native()} <= REGISTRY.keys()
    providers = {
        kind(recording): provider(replay.base_url(recording.provider) + "/v1", kind=kind(recording))
        for recording in native()
    }
    chosen = [recording for recording in native() if passes(chunk, recording)]
    turn = asyncio.Semaphore(AT_ONCE)
    wrong = {}

    async def compare(gw, recording):
        async with turn:
            answer = await call(gw, recording)
        got = (answer.status, answer.end, answer.body)
        if got != (recording.status, "complete", expected(recording)):
            wrong[recording.id] = got

    alone = {"keys": [ALICE], "bindings": {"unknown": "forward"}}
    async with gateway(config(providers=providers, **alone), redis_url=valkey.url) as gw:
        await asyncio.gather(*(compare(gw, recording) for recording in chosen))
        ended = await gw.metric("responses_proxy_stream_ends_total", end="upstream_cut")
    assert wrong == {}
    assert (len(chosen) > 10, ended) == (True, 0)
