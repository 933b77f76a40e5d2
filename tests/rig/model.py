"""A model that follows a script: it knows the prompts the clients of ../shared/clients send, whatever the format."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

PONG = "pong-7421"
PERSON = '{"name":"Ada","age":36}'
SUMMARY = "HX-SUMMARY"
COMPACTING = "CONTEXT CHECKPOINT"
"""What Codex asks with for the summary that stands for a long dialogue from then on."""
HOTTEST = 2


class Entry(NamedTuple):
    """Something said: by whom, and what; a picture or a document by its type and size."""

    role: Literal["system", "user", "model", "result"]
    text: str


class Prompt(NamedTuple):
    """All the model is told; `tools` are their schemas by their names."""

    entries: tuple[Entry, ...]
    tools: Mapping[str, Any] = {}
    structured: bool = False
    temperature: float | None = None

    @property
    def asked(self) -> str:
        """What the user said last, in one or several messages."""
        return "\n".join(entry.text for entry in self.entries[slice(*self._last_run())])

    @property
    def results(self) -> list[str]:
        """What tools returned since."""
        behind = self.entries[self._last_run()[1] :]
        return [entry.text for entry in behind if entry.role == "result"]

    def said(self, pattern: str) -> list[str]:
        """Return what of all that was said matches."""
        return re.findall(pattern, "\n".join(entry.text for entry in self.entries))

    def _last_run(self) -> tuple[int, int]:
        places = [at for at, entry in enumerate(self.entries) if entry.role == "user"]
        start = end = places[-1] + 1 if places else 0
        while start and self.entries[start - 1].role == "user":
            start -= 1
        return start, end


class Call(NamedTuple):
    """A tool the model calls."""

    name: str
    arguments: Mapping[str, Any]


class Answer(NamedTuple):
    """What the model does: thinks, says, calls. One that is `cut` was too long, an `endless` one goes on and on."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    thought: str = ""
    cut: bool = False
    endless: bool = False

    @property
    def pieces(self) -> list[str]:
        """The text, as it comes."""
        return re.findall(r"\S+\s*|\s+", self.text)


class Refused(Exception):
    """The provider does not answer; `status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def answer(prompt: Prompt) -> Answer:
    """Do as the script says; raise Refused where it says so."""
    if prompt.temperature is not None and prompt.temperature > HOTTEST:
        raise Refused(400, f"temperature: range is 0 to {HOTTEST}")
    asked = prompt.asked
    reply = next((reply for marker, reply in _REPLIES.items() if marker in asked), _say_ok)
    return reply(prompt)


def _say_ok(prompt: Prompt) -> Answer:
    return Answer(PERSON if prompt.structured else "Arr, ok matey: Alice.")


def _echo(prompt: Prompt) -> Answer:
    return Answer(re.findall(r"HX-ECHO:(\S+)", prompt.asked)[-1])


def _tell_weather(prompt: Prompt) -> Answer:
    if prompt.results:
        return Answer(f"It is sunny in Paris. tool said: {' '.join(prompt.results)}")
    places = ("Paris", "Rome") if "HX-WEATHERS" in prompt.asked else ("Paris",)
    name = "get_weather" if "get_weather" in prompt.tools else next(iter(prompt.tools))
    return Answer(calls=tuple(Call(name, {"location": place}) for place in places), thought="I have to look.")


def _recall(prompt: Prompt) -> Answer:
    return Answer((prompt.said(r"code word is (\w+-\d+)") or ["unknown"])[-1])


def _look(prompt: Prompt) -> Answer:
    return Answer("I see " + " and ".join(prompt.said(r"\[(\S+ of \d+ bytes)\]")))


def _refuse(status: int, message: str) -> Callable[[Prompt], Answer]:
    def reply(_prompt: Prompt) -> Answer:
        raise Refused(status, message)

    return reply


# -- a coding agent ------------------------------------------------------------------------------------------------

CREATE = "printf 'gateway-ok-%s\\n' $((40+2)) > hello.txt; cat hello.txt"
PATCH = "*** Begin Patch\n*** Update File: hello.txt\n@@\n-gateway-ok-42\n+patched-ok-43\n*** End Patch\n"


def _code(prompt: Prompt) -> Answer:
    """Create a file, patch it, read it back, and say how that went."""
    steps: tuple[Callable[[Prompt], Call], ...] = (
        lambda prompt: _run(prompt, CREATE),
        _patch,
        lambda prompt: _run(prompt, "cat hello.txt && echo extra"),
    )
    done = len(prompt.results)
    if done < len(steps):
        return Answer(calls=(steps[done](prompt),), thought="I will do the next step.")
    return Answer(f"CODEX-DONE verified={'patched-ok-43' in prompt.results[-1]}")


def _run(prompt: Prompt, command: str) -> Call:
    if "exec_command" in prompt.tools:
        return Call("exec_command", {"cmd": command})
    # Code mode: the one tool runs a program, which calls the others.
    name = next(name for name in prompt.tools if name.rpartition("__")[2] == "exec")
    program = f"const r = await tools.exec_command({{cmd: {_quote(command)}}}); text(r.output ?? JSON.stringify(r));"
    return Call(name, {"input": program})


def _quote(command: str) -> str:
    return '"' + command.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _patch(prompt: Prompt) -> Call:
    if "apply_patch" in prompt.tools:
        return Call("apply_patch", {"input": PATCH})
    return _run(prompt, "sed -i s/gateway-ok-42/patched-ok-43/ hello.txt")


_REPLIES: Mapping[str, Callable[[Prompt], Answer]] = {
    SUMMARY: lambda _prompt: Answer(f"{SUMMARY}: all is done."),
    COMPACTING: lambda _prompt: Answer(f"{SUMMARY}: all is done."),
    "HX-CODEX": _code,
    "HX-ECHO:": _echo,
    "HX-WEATHER": _tell_weather,
    "HX-RECALL": _recall,
    "HX-LOOK": _look,
    "HX-STRUCT": lambda _prompt: Answer(PERSON),
    "HX-REASON": lambda _prompt: Answer("reasoned-42", thought="Thinking about it."),
    "HX-LONG": lambda _prompt: Answer(" ".join(f"w{at}" for at in range(60)), endless=True),
    "HX-MAXTOK": lambda _prompt: Answer("cut off", cut=True),
    "HX-ERR429": _refuse(429, "Rate limit reached"),
    "HX-ERR500": _refuse(500, "The server had an error"),
    "HX-PING": lambda _prompt: Answer(PONG),
}
"""Whatever is asked for first in this list is what is done."""
