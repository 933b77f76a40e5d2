"""What probes share: verdicts, the rows they give, and the visit in which they are made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from proxy.doctor.advice import advise, identify
from proxy.doctor.client import Answer, Client

Json = dict[str, Any]

SANDBOX = "sandbox"
"""The built-in provider's kind, and the name it is looked for under."""


class Verdict(StrEnum):
    """What a row says; only FAIL makes the command fail."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report: what was found, with its figures, and the setting to change."""

    probe: str
    verdict: Verdict
    found: str
    change: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What the command line sets. Times are in seconds; 0 leaves a probe out."""

    provider: str = SANDBOX
    model: str = SANDBOX
    silence: float = 75.0
    body_bytes: int = 33_554_432
    connections: int = 20
    patience: float = 5.0
    """How long what has to happen at once is waited for."""
    direct: tuple[str, ...] = ()
    """Base URLs nearer to the gateway, the nearest last."""


@dataclass(slots=True)
class Visit:
    """One run of the doctor: whom it asks, and what the probes so far found out for those after them."""

    client: Client
    options: Options
    hop: str = ""
    """What is in front, where it says so: a name in `advice.HOPS`."""
    kind: str = ""
    """The kind of the provider that answers."""
    others: frozenset[str] = frozenset()
    """Providers the key may use beside the one that is asked."""
    refused: bool = False
    """Whether the gateway takes the key in no form."""
    told_provider: bool = True
    """Whether answers say which provider made them."""

    @property
    def steerable(self) -> bool:
        """Whether the provider does what a request's metadata asks of it."""
        return self.kind == SANDBOX

    def body(self, text: str = "Count from 1 to 30, in words.", **asked: str) -> Json:
        """Make a create request; `asked` is what the sandbox is told to do, by its metadata."""
        body = {"model": f"{self.options.provider}/{self.options.model}", "input": text}
        return {**body, "metadata": asked} if asked and self.steerable else body

    def look(self, answer: Answer) -> None:
        """Learn from an answer's headers what is in front."""
        self.hop = self.hop or identify(answer.headers)

    def advise(self, symptom: str) -> tuple[str, ...]:
        """Return the lines to change: of what is in front where that is known, else of all that may be."""
        return advise(symptom, self.hop)


class Needs(StrEnum):
    """What a probe needs of the provider."""

    NOTHING = "nothing"
    ANSWERS = "answers"
    STEERED = "steered"


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to try: the names of the rows it gives, and how it is made.

    `needs` is what it cannot do without: a provider that answers, or one that does what a request asks of it.
    """

    rows: tuple[str, ...]
    run: Callable[[Visit], Awaitable[Sequence[Row]]]
    needs: Needs = Needs.NOTHING

    def skipped(self, why: str) -> list[Row]:
        """Return the rows of a probe that was not made."""
        return [Row(name, Verdict.SKIP, why) for name in self.rows]


def server_of(answer: Answer) -> str:
    """Name who wrote an answer, as far as it says."""
    return answer.headers.get("Server", "an unnamed server")
