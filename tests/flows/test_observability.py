"""What the gateway counts and logs: the right numbers after scripted traffic, and never a secret."""

import asyncio
import shutil
import subprocess

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.flows.calls import PLAIN, STREAMED, ask, log_lines, nothing_left
from tests.rig import scripts, wire
from tests.rig.client import fetch
from tests.rig.gateway import bearer, command, gateway
from tests.rig.settings import ALICE, ALICE_KEY, config, provider, settings

FAMILIES = {
    "gen_ai_client_operation_duration_seconds",
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "gen_ai_client_operation_time_per_output_chunk_seconds",
    "gen_ai_client_token_usage",
    "responses_proxy_requests",
    "responses_proxy_tokens",
    "responses_proxy_overhead_seconds",
    "responses_proxy_inflight_requests",
    "responses_proxy_inflight_streams",
    "responses_proxy_stream_ends",
    "responses_proxy_redis_operations",
    "responses_proxy_redis_seconds",
    "responses_proxy_binding_queue",
    "responses_proxy_bindings_dropped",
    "responses_proxy_archive_queue_bytes",
    "responses_proxy_archive_dropped",
    "responses_proxy_auth_failures",
    "responses_proxy_upstream_connections",
    "responses_proxy_upstream_connect_seconds",
    "responses_proxy_upstream_connect_failures",
    "responses_proxy_upstream_retries",
    "responses_proxy_client_connections",
    "responses_proxy_redis_state",
    "responses_proxy_event_loop_lag_seconds",
    "responses_proxy_resident_memory_bytes",
    "responses_proxy_open_fds",
    "responses_proxy_max_fds",
    "responses_proxy_cpu_seconds",
    "responses_proxy_workers",
    "responses_proxy_worker_restarts",
    "responses_proxy_draining",
    "responses_proxy_config_last_reload_successful",
    "responses_proxy_config_last_reload_success_timestamp_seconds",
    "responses_proxy_start_time_seconds",
    "responses_proxy_build_info",
}
TOKENS = {"input": 12, "cached_input": 4, "output": 7, "reasoning": 2}
NOTHING = dict.fromkeys(TOKENS, 0)


async def tokens(gw, **labels):
    return {each: await gw.metric("responses_proxy_tokens_total", type=each, **labels) for each in TOKENS}


async def create(gw, body, **options):
    return await gw.fetch("POST", "/v1/responses", json=body, **options)


async def test_command_exposes_every_family_and_promtool_agrees(upstream, valkey):
    """Dashboards and alerts find their series on a gateway that has done nothing yet; then traffic of several kinds."""
    upstream.on("POST", "/v1/responses", scripts.sse_answer(wire.stream_events(wire.new_id())))
    async with command(settings(upstream, redis={"url": valkey.url})) as running:
        before = (await running.admin("/metrics")).body.decode()
        for body in (STREAMED, PLAIN, {"model": 1}):
            await fetch(running.port, "POST", "/v1/responses", headers=bearer(ALICE_KEY), json=body)
        assert await running.metric("responses_proxy_requests_total", operation="create") == 3
        after = (await running.admin("/metrics")).body
    declared = {family.name for family in text_string_to_metric_families(before)}
    assert declared >= FAMILIES
    zeros = [
        ("auth_failures_total", {"reason": "unknown"}),
        ("stream_ends_total", {"end": "drained"}),
        ("upstream_connect_seconds_count", {"provider": "main"}),
        ("upstream_connect_failures_total", {"provider": "main"}),
        ("upstream_retries_total", {"provider": "main"}),
        ("redis_state", {"store": "archive", "state": "down"}),
        ("client_connections", {}),
    ]
    samples = [s for family in text_string_to_metric_families(before) for s in family.samples]
    for name, labels in zeros:
        shown = [s for s in samples if s.name == f"responses_proxy_{name}" and labels.items() <= s.labels.items()]
        assert {sample.value for sample in shown} == {0.0}, name
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    checked = subprocess.run(["promtool", "check", "metrics"], input=after, capture_output=True, check=False)  # noqa: S607, ASYNC221
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


ENDINGS = {
    "json": (PLAIN, lambda rid: scripts.json_answer(wire.response_object(rid)), TOKENS, None),
    "json incomplete": (
        PLAIN,
        lambda rid: scripts.json_answer(wire.response_object(rid, status="incomplete")),
        TOKENS,
        None,
    ),
    "json without usage": (
        PLAIN,
        lambda rid: scripts.json_answer(wire.response_object(rid, usage=None)),
        NOTHING,
        None,
    ),
    "completed": (STREAMED, lambda rid: scripts.sse_answer(wire.stream_events(rid)), TOKENS, "completed"),
    "incomplete": (
        STREAMED,
        lambda rid: scripts.sse_answer(wire.stream_events(rid, end="incomplete")),
        TOKENS,
        "incomplete",
    ),
    "failed": (STREAMED, lambda rid: scripts.sse_answer(wire.stream_events(rid, end="failed")), NOTHING, "failed"),
    "failed with usage": (
        STREAMED,
        lambda rid: scripts.sse_answer([*wire.stream_events(rid)[:-1], _failed_with_usage(rid)]),
        TOKENS,
        "failed",
    ),
    "cancelled": (
        STREAMED,
        lambda rid: scripts.sse_answer([*wire.stream_events(rid)[:-1], _ended(rid, "cancelled", usage=None)]),
        NOTHING,
        "cancelled",
    ),
    "error event": (
        STREAMED,
        lambda rid: scripts.sse_answer([*wire.stream_events(rid)[:-1], ERROR]),
        NOTHING,
        "upstream_error",
    ),
    "cut": (STREAMED, lambda rid: scripts.cut_stream(wire.stream_events(rid), 2000), NOTHING, "upstream_cut"),
}
ERROR = wire.event("error", 9, error={"type": "server_error", "code": "overloaded", "message": "x", "param": None})


def _ended(rid, status, **fields):
    return wire.event(f"response.{status}", 9, response=wire.response_object(rid, status=status, **fields))


def _failed_with_usage(rid):
    return _ended(rid, "failed", error={"code": "server_error", "message": "x"})


@pytest.mark.parametrize("ending", ENDINGS)
async def test_tokens_and_ends_are_counted_once(ending, upstream, valkey):
    """From JSON and from any terminal event; retrieving the response afterwards counts nothing."""
    body, script, counted, end = ENDINGS[ending]
    rid = wire.new_id()
    upstream.on("POST", "/v1/responses", script(rid))
    upstream.on("GET", f"/v1/responses/{rid}", scripts.json_answer(wire.response_object(rid)))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        assert (await create(gw, body)).status == 200
        assert (await gw.fetch("GET", f"/v1/responses/{rid}")).status == 200
        upstream.on("GET", f"/v1/responses/{rid}", scripts.sse_answer(wire.stream_events(rid)))
        assert (await gw.fetch("GET", f"/v1/responses/{rid}?stream=true")).status == 200
        await nothing_left(gw)
        assert await tokens(gw, provider="main", model="gpt-4o-mini") == counted
        assert await tokens(gw) == counted
        for kind in ("input", "output"):
            usage = {"gen_ai_token_type": kind, "gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai"}
            assert await gw.metric("gen_ai_client_token_usage_sum", **usage) == counted[kind]
            assert await gw.metric("gen_ai_client_token_usage_count", **usage) == bool(counted["input"])
        ends = (
            {"completed": 1.0}
            if end is None
            else {end: 1.0 + (end == "completed")} | ({} if end == "completed" else {"completed": 1.0})
        )
        for each, number in ends.items():
            assert await gw.metric("responses_proxy_stream_ends_total", provider="main", end=each) == number
        assert await gw.metric("responses_proxy_stream_ends_total") == sum(ends.values())
        assert await gw.metric("gen_ai_client_operation_duration_seconds_count") == 1
        assert await gw.metric("responses_proxy_requests_total", operation="create", provider="main", code="200") == 1
        assert await gw.metric("responses_proxy_requests_total", operation="retrieve") == 2


async def test_client_that_leaves_counts_what_is_known(upstream, valkey, capfd):
    """What the provider had said of usage by then; the end is the client's."""
    rid = wire.new_id()
    known = wire.event("response.created", 0, response=wire.response_object(rid, status="in_progress"))
    events = [known, *wire.stream_events(rid)[1:]]
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, gates={5: asyncio.Event()}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        async with gw.connect() as client:
            await ask(client, STREAMED)
            await (await client.answer()).read_events(5)
            assert await gw.metric("responses_proxy_inflight_requests", provider="main") == 1
            assert await gw.metric("responses_proxy_inflight_streams", provider="main") == 1
            client.abort()
        await nothing_left(gw, upstream)
        assert await gw.metric("responses_proxy_stream_ends_total", provider="main", end="client_gone") == 1
        assert await gw.metric("responses_proxy_stream_ends_total") == 1
        assert await tokens(gw) == TOKENS
        assert await gw.metric("responses_proxy_inflight_requests") == 0
        assert await gw.metric("responses_proxy_inflight_streams") == 0
    (line,) = log_lines(capfd)
    assert (line["end"], line["response_id"], line["tokens"]) == ("client_gone", rid, TOKENS)


async def test_client_that_leaves_right_after_the_end_is_a_success(upstream, valkey):
    """Some hang up on the terminal event: it completed, and its usage counts."""
    events = wire.stream_events(wire.new_id())
    upstream.on("POST", "/v1/responses", scripts.sse_answer(events, gates={len(events): asyncio.Event()}))
    async with gateway(config(upstream), redis_url=valkey.url) as gw, gw.connect() as client:
        await ask(client, STREAMED)
        await (await client.answer()).read_until(b"response.completed")
        client.abort()
        await nothing_left(gw, upstream)
        assert await gw.metric("responses_proxy_stream_ends_total", end="completed") == 1
        assert await gw.metric("responses_proxy_stream_ends_total") == 1
        assert await tokens(gw) == TOKENS


async def test_model_labels_are_bounded(upstream, valkey):
    """Configured ones always; others as the provider served them, up to a number; failures none."""
    upstream.on("POST", "/v1/responses", scripts.json_answer(wire.response_object(wire.new_id())))
    bounded = config(upstream, models={"fast": "main/quick"})
    async with gateway(bounded, redis_url=valkey.url) as gw:
        gw.app._metrics._models._room = 2
        for model in ("m1", "m2", "m3", "m4", "fast", "x" * 300):
            assert (await create(gw, {**PLAIN, "model": model})).status == 200
        upstream.on("POST", "/v1/responses", scripts.json_answer({"error": {"code": "model_not_found"}}, 400))
        await create(gw, {**PLAIN, "model": "guessed"})
        found = {
            sample.labels["gen_ai_request_model"]
            for family in text_string_to_metric_families(await gw.exposition())
            for sample in family.samples
            if "gen_ai_request_model" in sample.labels
        }
    assert found == {"m1", "m2", "quick", "other"}


async def test_refusals_are_counted_by_reason(upstream, valkey):
    """Of the key; and every request by the status its client got."""
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        for headers in ([], [("Authorization", "Basic x")], [("api-key", "nobody")]):
            assert (await create(gw, PLAIN, key=None, headers=headers)).status == 401
        assert (await gw.fetch("GET", f"/v1/responses/{wire.new_id()}")).status == 404
        for reason in ("missing", "malformed", "unknown"):
            assert await gw.metric("responses_proxy_auth_failures_total", reason=reason) == 1
        assert await gw.metric("responses_proxy_requests_total", code="401", provider="none") == 3
        assert await gw.metric("responses_proxy_requests_total", code="404", operation="retrieve", provider="none") == 1


async def slow_upload(client, gate):
    """Send a create in two parts, the second once the gate is open."""
    body = orjson.dumps({"model": "m", "input": "x" * 100_000})
    head = f"POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ALICE_KEY}\r\n"
    await client.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:50_000])
    await gate.wait()
    await client.send(body[50_000:])
    answer = await client.answer()
    await answer.read()
    return answer


WAIT = 0.3


async def hang_up(exchange):
    """End the connection without a byte, after a while."""
    await exchange.body()
    asyncio.get_running_loop().call_later(WAIT, exchange.close)
    await exchange.closed.wait()


FAULTS = {
    "none": (scripts.json_answer(wire.response_object("resp_1")), 5, 200),
    "silent": (scripts.silence, WAIT, 504),
    "gone": (hang_up, 5, 502),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_overhead_is_neither_negative_nor_somebody_elses_time(fault, upstream, valkey, capfd):
    """Waiting for the client's upload, and then for a provider, is none of its own time, and counts once."""
    script, first_byte, status = FAULTS[fault]
    gate = asyncio.Event()
    upstream.on("POST", "/v1/responses", script)
    timed = config(providers={"main": provider(upstream, timeouts={"first_byte": first_byte})})
    async with gateway(timed, redis_url=valkey.url) as gw, gw.connect() as client:
        asyncio.get_running_loop().call_later(WAIT, gate.set)
        answer = await slow_upload(client, gate)
    (line,) = log_lines(capfd)
    assert answer.status == status
    assert 0 <= line["overhead_ms"] < line["total_ms"] - WAIT * 500


async def test_exchange_is_one_line_with_its_phases(upstream, valkey, capfd):
    """Who, where to, how it ended, and each phase in the order in which it came."""
    rid = wire.new_id()
    upstream.on(
        "POST",
        "/v1/responses",
        scripts.sse_answer(wire.stream_events(rid), headers=[("x-request-id", "req_theirs")]),
    )
    async with gateway(config(upstream), redis_url=valkey.url) as gw:
        answer = await create(gw, STREAMED)
        await nothing_left(gw)
    (line,) = log_lines(capfd)
    expected = {
        "operation": "create",
        "status": 200,
        "provider": "main",
        "model": "gpt-4o-mini",
        "caller": "alice",
        "tenant": "team-a",
        "response_id": rid,
        "upstream_request_id": "req_theirs",
        "request_id": answer.header("x-gateway-request-id"),
        "end": "completed",
        "tokens": TOKENS,
        "bytes_in": len(orjson.dumps(STREAMED)),
        "bytes_out": len(answer.body),
    }
    assert {name: line[name] for name in expected} == expected
    for last in ("bound_ms", "first_chunk_ms"):
        phases = [line[phase] for phase in ("routed_ms", "connected_ms", "head_received_ms", last, "total_ms")]
        assert phases == sorted(phases)


CANARY = "canary7421"
CANARY_KEY = f"sk-{CANARY}-gateway"
CREDENTIAL = f"sk-{CANARY}-provider"
PASSWORD = f"{CANARY}-redis"


async def provoke(gw, upstream):
    """Cause successes, errors and faults, each with canaries wherever a secret or a content can stand."""
    body = {"model": "gpt-4o-mini", "input": f"{CANARY} input", "metadata": {"k": f"{CANARY}-metadata"}}
    secret_headers = [("Cookie", f"session={CANARY}"), ("x-codex-thing", CANARY), ("User-Agent", f"agent/{CANARY}")]
    said = wire.response_object(wire.new_id(), f"{CANARY} output")
    repeats = {
        "error": {"message": f"Incorrect API key provided: {CREDENTIAL}", "type": "x", "param": None, "code": None}
    }
    garbage = scripts.raw_answer(f"HTTP/1.1 abc {CANARY}\r\n\r\n".encode())
    events = wire.stream_events(wire.new_id(), f"{CANARY} delta")
    answers = []
    for script in (
        scripts.json_answer(said),
        scripts.sse_answer(events),
        scripts.sse_answer(wire.stream_events(wire.new_id(), f"{CANARY} text", end="failed")),
        scripts.cut_stream(events, len(b"".join(events[:5]))),
        scripts.cut_json(said, 40),
        scripts.json_answer(repeats, 401),
        scripts.no_answer(reset=True),
        garbage,
    ):
        upstream.on("POST", "/v1/responses", script)
        answers.append(await create(gw, {**body, "stream": True}, key=CANARY_KEY, headers=secret_headers))
    broken = (b'{"model": "gpt", "input": "%b' % CANARY.encode(), b'{"model": {"%b": 1}}' % CANARY.encode())
    answers += [await gw.fetch("POST", "/v1/responses", key=CANARY_KEY, body=body) for body in broken]
    answers.append(await create(gw, body, key=f"wrong-{CANARY}"))
    answers.append(await gw.fetch("GET", f"/v1/{CANARY}?api_key={CANARY}", key=CANARY_KEY))
    answers.append(await gw.fetch("GET", f"/v1/responses/resp_x?key={CANARY}", key=CANARY_KEY))
    await gw.fetch("GET", "/v1/models", key=CANARY_KEY)
    return answers


async def test_no_secret_and_no_content_is_ever_logged_counted_or_returned(upstream, private_valkey, capfd):
    """Canaries in keys, credentials, headers, bodies, queries and the Redis password turn up nowhere."""
    keyed = {**ALICE, "key": CANARY_KEY}
    served = provider(upstream, api_key=CREDENTIAL, headers={"x-extra": f"{CANARY}-extra"})
    private_valkey.run("CONFIG", "SET", "requirepass", f"{CANARY}-another")
    redis_url = private_valkey.url.replace("unix://", f"unix://:{PASSWORD}@")
    guarded = config(providers={"main": served}, keys=[keyed], bindings={"ack_timeout": 0.2})
    async with gateway(guarded, redis_url=redis_url) as gw:
        assert gw.app._bindings.state == "down"
        answers = await provoke(gw, upstream)
        await nothing_left(gw)
        exposed = await gw.exposition()
    written = capfd.readouterr()
    assert [answer.status for answer in answers][:3] == [200, 200, 200]
    assert len([line for line in written.out.splitlines() if '"event":"exchange"' in line]) == len(answers) + 1
    assert "redis_state" in written.out
    assert CANARY not in written.out
    assert CANARY not in written.err
    assert CANARY not in exposed
    for answer in answers:
        assert CREDENTIAL.encode() not in answer.body
        assert CANARY_KEY.encode() not in answer.body
        assert PASSWORD.encode() not in answer.body
        assert CANARY not in str(answer.headers)
