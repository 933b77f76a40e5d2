"""Does a client's connection serve more than one request: else each pays for a handshake."""

from proxy.doctor.base import Row, Verdict, Visit

NAME = "keep-alive"
CALLS = 4


async def probe(visit: Visit) -> list[Row]:
    """Make a few calls one after the other and count the connections they took."""
    client = visit.client
    await client.call("GET", "/models")
    before = client.connections
    answers = [await client.call("GET", "/models") for _ in range(CALLS)]
    closing = sum(answer.headers.get("Connection", "").lower() == "close" for answer in answers)
    return [judge(visit, client.connections - before, closing)]


def judge(visit: Visit, made: int, closing: int) -> Row:
    """Judge by how many connections `CALLS` calls needed beside the one there was, and how many answers closed it."""
    figures = {"calls": CALLS, "connections": made, "closing": closing}
    found = f"{CALLS} calls took {made} new connections; {closing} answers said Connection: close"
    if made or closing:
        return Row(NAME, Verdict.WARN, found, visit.advise("not_kept_alive"), figures)
    return Row(NAME, Verdict.OK, f"{CALLS} calls went over one connection", figures=figures)
