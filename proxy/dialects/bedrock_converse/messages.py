"""Renders the turns of a dialogue as the messages of Converse, and what came from developers as its system."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from proxy.dialects.bedrock_converse.content import Documents
from proxy.dialects.bedrock_converse.families import Profile
from proxy.dialects.items import (
    Call,
    Output,
    Part,
    Refusal,
    Reply,
    Said,
    Text,
    Thought,
    Turn,
    nothing_said,
)
from proxy.errors import BadRequest

Block = dict[str, Any]

_FILLER: Final = "."
"""What stands where there has to be a message and is none."""
_SEE_DOCUMENT: Final = "See the attached documents."
_NOTHING: Final = "(no output)"
_SHOWN_BELOW: Final = "What this call returned is shown below."
_LEGAL_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_SHORT_ID: Final = re.compile(r"[a-zA-Z0-9]{9}")


def render_messages(turns: Iterable[Said | Turn], profile: Profile) -> tuple[list[Block], list[Block]]:
    """Render the system and the messages; BadRequest, with the part as `param`, for what has no place there."""
    dialogue = _Dialogue(profile)
    for turn in turns:
        if isinstance(turn, Turn):
            dialogue.act(turn)
        elif turn.role == "user":
            dialogue.say(turn.parts)
        else:
            dialogue.instruct(turn)
    return dialogue.system, dialogue.finish()


class _Dialogue:
    """The messages so far. Roles alternate: what one side says in a row is one message."""

    def __init__(self, profile: Profile) -> None:
        self.system: list[Block] = []
        self._messages: list[Block] = []
        self._profile = profile
        self._documents = Documents()

    def instruct(self, said: Said) -> None:
        """Add what the developer said, wherever in the dialogue, to what stands before all of it."""
        self.system.extend(_render_texts(said.parts, "A developer's message"))

    def say(self, parts: Sequence[Part]) -> None:
        """Add what the user said."""
        self._add("user", self._render(parts))

    def act(self, turn: Turn) -> None:
        """Add what the model did, and what its calls returned."""
        self._add("assistant", [block for act in turn.acts for block in self._render_act(act)])
        shown: list[Block] = []
        results = [self._render_output(output, shown) for output in turn.outputs]
        self._add("user", results)
        self._add("user", shown)

    def finish(self) -> list[Block]:
        """Return the messages, with what their beginning, their documents and their end demand."""
        messages = self._messages
        if not messages and self.system:
            self._add("user", [self.system.pop()])
        if not messages:
            raise nothing_said()
        if messages[0]["role"] == "assistant" and not self._profile.opens:
            messages.insert(0, _message("user", [{"text": _FILLER}]))
        for message in messages:
            _introduce_documents(message["content"])
        last = messages[-1]
        if last["role"] == "assistant" and "text" in last["content"][-1]:
            last["content"][-1] = {"text": last["content"][-1]["text"].rstrip()}
        return messages

    def _add(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return
        last = self._messages[-1] if self._messages else None
        if last is None or last["role"] != role:
            self._messages.append(_message(role, blocks))
        elif self._may_follow(last["content"], blocks):
            last["content"].extend(blocks)
        else:
            self._messages += [_message("assistant", [{"text": _FILLER}]), _message(role, blocks)]

    def _may_follow(self, content: Sequence[Block], blocks: Iterable[Block]) -> bool:
        """Tell whether blocks may stand in one message with what is there: tool results keep some away."""
        if not any("toolResult" in block for block in content):
            return True
        return all(self._profile.beside_results.issuperset(block) for block in blocks)

    def _render(self, parts: Iterable[Part]) -> list[Block]:
        blocks = []
        for part in parts:
            if isinstance(part, Text | Refusal):
                # Blank text is refused.
                blocks += [{"text": part.text}] if part.text.strip() else []
            else:
                blocks.append(self._documents.render(part))
        return blocks

    def _render_act(self, act: Reply | Thought | Call) -> list[Block]:
        if isinstance(act, Reply):
            return _render_texts(act.parts, "An assistant's message")
        if isinstance(act, Thought):
            return _render_thought(act.state)
        use = {"toolUseId": self._id(act.call_id), "name": act.name, "input": _render_arguments(act.arguments)}
        return [{"toolUse": use}]

    def _render_output(self, output: Output, shown: list[Block]) -> Block:
        """Render what a call returned; what the models do not take in a result goes to what is shown behind all."""
        content: list[Block] = []
        below: list[Block] = []
        for block in self._render(output.parts):
            fits = "text" in block or not self._profile.in_results.isdisjoint(block)
            (content if fits else below).append(block)
        if below:
            shown += [{"text": f"This is what the tool call {output.call_id} returned beside text:"}, *below]
        if not content:
            content = [{"text": _SHOWN_BELOW if below else _NOTHING}]
        return {"toolResult": {"toolUseId": self._id(output.call_id), "content": content}}

    def _id(self, call_id: str) -> str:
        """Return an id as the models accept it, the same whenever it is asked for."""
        legal = _SHORT_ID if self._profile.short_ids else _LEGAL_ID
        if legal.fullmatch(call_id):
            return call_id
        return hashlib.sha256(call_id.encode()).hexdigest()[:9]


def _message(role: str, content: list[Block]) -> Block:
    return {"role": role, "content": content}


def _render_texts(parts: Iterable[Part], whose: str) -> list[Block]:
    blocks = []
    for part in parts:
        if not isinstance(part, Text | Refusal):
            raise BadRequest(f"{whose} can hold text only.", param=getattr(part, "param", "input"))
        blocks += [{"text": part.text}] if part.text.strip() else []
    return blocks


def _render_thought(state: Any) -> list[Block]:
    """Put the upstream's own reasoning back as it was; what it did not sign it does not want."""
    known = state if isinstance(state, dict) else {}
    redacted, text, signature = known.get("redacted"), known.get("text"), known.get("signature")
    if isinstance(redacted, str):
        return [{"reasoningContent": {"redactedContent": redacted}}]
    if isinstance(text, str) and isinstance(signature, str):
        return [{"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}]
    return []


def _render_arguments(arguments: str) -> Any:
    """Return arguments as the object they have to be, to the letter; what is none, as text within one."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        value = None
    return orjson.Fragment(arguments or "{}") if isinstance(value, dict) else {"arguments": arguments}


def _introduce_documents(content: list[Block]) -> None:
    """Put text before documents that stand without any, which is refused."""
    at = next((at for at, block in enumerate(content) if "document" in block), None)
    if at is not None and not any("text" in block for block in content):
        content.insert(at, {"text": _SEE_DOCUMENT})
