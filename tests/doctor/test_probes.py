"""What each probe makes of what it saw: a verdict, the figures, the setting to change."""

import orjson
import pytest

from proxy.doctor.base import Options, Verdict, Visit
from proxy.doctor.client import Answer, Recording
from proxy.doctor.probes import (
    abort,
    authentication,
    clock,
    gateway,
    headers,
    keepalive,
    provider,
    replicas,
    retries,
    silence,
    streaming,
    uploads,
)
from proxy.doctor.probes.replicas import Finding
from proxy.doctor.timing import Flow

OK, WARN, FAIL, SKIP = Verdict
ANSWERED = {"x-gateway-request-id": "gw_0123456789abcdef000001", "x-gateway-provider": "sandbox"}
REFUSED = {"x-gateway-request-id": "gw_0123456789abcdef000001"}
NGINX = {"Server": "nginx/1.22.1", "Content-Type": "text/html"}
END = {"type": "response.completed", "response": {}}
FAILED = {"type": "response.failed", "response": {"error": {"message": "it fell silent"}}}


@pytest.fixture
def visit():
    return Visit(None, Options())


def answer(status, head=REFUSED, body=b"", took=0.01):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Answer(status, "HTTP/1.1", head, content, 100.0, 100.0 + took)


def error(code):
    return {"error": {"message": "because", "code": code}}


def recording(pieces=(), events=(), ended=10.0, status=200, **fields):
    return Recording(0.0, status, pieces=list(pieces), events=list(events), ended=ended, **fields)


@pytest.mark.parametrize(
    ("given", "verdict", "found"),
    [
        (answer(200), OK, "answers over HTTP/1.1 in 10 ms"),
        (answer(401, {**REFUSED, "Server": "nginx"}), OK, "answers over HTTP/1.1 in 10 ms, nginx in front"),
        (answer(200, {"x-request-id": "gw_0123456789abcdef000001"}), OK, "answers over HTTP/1.1 in 10 ms"),
        (
            answer(200, {"x-request-id": "req_1"}),
            FAIL,
            "no gateway: an unnamed server answers GET /models with status 200",
        ),
        (answer(401, NGINX), FAIL, "nginx/1.22.1 refuses the request itself, before it reaches a gateway: status 401"),
    ],
)
def test_gateway_is_known_by_its_request_id(given, verdict, found, visit):
    row = gateway._judge(visit, given)
    assert (row.verdict, row.found) == (verdict, found)


def test_gateway_behind_an_old_protocol_is_warned_of(visit):
    given = answer(200)
    given.version = "HTTP/1.0"
    assert gateway._judge(visit, given).verdict is WARN


@pytest.mark.parametrize(("days", "verdict"), [(90, OK), (21, OK), (20.9, WARN), (0.5, WARN)])
def test_certificate_is_judged_by_the_days_it_has_left(days, verdict, visit):
    assert gateway.judge_certificate(visit, 86_400 * (1000 + days), 86_400 * 1000).verdict is verdict


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("a.b", False)]
)
def test_this_machine_is_told_from_others(host, local):
    assert gateway.is_local(host) == local


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (answer(401), None),
        (answer(200), FAIL),
        (answer(401, NGINX), WARN),
        (answer(403, {"Server": "awselb/2.0"}), WARN),
        (answer(404), WARN),
    ],
)
def test_refusal_has_to_be_the_gateways(given, verdict, visit):
    row = authentication.judge_refusal(visit, "no key", given)
    assert (row and row.verdict) is verdict


@pytest.mark.parametrize(
    ("given", "verdict", "kind"),
    [
        (answer(200, ANSWERED, {"provider": "sandbox"}), OK, "sandbox"),
        (answer(200, REFUSED, {"provider": "openai"}), OK, "openai"),
        (answer(200, {**ANSWERED, "x-gateway-provider": "other"}, {"provider": "sandbox"}), FAIL, ""),
        (answer(400, REFUSED, error("unknown_provider")), FAIL, ""),
        (answer(502, NGINX), FAIL, ""),
    ],
)
def test_provider_is_the_one_that_was_asked_for(given, verdict, kind, visit):
    assert (provider.judge(visit, given).verdict, visit.kind) == (verdict, kind)


STREAM = {**ANSWERED, "x-request-id": "req_1", "Content-Type": "text/event-stream; charset=utf-8"}


@pytest.mark.parametrize(
    ("code", "head", "verdict", "found"),
    [
        ("unknown_provider", STREAM, OK, "x-tfy-provider-name arrives"),
        (None, STREAM, FAIL, "x-tfy-provider-name does not arrive"),
        ("unknown_provider", {**STREAM, "Content-Type": "text/plain"}, FAIL, "a stream's Content-Type is text/plain"),
        ("unknown_provider", {**STREAM, "Content-Encoding": "gzip"}, WARN, "streams are compressed on the way (gzip)"),
        ("unknown_provider", {"Content-Type": "text/event-stream"}, WARN, "taken away: x-gateway-provider, x-gateway-"),
    ],
)
def test_headers_have_to_cross(code, head, verdict, found, visit):
    row = headers.judge(visit, answer(400, REFUSED, error(code)), recording(headers=head))
    assert row.verdict is verdict
    assert row.found.startswith(found)
    assert visit.told_provider == ("x-gateway-provider" in head)


def test_headers_of_a_stream_that_was_refused_are_not_judged(visit):
    row = headers.judge(visit, answer(400, REFUSED, error("unknown_provider")), recording(status=502, headers=NGINX))
    assert (row.verdict, row.found) == (FAIL, "a stream was refused, status 502")


@pytest.mark.parametrize(("made", "closing", "verdict"), [(0, 0, OK), (4, 4, WARN), (0, 1, WARN), (1, 0, WARN)])
def test_keepalive_is_judged_by_connections(made, closing, verdict, visit):
    assert keepalive.judge(visit, made, closing).verdict is verdict


def sample(flow, first=0.02, lasted=1.6, round_trip=0.01):
    return streaming.Sample(first, lasted, round_trip, flow)


@pytest.mark.parametrize(("first", "verdict"), [(0.02, OK), (0.16, OK), (0.215, WARN), (0.9, WARN), (1.6, FAIL)])
def test_first_event_is_judged_against_a_json_answer(first, verdict, visit):
    row = streaming.judge_first(visit, sample(Flow(38, 38, 0.0, 0.04), first))
    assert row.verdict is verdict
    assert bool(row.change) == (verdict is not OK)


@pytest.mark.parametrize(
    ("flow", "verdict"),
    [
        (Flow(38, 38, 0.005, 0.045), OK),
        (Flow(38, 36, 0.06, 0.1), OK),
        (Flow(38, 32, 0.12, 0.16), WARN),
        (Flow(38, 38, 0.25, 0.3), WARN),
        (Flow(38, 38, 1.2, 1.3), FAIL),
        (Flow(38, 7, 0.24, 0.25), FAIL),
        (Flow(38, 1, 1.5, 0.0), FAIL),
    ],
)
def test_flow_is_judged_by_pieces_and_by_what_was_held(flow, verdict, visit):
    assert streaming.judge_flow(visit, sample(flow)).verdict is verdict


def test_waiting_of_200_ms_is_known_for_what_it_is(visit):
    """HAProxy does not say that it is there, but its kernel does."""
    late = streaming.judge_first(visit, sample(Flow(38, 38, 0.0, 0.04), 0.215))
    clumps = streaming.judge_flow(visit, sample(Flow(38, 8, 0.24, 0.256)))
    assert [row.change[0].partition(" (")[0] for row in (late, clumps)] == ["HAProxy: option http-no-delay"] * 2
    other = streaming.judge_flow(visit, sample(Flow(38, 3, 0.9, 0.72)))
    assert other.change[0].startswith("nginx: proxy_buffering off")


@pytest.mark.parametrize(
    ("flow", "first", "lasted", "verdicts"),
    [
        (Flow(40, 12, 0.0, 0.3), 2.0, 9.0, [OK, OK]),
        (Flow(40, 1, 0.0, 0.0), 8.0, 8.0, [OK, WARN]),
        (Flow(40, 1, 0.0, 0.0), 0.5, 0.5, [OK, OK]),
        (Flow(40, 30, 0.0, 0.3), 31.0, 40.0, [WARN, OK]),
    ],
)
def test_stream_of_a_provider_with_a_time_of_its_own_is_judged_by_what_is_plain(flow, first, lasted, verdicts):
    assert [row.verdict for row in streaming.judge_unsteered(sample(flow, first, lasted))] == verdicts


def told(row):
    return row.verdict, [line.partition(":")[0] for line in row.change]


EVERY_HOP = ["nginx", "HAProxy", "Envoy", "AWS ALB", "Google Cloud", "gateway"]


@pytest.mark.parametrize(
    ("given", "verdict", "whose"),
    [
        (recording([0.1, 15.1, 20.1], [END], 20.1, comments=1), OK, []),
        (recording([0.1, 70.1], [END], 70.1), WARN, ["gateway"]),
        (recording([0.1, 0.2], [END], 0.2), SKIP, []),
        (recording([0.1], [{}], 60.1), FAIL, EVERY_HOP),
        (
            recording([0.1, 15.1, 30.1], [{}], 31.0, comments=2),
            FAIL,
            ["Envoy", "Google Cloud", "what limits the whole of an answer, not its silence"],
        ),
        (recording([0.1, 20.1], [FAILED], 20.1), FAIL, ["gateway"]),
        (recording([0.1], [{}], 95.0, end="silent"), FAIL, EVERY_HOP),
        (recording(status=504), FAIL, []),
    ],
)
def test_silence_is_judged_by_how_the_stream_ended(given, verdict, whose, visit):
    assert told(silence.judge(visit, given, 20.0)) == (verdict, whose)


def test_silence_that_was_cut_is_told_in_figures(visit):
    row = silence.judge(visit, recording([0.1, 0.2], [{}], 60.3), 75.0)
    assert row.found == "cut 60.3 s after the request, 60.1 s after the last byte, without its last event"
    row = silence.judge(visit, recording([0.1, 0.2], [{}], 105.0, end="silent"), 75.0)
    assert row.found.startswith("given up 105.0 s after the request")


@pytest.mark.parametrize(
    ("refusal", "verdict", "found"),
    [
        (answer(413, NGINX), FAIL, "512 KiB are accepted, 1 MiB are not: nginx/1.22.1 answers status 413, text/html"),
        (answer(413), WARN, "512 KiB are accepted, 1 MiB are not by the gateway's own limit"),
        (answer(413, ANSWERED, error("x")), WARN, "512 KiB are accepted, 1 MiB are not: status 413: because"),
        ("the connection broke", FAIL, "512 KiB are accepted, 1 MiB are not: the connection broke"),
    ],
)
def test_body_size_is_judged_by_who_refused_it(refusal, verdict, found, visit):
    row = uploads.judge_size(visit, 524_288, 1_048_576, refusal)
    assert (row.verdict, row.found) == (verdict, found)


@pytest.mark.parametrize(("held", "verdict"), [(False, OK), (True, WARN)])
def test_upload_is_judged_by_whether_it_was_held(held, verdict, visit):
    assert uploads.judge_upload(visit, held=held).verdict is verdict


@pytest.mark.parametrize(
    ("status", "since", "verdict"),
    [
        ("cancelled", 0.1, OK),
        ("cancelled", 3.9, WARN),
        ("in_progress", 5.0, FAIL),
        ("completed", 5.0, SKIP),
        ("", 5.0, SKIP),
    ],
)
def test_abort_is_judged_by_what_became_of_the_response(status, since, verdict, visit):
    assert abort.judge(visit, recording(), status, since).verdict is verdict


@pytest.mark.parametrize(
    ("took", "attempts"), [(1.0, 1), (1.01, 1), (1.6, 1), (1.75, 2), (2.02, 2), (3.1, 3), (0.5, 1)]
)
def test_retries_are_counted_by_the_time_they_took(took, attempts, visit):
    row = retries.judge(visit, took)
    assert (row.figures["attempts"], row.verdict) == (attempts, OK if attempts == 1 else FAIL)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (answer(503, ANSWERED, error("asked_for")), None),
        (answer(200, ANSWERED), SKIP),
        (answer(503, NGINX), WARN),
        (answer(502, ANSWERED, error("asked_for")), WARN),
    ],
)
def test_refusal_that_was_asked_for_has_to_arrive_as_it_is(given, verdict, visit):
    row = retries.judge_answer(visit, given)
    assert (row and row.verdict) is verdict


@pytest.mark.parametrize(
    ("ahead", "verdict"), [(0.0, OK), (4.9, OK), (-6.0, WARN), (239.0, WARN), (241.0, FAIL), (-3600.0, FAIL)]
)
def test_clock_is_judged_by_how_far_it_is_off(ahead, verdict, visit):
    row = clock.judge(visit, ahead, "it")
    assert row.verdict is verdict
    assert ("behind" in row.found) == (ahead < -5)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (answer(200, ANSWERED), "found"),
        (answer(404, ANSWERED), "bound"),
        (answer(404), "lost"),
        (answer(404, {**ANSWERED, "x-gateway-provider": "other"}), "lost"),
        (answer(200, {**ANSWERED, "x-gateway-provider": "other"}), "lost"),
        (answer(503), "away"),
        (answer(503, NGINX), "failed"),
        (answer(502, ANSWERED), "failed"),
    ],
)
def test_outcome_tells_a_binding_from_what_a_provider_remembers(given, outcome):
    assert replicas.outcome_of(given, "sandbox") == outcome


@pytest.mark.parametrize(
    ("before", "after", "known", "verdict"),
    [
        ([Finding(found=5), Finding(bound=5)], [Finding(lost=5), Finding(bound=5)], {}, OK),
        ([Finding(found=5)], [Finding(lost=5)], {"deleted": False}, WARN),
        ([Finding(found=5), Finding(lost=5)], [Finding(lost=9)], {}, FAIL),
        ([Finding(found=5)], [Finding(found=1, lost=4)], {}, FAIL),
        ([Finding(found=5), Finding(away=1)], [Finding(lost=9)], {}, FAIL),
        ([Finding(found=5), Finding(failed=1)], [Finding(lost=9)], {}, FAIL),
        ([Finding(found=5), Finding(bound=5)], [Finding(bound=9)], {"forwarded": True}, SKIP),
        ([Finding(found=9)], [Finding(bound=9)], {"forwarded": True}, OK),
    ],
)
def test_replicas_are_judged_by_what_each_process_said(before, after, known, verdict, visit):
    both = [dict(enumerate(findings)) for findings in (before, after)]
    row = replicas.judge(visit, *both, **{"deleted": True, "forwarded": False, **known})
    assert (row.verdict, row.figures["processes"]) == (verdict, len(before))


def test_replicas_whose_provider_is_not_told_are_not_judged(visit):
    visit.told_provider = False
    row = replicas.judge(visit, {"a": Finding(lost=3)}, {}, deleted=True, forwarded=False)
    assert row.verdict is SKIP
