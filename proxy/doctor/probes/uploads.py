"""How large may a body be, and does it go up while it is being sent."""

import asyncio
import io
from collections.abc import AsyncIterator

import orjson

from proxy.doctor.base import Row, Verdict, Visit, server_of
from proxy.doctor.client import Answer, Unreachable

SIZE, UPLOAD = "body size", "upload"
GOOD, TOO_LARGE = 200, 413
LEAST = 65_536
PATIENCE = 600.0
NOWHERE = "/responses/doctor/knows/of/none"
"""A path the gateway refuses as soon as it has read a request's head."""
ANNOUNCED, FIRST_PIECE = LEAST, 1024
JSON = {"Content-Type": "application/json"}


async def probe_size(visit: Visit) -> list[Row]:
    """Send a body of the size asked for; where it is refused, find the largest power of two that is not."""
    asked = visit.options.body_bytes
    if not asked:
        return [Row(SIZE, Verdict.SKIP, "not asked for: --body 0")]
    refusal = await _send(visit, asked)
    if isinstance(refusal, Answer) and refusal.status == GOOD:
        return [Row(SIZE, Verdict.OK, f"{_size(asked)} are accepted", figures={"accepted": asked})]
    size, accepted = LEAST, 0
    while size < asked:
        outcome = await _send(visit, size)
        if not isinstance(outcome, Answer) or outcome.status != GOOD:
            asked, refusal = size, outcome
            break
        accepted, size = size, size * 2
    return [judge_size(visit, accepted, asked, refusal)]


def judge_size(visit: Visit, accepted: int, refused: int, refusal: Answer | str) -> Row:
    """Judge a size that was refused, by whoever refused it."""
    figures = {"accepted": accepted, "refused": refused}
    sizes = f"{_size(accepted)} are accepted, {_size(refused)} are not"
    if isinstance(refusal, str):
        return Row(SIZE, Verdict.FAIL, f"{sizes}: {refusal}", visit.advise("body_refused"), figures)
    if not refusal.from_gateway:
        found = f"{sizes}: {server_of(refusal)} answers {refusal.told()}, {_kind(refusal)}"
        return Row(SIZE, Verdict.FAIL, found, visit.advise("body_refused"), figures)
    if refusal.status == TOO_LARGE and not refusal.from_provider:
        found = f"{sizes} by the gateway's own limit"
        return Row(SIZE, Verdict.WARN, found, visit.advise("body_refused_by_gateway"), figures)
    return Row(SIZE, Verdict.WARN, f"{sizes}: {refusal.told()}", (), figures)


def _kind(answer: Answer) -> str:
    return answer.headers.get("Content-Type", "without a Content-Type").partition(";")[0]


async def _send(visit: Visit, size: int) -> Answer | str:
    """Create with a body of so many bytes, most of them white space: no provider counts it as tokens."""
    text = orjson.dumps(visit.body("Hello", events_per_second="0"))[:-1]
    body = io.BytesIO(text + b" " * (size - len(text) - 1) + b"}")
    try:
        return await visit.client.call("POST", "/responses", body=body, headers=JSON, fresh=True, patience=PATIENCE)
    except Unreachable as error:
        return f"the connection broke, {error}"


async def probe_upload(visit: Visit) -> list[Row]:
    """Announce a body and send its beginning: who reads as it comes can refuse it before the rest."""
    answered = asyncio.Event()
    held = False

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal held
        yield b" " * FIRST_PIECE
        try:
            async with asyncio.timeout(visit.options.patience):
                await answered.wait()
        except TimeoutError:
            held = True
            yield b" " * (ANNOUNCED - FIRST_PIECE)

    headers = {**JSON, "Content-Length": str(ANNOUNCED)}
    try:
        answer = await visit.client.call("POST", NOWHERE, body=pieces(), headers=headers, fresh=True)
    except Unreachable as error:
        return [Row(UPLOAD, Verdict.WARN, f"the connection broke, {error}", visit.advise("upload_held"))]
    finally:
        answered.set()
    if not answer.from_gateway:
        return [Row(UPLOAD, Verdict.SKIP, f"{server_of(answer)} answered, {answer.told()}")]
    return [judge_upload(visit, held=held)]


def judge_upload(visit: Visit, *, held: bool) -> Row:
    """Judge by whether the gateway heard of a request before its body was complete."""
    if held:
        found = f"the gateway hears of a request once its whole body is there: not in {visit.options.patience:g} s"
        return Row(UPLOAD, Verdict.WARN, found, visit.advise("upload_held"))
    return Row(UPLOAD, Verdict.OK, "bodies reach the gateway while they are being sent")


def _size(count: int) -> str:
    """Write a number of bytes."""
    for unit, size in (("MiB", 1_048_576), ("KiB", 1024)):
        if count >= size:
            return f"{count / size:g} {unit}"
    return f"{count} bytes"
