"""Do headers cross what is in front: those that steer the gateway, and those clients and operators read."""

from secrets import token_hex

from proxy.doctor.base import Row, Verdict, Visit
from proxy.doctor.client import Answer, Recording

NAME = "headers"
NO_PROVIDER = "doctor-knows-of-none"
OWN = ("x-gateway-provider", "x-gateway-request-id", "x-request-id")
STREAM = "text/event-stream"
GOOD = 200


async def probe(visit: Visit) -> list[Row]:
    """Name a provider that is not there, which has to be refused; then look at a stream's head."""
    path = f"/responses/resp_{token_hex(24)}"
    refused = await visit.client.call("GET", path, headers={"x-tfy-provider-name": NO_PROVIDER})
    stream = await visit.client.record(visit.body("Say hello.", events_per_second="0"))
    return [judge(visit, refused, stream)]


def judge(visit: Visit, refused: Answer, stream: Recording) -> Row:
    """Judge by an answer to a request that named no provider there is, and by a stream's head."""
    lost = [name for name in OWN if name not in stream.headers]
    coding = stream.headers.get("Content-Encoding", "identity")
    kind = stream.headers.get("Content-Type", "")
    visit.told_provider = "x-gateway-provider" not in lost
    figures = {"lost": lost, "content_encoding": coding, "content_type": kind}
    if refused.error.get("code") != "unknown_provider":
        found = f"x-tfy-provider-name does not arrive: one that is not there was answered with {refused.told()}"
        return Row(NAME, Verdict.FAIL, found, visit.advise("provider_header_lost"), figures)
    if stream.status != GOOD:
        return Row(NAME, Verdict.FAIL, f"a stream was refused, {stream.answer().told()}", figures=figures)
    if not kind.lower().startswith(STREAM):
        found = f"a stream's Content-Type is {kind or 'missing'}"
        return Row(NAME, Verdict.FAIL, found, visit.advise("type_changed"), figures)
    if lost:
        return Row(NAME, Verdict.WARN, f"taken away: {', '.join(lost)}", visit.advise("answer_header_lost"), figures)
    if coding != "identity":
        found = f"streams are compressed on the way ({coding}): events may wait for more of them"
        return Row(NAME, Verdict.WARN, found, visit.advise("compressed"), figures)
    return Row(NAME, Verdict.OK, f"x-tfy-provider-name arrives; {', '.join(OWN)} come back", figures=figures)
