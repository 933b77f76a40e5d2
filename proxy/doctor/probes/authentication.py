"""Who decides about keys: the gateway has to take the right one and refuse a wrong one and none, itself."""

from secrets import token_urlsafe

from proxy.doctor.base import Row, Verdict, Visit, server_of
from proxy.doctor.client import Answer

NAME = "authentication"
GOOD, REFUSED, UNKNOWN_URL = 200, 401, 404
NO_KEY = {"Authorization": "", "api-key": ""}


async def probe(visit: Visit) -> list[Row]:
    """Ask for the models with the key, with a wrong one and with none."""
    client = visit.client
    right = await client.call("GET", "/models")
    if right.status != GOOD:
        return [await _refused(visit, right)]
    learn(visit, right)
    wrong = await client.call("GET", "/models", headers=client.credential(f"sk-gw-{token_urlsafe(32)}"))
    none = await client.call("GET", "/models", headers=NO_KEY)
    for name, answer in (("a wrong key", wrong), ("no key", none)):
        row = judge_refusal(visit, name, answer)
        if row is not None:
            return [row]
    return [Row(NAME, Verdict.OK, "the key is accepted; a wrong one and none are refused by the gateway")]


def learn(visit: Visit, models: Answer) -> None:
    """Note which providers the key may use."""
    listed = models.json().get("data", [])
    owners = {str(model.get("owned_by")) for model in listed if isinstance(model, dict)}
    visit.others = frozenset(owners - {visit.options.provider})


def judge_refusal(visit: Visit, name: str, answer: Answer) -> Row | None:
    """Judge the answer to a request without the right key; None where it is as it should be."""
    if answer.status == REFUSED and answer.from_gateway:
        return None
    if answer.status == GOOD:
        found = f"{name} is accepted: something in front sends a key of its own"
        return Row(NAME, Verdict.FAIL, found, visit.advise("key_put_in"))
    found = f"{name} is refused by {_whom(answer)}, {answer.told()}"
    return Row(NAME, Verdict.WARN, found, visit.advise("refused_in_front"))


def _whom(answer: Answer) -> str:
    return "the gateway" if answer.from_gateway else f"{server_of(answer)}, not by the gateway"


async def _refused(visit: Visit, right: Answer) -> Row:
    """Find out why the right key is refused; where it arrives as `api-key`, the other probes send it so."""
    if not right.from_gateway:
        found = f"the key is refused by {_whom(right)}: {right.told()}"
        return Row(NAME, Verdict.FAIL, found, visit.advise("refused_in_front"))
    if right.status != REFUSED:
        advice = visit.advise("no_gateway") if right.status == UNKNOWN_URL else ()
        return Row(NAME, Verdict.FAIL, f"GET /models: {right.told()}", advice)
    visit.client.key_header = "api-key"
    other = await visit.client.call("GET", "/models")
    if other.status == GOOD:
        learn(visit, other)
        found = "the header Authorization does not arrive as it was sent: the same key is accepted as api-key"
        return Row(NAME, Verdict.FAIL, found, visit.advise("authorization_lost"))
    visit.client.key_header = "Authorization"
    visit.refused = True
    return Row(NAME, Verdict.FAIL, f"the gateway refuses the key, {right.told()}", visit.advise("wrong_key"))
