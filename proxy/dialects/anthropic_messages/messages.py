"""Renders the turns of a dialogue as the system prompt and messages of the format."""

import re
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any, Final, NamedTuple

import orjson

from proxy.dialects.anthropic_messages.carried import RESULTS, THOUGHTS, Block, runs, unpack_blocks
from proxy.dialects.anthropic_messages.content import Media, render_blocks, render_texts
from proxy.dialects.items import Call, Output, Reply, Said, Thought, Turn, nothing_said

_LEGAL_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9_-]")
_MAX_ID: Final = 100
_BROKEN: Final = "arguments"
"""What arguments that are no JSON object are put under: the format has the input of a tool as an object only."""
_GO_ON: Final = "Continue."
_REMINDER: Final = "<system-reminder>\n{}\n</system-reminder>"


class Manner(NamedTuple):
    """How a dialogue can be told."""

    media: Media
    system_turns: bool
    """Whether system messages may stand in its middle."""
    thoughts: bool
    """Whether thoughts are given back."""
    prefill: bool
    """Whether it may end with a message of the model's, which then goes on with it."""
    tools: frozenset[str]
    """The names of the tools offered that the provider runs."""


class Dialogue(NamedTuple):
    """The system prompt and the messages, as content blocks."""

    system: list[dict[str, Any]]
    messages: list[dict[str, Any]]


def render_dialogue(turns: Sequence[Said | Turn], manner: Manner) -> Dialogue:
    """Render the turns; BadRequest, with the part as `param`, for content there is no place for."""
    leading = [turn for turn in takewhile(_instructs, turns) if isinstance(turn, Said)]
    rest = turns[len(leading) :]
    system = [block for said in leading for block in render_texts(said.parts)]
    told = _Telling(manner, rest)
    for turn in rest:
        if isinstance(turn, Said):
            told.hear(turn)
        else:
            told.reply(turn)
    messages = told.end()
    if not messages and system:
        # A prompt alone is no dialogue: its last part is what there is to answer.
        messages = [{"role": "user", "content": [system.pop()]}]
    if not messages:
        raise nothing_said()
    return Dialogue(system, messages)


def _instructs(turn: Said | Turn) -> bool:
    return isinstance(turn, Said) and turn.role != "user"


def is_thoughtless_loop(turns: Sequence[Said | Turn]) -> bool:
    """Tell whether the model is in the middle of calls that it began without a thought of its own to be given back.

    Then the format does not take a budget for thoughts.
    """
    loop: list[Turn] = []
    for turn in reversed(turns):
        if not isinstance(turn, Turn):
            if loop or turn.role == "user":
                break
            continue
        if not turn.outputs:
            break
        loop.append(turn)
    return any(not _begins_with_thought(turn) for turn in loop)


def _begins_with_thought(turn: Turn) -> bool:
    first = turn.acts[0]
    blocks = unpack_blocks(first.state) if isinstance(first, Thought) else []
    return bool(blocks) and blocks[0]["type"] in THOUGHTS


def carries(turns: Iterable[Said | Turn], kinds: frozenset[str]) -> bool:
    """Tell whether blocks of some types are to be given back."""
    return any(block["type"] in kinds for turn in turns if isinstance(turn, Turn) for block in _carried(turn))


def _carried(turn: Turn) -> list[Block]:
    return [block for act in turn.acts if isinstance(act, Thought) for block in unpack_blocks(act.state)]


class _Telling:
    """Puts messages together: those of one role that follow each other are one."""

    def __init__(self, manner: Manner, turns: Sequence[Said | Turn]) -> None:
        self._manner = manner
        self._messages: list[dict[str, Any]] = []
        self._pending: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self._uses: set[str] = set()
        own = [turn for turn in turns if isinstance(turn, Turn)]
        # A tool the model still waits for: it paused, or made calls of the client's beside it.
        self._waiting = own[-1] if own and (own[-1] is turns[-1] or own[-1].outputs) else None
        carried = [block for turn in own for block in _carried(turn)]
        self._answered = {str(block.get("tool_use_id")) for block in carried}

    def hear(self, said: Said) -> None:
        """Take a message that is not the model's; a system message waits for where one may stand."""
        if said.role == "user":
            self._add("user", render_blocks(said.parts, self._manner.media))
        else:
            self._pending += render_texts(said.parts)

    def reply(self, turn: Turn) -> None:
        """Take what the model did, and what its calls returned."""
        calls = [act for act in turn.acts if isinstance(act, Call)]
        named = [self._name(call) for call in calls]
        waiting: dict[str, deque[str]] = {}
        for call, own in zip(calls, named, strict=True):
            waiting.setdefault(call.call_id, deque()).append(own)
        results = [self._result(output, waiting[output.call_id].popleft()) for output in turn.outputs]
        blocks = self._acts(turn, deque(named))
        # The format takes no message that ends with a thought.
        while blocks and blocks[-1]["type"] in THOUGHTS:
            blocks.pop()
        if blocks:
            self._settle()
            self._add("assistant", blocks)
        self._add("user", results)

    def end(self) -> list[dict[str, Any]]:
        """Return the messages, the last of which the model can answer."""
        self._settle()
        last = self._messages[-1] if self._messages else None
        if last is not None and last["role"] == "assistant":
            self._end_reply(last["content"])
        return self._messages

    def _end_reply(self, blocks: list[dict[str, Any]]) -> None:
        final = blocks[-1]
        if final["type"] != "text":
            # A tool of the provider's own: it goes on from there.
            return
        if not self._manner.prefill:
            self._add("user", [{"type": "text", "text": _GO_ON}])
            return
        final["text"] = final["text"].rstrip()

    def _acts(self, turn: Turn, named: deque[str]) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        for act in turn.acts:
            if isinstance(act, Reply):
                blocks += render_blocks(act.parts, self._manner.media)
            elif isinstance(act, Call):
                blocks.append(_render_call(act, named.popleft()))
            else:
                blocks += [dict(block) for block in unpack_blocks(act.state) if self._returns(block, turn)]
        return blocks

    def _returns(self, block: Block, turn: Turn) -> bool:
        """Tell whether a block is given back: of a tool's use and its result, both or none."""
        kind = block["type"]
        if kind in THOUGHTS:
            return self._manner.thoughts
        if kind in RESULTS:
            answered = str(block.get("tool_use_id"))
            waited = answered in self._uses
            self._uses.discard(answered)
            return waited
        used = str(block.get("id"))
        if not runs(str(block.get("name")), self._manner.tools):
            return False
        if used not in self._answered and turn is not self._waiting:
            return False
        self._uses.add(used)
        return True

    def _settle(self) -> None:
        """Put system messages where they may stand: behind the user's, before the model's or the end."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        if self._manner.system_turns and self._messages and self._messages[-1]["role"] == "user":
            self._messages.append({"role": "system", "content": pending})
        else:
            self._add("user", [{**block, "text": _REMINDER.format(block["text"])} for block in pending])

    def _add(self, role: str, blocks: list[dict[str, Any]]) -> None:
        if not blocks:
            return
        if self._messages and self._messages[-1]["role"] == role:
            self._messages[-1]["content"] += blocks
        else:
            self._messages.append({"role": role, "content": blocks})

    def _name(self, call: Call) -> str:
        """Return the id of a call as the format allows it, and no other call has."""
        legal = call.call_id
        if not _LEGAL_ID.fullmatch(legal):
            legal = f"{_ILLEGAL.sub('_', legal)[:_MAX_ID]}_{zlib.crc32(call.call_id.encode()):08x}"
        own, count = legal, 1
        while own in self._ids:
            count += 1
            own = f"{legal[:_MAX_ID]}_{count}"
        self._ids.add(own)
        return own

    def _result(self, output: Output, own: str) -> dict[str, Any]:
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": own}
        blocks = render_blocks(output.parts, self._manner.media)
        if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
            result["content"] = blocks[0]["text"]
        elif blocks:
            result["content"] = blocks
        return result


def _render_call(call: Call, own: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": own, "name": call.name, "input": _render_input(call.arguments)}


def _render_input(arguments: str) -> Any:
    """Return arguments as the object they are, to the letter; what is none, within one."""
    try:
        value = orjson.loads(arguments or "null")
    except orjson.JSONDecodeError:
        return {_BROKEN: arguments}
    if isinstance(value, dict):
        return orjson.Fragment(arguments)
    return {} if value is None else {_BROKEN: arguments}
