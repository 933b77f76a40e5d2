"""The lease, as each scheme uses it against a real endpoint: one asks for all, ahead of time, and nobody is held up."""

import asyncio
import threading

import pytest

from proxy.credentials.base import PAUSE, Held, Lease, explain
from proxy.errors import InternalError
from tests.credentials.conftest import SCHEMES
from tests.rig.eventually import eventually
from tests.rig.identity import Clock

EACH = pytest.mark.parametrize("scheme", SCHEMES, indirect=True)
SHORT = 240
"""Seconds of a token's life, short enough for every library to ask for the next one when it is told to."""


@EACH
async def test_token_is_asked_for_once_and_used_again(scheme):
    assert [await scheme.token() for _ in range(3)] == ["token-1"] * 3
    assert (scheme.issuer.asked, scheme.reports) == (1, [])


@EACH
async def test_many_requests_wait_for_one_answer_and_the_loop_goes_on(scheme):
    scheme.issuer.gate.clear()
    waiting = [asyncio.create_task(scheme.token()) for _ in range(100)]
    await eventually(lambda: scheme.issuer.asked)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    scheme.issuer.gate.set()
    assert await asyncio.gather(*waiting) == ["token-1"] * 100
    assert scheme.issuer.asked == 1


@EACH
async def test_token_is_renewed_ahead_of_its_end_while_the_old_one_serves(scheme):
    scheme.issuer.lifetime = SHORT
    assert await scheme.token() == "token-1"
    scheme.issuer.gate.clear()
    scheme.clock.ahead = SHORT * 0.6
    assert [await scheme.token() for _ in range(100)] == ["token-1"] * 100
    await eventually(lambda: scheme.issuer.asked == 2)
    assert await scheme.token() == "token-1"
    scheme.issuer.gate.set()
    await eventually(lambda: _is(scheme, "token-2"))
    assert scheme.issuer.asked == 2


@EACH
async def test_token_goes_on_while_renewals_fail(scheme):
    scheme.issuer.lifetime = SHORT
    await scheme.token()
    scheme.issuer.refuses = True
    scheme.clock.ahead = SHORT * 0.6
    assert await scheme.token() == "token-1"
    await eventually(lambda: scheme.reports)
    assert [await scheme.token() for _ in range(100)] == ["token-1"] * 100
    assert scheme.issuer.asked == 2
    assert "canary" not in str(scheme.reports)
    scheme.issuer.refuses = False
    scheme.clock.ahead += PAUSE
    await eventually(lambda: _is(scheme, "token-3"))


@EACH
async def test_request_is_refused_when_there_is_no_token(scheme):
    scheme.issuer.lifetime = SHORT
    await scheme.token()
    scheme.issuer.refuses = True
    scheme.clock.ahead = SHORT
    for _ in range(2):
        with pytest.raises(InternalError) as raised:
            await scheme.token()
        assert (raised.value.code, raised.value.message) == (
            "no_credentials",
            "The provider's credentials cannot be obtained.",
        )
        assert raised.value.__cause__ is raised.value.__context__ is None
    assert scheme.issuer.asked == 2
    scheme.issuer.refuses, scheme.issuer.lifetime = False, 3600
    scheme.clock.ahead += PAUSE
    assert await scheme.token() == "token-3"


@EACH
async def test_request_that_leaves_ends_nobody_elses_wait(scheme):
    scheme.issuer.gate.clear()
    leaving, staying = (asyncio.create_task(scheme.token()) for _ in range(2))
    await eventually(lambda: scheme.issuer.asked)
    leaving.cancel()
    await asyncio.wait({leaving})
    scheme.issuer.gate.set()
    assert await staying == "token-1"


@EACH
async def test_close_waits_for_no_endpoint(scheme):
    scheme.issuer.gate.clear()
    waiting = asyncio.create_task(scheme.token())
    await eventually(lambda: scheme.issuer.asked)
    await scheme.credentials.close()
    with pytest.raises(InternalError):
        await waiting
    scheme.issuer.gate.set()


@EACH
async def test_no_secret_is_in_what_prints(scheme):
    token = await scheme.token()
    held = (scheme.credentials, *vars(scheme.credentials).values())
    assert token not in repr(held)
    assert "secret" not in repr(held)


def test_no_secret_is_in_what_is_held():
    assert repr(Held(["canary"], 1.5)) == f"{Held('canary', 1.5)}" == "Held(***, expires=1.5)"


async def _is(scheme, token):
    return await scheme.token() == token


class Scripted:
    """A source of numbered values that live as long as the test says."""

    def __init__(self, *lives):
        self._lives = list(lives)
        self.obtained = 0
        self.closed = asyncio.Event()
        self.clock = Clock()

    def obtain(self):
        self.obtained += 1
        return Held(self.obtained, self.clock() + self._lives.pop(0))

    def close(self):
        self.closed.set()


async def test_long_lived_value_is_renewed_five_minutes_ahead():
    source = Scripted(3600, 3600)
    lease = Lease(source, source.clock, list)
    assert await lease.get() == 1
    for ahead, obtained in ((3290, 1), (3301, 2)):
        source.clock.ahead = ahead
        await lease.get()
        await eventually(lambda obtained=obtained: source.obtained == obtained)
    await lease.close()


async def test_value_that_never_expires_is_obtained_once():
    source = Scripted(float("inf"))
    lease = Lease(source, source.clock, list)
    for ahead in (0, 1e9):
        source.clock.ahead = ahead
        assert await lease.get() == 1
    await lease.close()


async def test_value_that_has_expired_already_is_none_and_says_why():
    reports = []
    source = Scripted(-1, 60)
    lease = Lease(source, source.clock, reports.append)
    for _ in range(2):
        with pytest.raises(InternalError):
            await lease.get()
    assert (source.obtained, len(reports)) == (1, 1)
    assert "clocks" in reports[0]
    source.clock.ahead = PAUSE
    assert await lease.get() == 2
    await lease.close()


async def test_request_waits_so_long_and_no_longer_for_what_does_not_come():
    """A program that the environment names may hang; the renewal goes on and may yet come to something."""
    source, going, reports = Scripted(3600), threading.Event(), []
    obtain = source.obtain
    source.obtain = lambda: going.wait() and obtain()
    lease = Lease(source, source.clock, reports.append, patience=0.05)
    try:
        with pytest.raises(InternalError):
            await lease.get()
    finally:
        going.set()
    await eventually(lambda: source.obtained)
    assert await lease.get() == 1
    assert reports == ["nothing has come within 0.05 s"]
    await lease.close()


async def test_closing_closes_the_source():
    source = Scripted(60)
    lease = Lease(source, source.clock, list)
    await lease.get()
    await lease.close()
    await eventually(source.closed.is_set)
    source.clock.ahead = 60
    with pytest.raises(InternalError):
        await lease.get()


class Answered(Exception):
    def __init__(self, *args, response=None):
        super().__init__(*args)
        self.response = response


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("canary"), "ValueError"),
        (Answered("canary", {"error": "invalid_grant", "error_description": "canary"}), "Answered (invalid_grant)"),
        (Answered(response={"Error": {"Code": "AccessDenied", "Message": "canary"}}), "Answered (AccessDenied)"),
        (Answered(response={"Error": "canary"}), "Answered"),
        (Answered({"error": "canary canary"}), "Answered"),
        (Answered({"error": "c" * 65}), "Answered"),
        (Answered({"error": {"canary": 1}}), "Answered"),
        (Answered({}, response="canary"), "Answered"),
    ],
)
def test_explain_names_type_and_code_only(error, text):
    assert explain(error) == text
