"""How long may a stream be silent before something on the way hangs up."""

from itertools import pairwise

from proxy.doctor.base import Row, Verdict, Visit
from proxy.doctor.client import Recording

NAME = "silence"
GRACE = 30.0
"""Seconds beyond the silence that was asked for, after which the stream is given up."""
UNBROKEN = 55.0
"""Silence on the wire that is close to the limit many have, of a minute."""
ALIKE = 1.1
"""Silences that differ by less than this factor are as long as each other."""
GOOD = 200
FAILED = "response.failed"


async def probe(visit: Visit) -> list[Row]:
    """Ask for a stream that is silent in its middle, and see whether its end comes."""
    asked = visit.options.silence
    if not asked:
        return [Row(NAME, Verdict.SKIP, "not asked for: --silence 0")]
    body = visit.body(events_per_second="0", silence=f"{asked:g}")
    recording = await visit.client.record(body, patience=asked + GRACE)
    return [judge(visit, recording, asked)]


def judge(visit: Visit, recording: Recording, asked: float) -> Row:
    """Judge by how a stream ended that was silent for `asked` seconds."""
    lasted = recording.ended - recording.began
    quiet, longest, comments = _since_last(recording), recording.longest_silence, recording.comments
    figures = {"asked": asked, "lasted": lasted, "longest_silence": longest, "comments": comments}
    if recording.status != GOOD or not recording.pieces:
        return Row(NAME, Verdict.FAIL, f"no stream came, {recording.answer().told()}", figures=figures)
    if recording.finished and recording.events[-1].get("type") == FAILED:
        message = (recording.events[-1].get("response", {}).get("error") or {}).get("message")
        found = f"the gateway ended the stream after {lasted:.1f} s: {message}"
        return Row(NAME, Verdict.FAIL, found, visit.advise("ended_by_gateway"), figures)
    if not recording.finished:
        how = "given up" if recording.end == "silent" else "cut"
        found = f"{how} {lasted:.1f} s after the request, {quiet:.1f} s after the last byte, without its last event"
        symptom = "cut_while_alive" if _outlived(recording, quiet) else "cut_when_silent"
        return Row(NAME, Verdict.FAIL, found, visit.advise(symptom), figures)
    if lasted * ALIKE < asked:
        return Row(NAME, Verdict.SKIP, f"the stream ended after {lasted:.1f} s: its sender was not silent", (), figures)
    found = f"a stream that pauses for {asked:g} s survives; {comments} comments came, {longest:.1f} s apart at most"
    if longest > UNBROKEN:
        return Row(NAME, Verdict.WARN, found, visit.advise("unbroken_silence"), figures)
    return Row(NAME, Verdict.OK, found, figures=figures)


def _since_last(recording: Recording) -> float:
    return recording.ended - recording.pieces[-1] if recording.pieces else 0.0


def _outlived(recording: Recording, quiet: float) -> bool:
    """Tell whether the stream had survived a longer silence than the one it was cut in: then its whole time was up."""
    return max((after - before for before, after in pairwise(recording.pieces)), default=0.0) * ALIKE > quiet
