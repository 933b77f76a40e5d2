"""Real clients with recorded OpenAI traffic behind the gateway: they see what they see straight from OpenAI."""

import asyncio
import json
import os
import re
import shutil
from collections import defaultdict
from pathlib import Path

import openai
import pydantic
import pytest

from tests.rig.client import split_events
from tests.rig.clients import INSTALLED
from tests.rig.gateway import gateway
from tests.rig.replay import PRESENT, recordings
from tests.rig.settings import ALICE, ALICE_KEY, config, provider

NODE = shutil.which("node")
SCRIPT = Path(__file__).with_name("recorded.mjs")
CODEX = INSTALLED / "codex" / "node_modules" / ".bin" / "codex"
OF_ONE_RESPONSE = {"create", "parse", "retrieve"}
"""Calls answered with a response as JSON, to which the gateway adds its provider's kind."""
CHUNK = "500"
"""Bytes in a chunk of a replayed stream: events are cut anywhere, and not one by one."""
SHORT = 24_000
"""Bytes of an answer, above which an SDK takes long to read it."""
ID = re.compile(r"resp_\w+")

pytestmark = [
    pytest.mark.skipif(not PRESENT, reason="recorded traffic is not here"),
    # The SDK for Python says so itself of items which are newer than it.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


class Anything(pydantic.RootModel[dict]):
    """What an answer to any schema can be read into."""


class PythonSdk:
    """Calls of the official SDK for Python: each yields what a user of it gets to see."""

    def __init__(self, base_url, key):
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)
        self._responses = self._client.responses

    async def create(self, body):
        yield await self._responses.create(extra_body=body)

    async def events(self, body):
        async for event in await self._responses.create(stream=True, extra_body=body):
            yield event

    async def stream(self, body):
        async with self._responses.stream(model=body["model"], input="", extra_body=body) as stream:
            async for event in stream:
                yield event
            yield await stream.get_final_response()

    async def parse(self, body):
        yield await self._responses.parse(text_format=Anything, extra_body=body)

    async def retrieve(self, rid):
        yield await self._responses.retrieve(rid)

    async def resume(self, rid, after):
        async for event in await self._responses.retrieve(rid, stream=True, starting_after=after):
            yield event

    async def items(self, rid):
        async for item in self._responses.input_items.list(rid):
            yield item

    async def delete(self, rid):
        yield await self._responses.delete(rid)

    async def make(self, calls):
        """Make calls one after another; return what each of them yielded, as JSON."""
        async with self._client:
            return [await self._yielded(*call) for call in calls]

    async def _yielded(self, name, *arguments):
        seen = []
        try:
            async for value in getattr(self, name)(*arguments):
                seen += [value if value is None else value.to_dict(mode="json", warnings=False)]
        except (openai.OpenAIError, RuntimeError, AssertionError) as error:
            of = {"raised": type(error).__name__, "status": getattr(error, "status_code", None)}
            seen += [{**of, "message": str(error)}]
        return seen


async def python(base_url, key, calls):
    """Make the calls with the SDK for Python."""
    return await PythonSdk(base_url, key).make(calls)


async def node(base_url, key, calls):
    """Make the calls with the SDK for Node."""
    line = [NODE, str(SCRIPT), str(INSTALLED / "node"), base_url]
    output = await run(line, json.dumps(calls).encode(), OPENAI_API_KEY=key)
    return json.loads(output)


async def run(line, given=b"", **environment):
    """Run a command that knows nothing of this environment but the path; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *line,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaints = await process.communicate(given)
    assert process.returncode == 0, (output + complaints).decode()
    return output


CLIENTS = [
    python,
    pytest.param(
        node,
        marks=[
            pytest.mark.skipif(NODE is None, reason="node is not installed"),
            pytest.mark.skipif(not (INSTALLED / "node").exists(), reason="the SDK for Node is not installed"),
        ],
    ),
]


def gateway_before(openai_url, valkey, **sections):
    """Run a gateway whose only provider is that one."""
    return gateway(config(providers={"main": provider(openai_url)}, **sections), redis_url=valkey.url)


async def observed(replay, calling, forced=()):
    """Wait for calls; return what they yielded, and which requests reached the replay server."""
    replay.reset()
    replay.configure(chunk=CHUNK)
    if forced:
        replay.force(*forced)
    yielded = await calling
    received = [[entry[key] for key in ("method", "path", "query", "json", "served")] for entry in replay.log()]
    return yielded, received


def raised(yielded):
    """Whether a call ended in an exception."""
    return "raised" in (yielded[-1] or ())


def with_provider(call, yielded):
    """Return what a call has to yield through the gateway, from what it yields without: a response says whose it is."""
    if raised(yielded) or call[0] not in OF_ONE_RESPONSE:
        return yielded
    return [{**yielded[0], "provider": "openai"}]


async def compare(client, calls, replay, valkey, forced=(), **sections):
    """Make calls straight and through a gateway, alike for client and provider.

    Returns what they yielded straight, and the recordings that were served.
    """
    openai_url = replay.base_url("openai") + "/v1"
    straight, asked = await observed(replay, client(openai_url, "any", calls), forced)
    async with gateway_before(openai_url, valkey, **sections) as gw:
        through, passed_on = await observed(replay, client(f"{gw.url}/v1", ALICE_KEY, calls), forced)
    assert passed_on == asked
    for call, expected, got in zip(calls, straight, through, strict=True):
        assert got == with_provider(call, expected), call
    return straight, [served for *_, served in asked]


def create(recording, streamed="stream"):
    """Return the call that sends a recorded request, by the method an application would use for it."""
    body = {**recording.request, "model": recording.model}
    name = "parse" if "json_schema" in recording.features else "create"
    return [streamed if recording.streamed else name, body]


def varied():
    """Return short recordings until they have every feature there is: of streams, JSON and errors each."""
    seen = set()
    for recording in recordings(api="responses", provider="openai", fidelity="raw"):
        new = {(recording.streamed, recording.status, feature) for feature in recording.features} - seen
        if new and len(recording.body) < SHORT:
            seen |= new
            yield recording


@pytest.mark.parametrize("client", CLIENTS)
async def test_sdk_yields_recorded_answers_as_straight_from_openai(client, replay, valkey):
    """Plain, streamed, parsed, refused; with tools, images, reasoning: whatever OpenAI was recorded to answer."""
    chosen = list(varied())
    assert {"image", "json_schema", "plain", "stream", "tool_call"} <= {name for one in chosen for name in one.features}
    calls = [create(recording) for recording in chosen]
    yielded, served = await compare(client, calls, replay, valkey, keys=[ALICE])
    assert served == [recording.id for recording in chosen]
    for recording, values in zip(chosen, yielded, strict=True):
        # The SDK for Python does not take an incomplete stream for a final response.
        assert raised(values) == (recording.status >= 400) or "incomplete" in recording.features, recording.id
    parsed = [values[0] for (name, _), values in zip(calls, yielded, strict=True) if name == "parse"]
    assert parsed
    assert all(response["output"][-1]["content"][0]["parsed"] for response in parsed)


def retrieved():
    """Return the recorded creations of responses that were retrieved afterwards: id, creation, retrievals."""
    later = defaultdict(list)
    for recording in recordings(api="responses.retrieve", provider="openai"):
        later[ID.search(recording.exchange["request"]["url"])[0]].append(recording)
    for recording in recordings(api="responses", provider="openai"):
        found = ID.search(recording.body.decode())
        if found and found[0] in later:
            yield found[0], recording, later[found[0]]


@pytest.mark.parametrize("client", CLIENTS)
async def test_sdk_follows_recorded_responses_as_straight_from_openai(client, replay, valkey):
    """Retrieved, streamed again, listed, deleted: by ids that only their creations can have taught the gateway."""
    calls, forced = [], []
    for rid, creation, retrievals in retrieved():
        calls += [create(creation, streamed="events"), *(["retrieve", rid] for _ in retrievals)]
        forced += retrievals
    assert len(calls) > 2
    calls += [["resume", rid, 0], ["items", rid], ["delete", rid]]
    forced += [one for one in recordings(api="responses.retrieve", provider="openai") if one.streamed]
    forced += [*recordings(api="responses.input_items"), *recordings(api="responses.delete")]
    yielded, served = await compare(client, calls, replay, valkey, [recording.id for recording in forced])
    assert set(served) > {recording.id for recording in forced}
    assert not any(map(raised, yielded))


CONFIG = """
model = "{model}"
model_provider = "gateway"
approval_policy = "never"
sandbox_mode = "read-only"
check_for_update_on_startup = false
analytics = {{ enabled = false }}
feedback = {{ enabled = false }}
otel = {{ exporter = "none" }}
[model_providers.gateway]
name = "gateway"
base_url = "{url}/v1"
env_key = "GATEWAY_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
requires_openai_auth = false
supports_websockets = false
"""


def told(feature):
    """Return a recorded stream that has a feature and ends in a message, and the response it completes."""
    for recording in recordings(api="responses", provider="openai", fidelity="raw"):
        if recording.streamed and recording.status == 200 and feature in recording.features:
            last = split_events(recording.body)[-1].json()
            if last["type"] == "response.completed" and last["response"]["output"][-1]["type"] == "message":
                return recording, last["response"]
    raise LookupError(feature)


@pytest.mark.skipif(not CODEX.exists(), reason="the Codex CLI is not installed")
@pytest.mark.parametrize("feature", ["plain", "keepalive", "reasoning"])
async def test_codex_prints_the_recorded_answer(feature, replay, valkey, tmp_path):
    """It sends what it always sends, and takes what OpenAI once answered to somebody else."""
    recording, response = told(feature)
    replay.reset()
    replay.configure(chunk=CHUNK)
    async with gateway_before(replay.base_url("openai") + "/v1", valkey) as gw:
        (tmp_path / "config.toml").write_text(CONFIG.format(model=recording.model, url=gw.url), encoding="utf-8")
        line = [
            str(CODEX),
            "exec",
            "--json",
            "--strict-config",
            "--skip-git-repo-check",
            "--cd",
            str(tmp_path),
            "Hello!",
        ]
        output = await run(line, HOME=str(tmp_path), CODEX_HOME=str(tmp_path), GATEWAY_KEY=ALICE_KEY)
    events = [json.loads(line) for line in output.splitlines()]
    said = [event["item"] for event in events if event["type"] == "item.completed"]
    assert said[-1] == said[-1] | {"type": "agent_message", "text": response["output"][-1]["content"][0]["text"]}
    assert events[-1]["type"] == "turn.completed"
    counted = {name: response["usage"][name] for name in ("input_tokens", "output_tokens")}
    assert events[-1]["usage"] == events[-1]["usage"] | counted
    assert [(entry["method"], entry["served"]) for entry in replay.log()] == [("POST", recording.id)]
    assert "Hello!" in json.dumps(replay.log()[0]["json"]["input"])
