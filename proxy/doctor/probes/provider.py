"""Whether the provider that the other probes need is there, and whether it can be told what to do."""

from proxy.doctor.base import SANDBOX, Row, Verdict, Visit
from proxy.doctor.client import Answer

NAME = "provider"
GOOD = 200


async def probe(visit: Visit) -> list[Row]:
    """Create one response."""
    answer = await visit.client.call("POST", "/responses", body=visit.body("Say hello."))
    return [judge(visit, answer)]


def judge(visit: Visit, answer: Answer) -> Row:
    """Judge by who answered; learns the provider's kind."""
    wanted = visit.options.provider
    if answer.status != GOOD:
        found = f"{wanted}/{visit.options.model} does not answer, {answer.told()}"
        return Row(NAME, Verdict.FAIL, found, visit.advise("no_provider"))
    served = answer.headers.get("x-gateway-provider", wanted)
    if served != wanted:
        found = f"{served} answers what asks for {wanted}/{visit.options.model}"
        return Row(NAME, Verdict.FAIL, found, visit.advise("no_provider"))
    visit.kind = str(answer.json().get("provider", ""))
    if visit.kind == SANDBOX:
        found = f"{wanted} answers, of kind {SANDBOX}"
    else:
        found = f"{wanted} answers, of kind {visit.kind or 'unknown'}: it does not do what a probe asks of it"
    return Row(NAME, Verdict.OK, found, figures={"kind": visit.kind, "seconds": answer.took})
