"""Every recorded answer of a Responses endpoint passes through as it was: streams to the byte, errors to the byte."""

import asyncio
import contextlib
import itertools

import orjson
import pytest

from proxy.config import Config
from proxy.providers import REGISTRY
from tests.rig.gateway import gateway
from tests.rig.replay import recordings
from tests.rig.settings import ALICE, provider, settings

KINDS = {"bedrock": "bedrock-openai", "other": "openai-compatible"}
"""Kinds that are not named like the folder of their recordings."""
SPLICED = {"responses", "responses.retrieve"}
APIS = (
    "responses",
    "responses.compact",
    "responses.delete",
    "responses.input_items",
    "responses.input_tokens",
    "responses.retrieve",
)
AT_ONCE = 24


def native():
    """Return the recordings of providers that have a Responses endpoint."""
    found = itertools.chain.from_iterable(recordings(api=api) for api in APIS)
    return [recording for recording in found if KINDS.get(recording.provider, recording.provider) in REGISTRY]


def base(recording):
    """Return the path of a recorded request up to `/responses`, and what follows it."""
    path = "/" + recording.exchange["request"]["url"].partition("://")[2].partition("/")[2]
    before, _, behind = path.partition("/responses")
    return before, "/responses" + behind


def configured(replay):
    """Make a gateway's configuration with a provider for every base URL that was recorded."""
    providers = {}
    for recording in native():
        kind = KINDS.get(recording.provider, recording.provider)
        url = replay.base_url(recording.provider) + base(recording)[0]
        providers[named(recording)] = provider(url, kind=kind)
    return Config.model_validate(settings(providers=providers, keys=[ALICE], bindings={"unknown": "forward"}))


def named(recording):
    """Name the provider that serves a recording."""
    return f"{recording.provider}-{base(recording)[0].strip('/').replace('/', '-')}"


async def call(gw, recording):
    """Make the recorded request anew; the replay server finds the answer by the model's name or by the target."""
    request = recording.exchange["request"]
    body = {**recording.request, "model": recording.model} if recording.request is not None else None
    target = "/v1" + base(recording)[1]
    headers = [("x-tfy-provider-name", named(recording))]
    return await gw.fetch(request["method"], target, headers=headers, json=body)


def differences(recording, answer):
    """Tell what of an answer is not as it was recorded."""
    response = recording.exchange["response"]
    if answer.status != response["status"] or answer.end != "complete":
        return f"{answer.status} {answer.end} {answer.body[:200]!r}"
    expected = recording.body
    if not recording.streamed and recording.status < 400 and recording.api in SPLICED:
        splice = b',"provider":"%b"}' % KINDS.get(recording.provider, recording.provider).encode()
        at = expected.rindex(b"}")
        expected = expected[:at] + splice + expected[at + 1 :]
        if orjson.loads(answer.body) != {**orjson.loads(recording.body), "provider": orjson.loads(splice[12:-1])}:
            return "not the same object"
    return None if answer.body == expected else f"{len(answer.body)} bytes for {len(expected)}"
