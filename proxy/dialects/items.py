"""Reads a request's input: items as clients send and resend them, as typed parts in the order of a dialogue."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import orjson

from proxy.dialects.reasoning import unseal
from proxy.dialects.tools import CUSTOM_INPUT, TOOL_SEARCH, upstream_name, upstream_names
from proxy.errors import BadRequest

Role = Literal["system", "developer", "user"]


class Text(NamedTuple):
    """Text of either side. `cache` is how long the prompt up to here is to be cached; empty: as usual, None: not."""

    text: str
    cache: str | None = None


class Refusal(NamedTuple):
    """Text by which the model declined."""

    text: str


class Image(NamedTuple):
    """An image; exactly one of `url`, which may be a data URL, and `file_id` is set."""

    url: str | None
    file_id: str | None
    detail: str | None
    param: str
    cache: str | None = None


class File(NamedTuple):
    """A document; exactly one of `data`, a data URL or base64, `url` and `file_id` is set."""

    data: str | None
    url: str | None
    file_id: str | None
    filename: str | None
    param: str
    cache: str | None = None
    detail: str | None = None


class Audio(NamedTuple):
    """Recorded sound, in base64."""

    data: str
    format: str


Part = Text | Refusal | Image | File | Audio


class Said(NamedTuple):
    """A message that is not the model's."""

    role: Role
    parts: tuple[Part, ...]


class Reply(NamedTuple):
    """A message of the model."""

    parts: tuple[Part, ...]


class Thought(NamedTuple):
    """Reasoning of the model; `state` is what this same upstream wants back, None where it came from another."""

    text: str
    state: Any


class Call(NamedTuple):
    """A tool call of the model, as a call of a function; `arguments` are JSON text as far as the model kept to it."""

    call_id: str
    name: str
    arguments: str


class Output(NamedTuple):
    """What a call returned."""

    call_id: str
    parts: tuple[Part, ...]


class Turn(NamedTuple):
    """What the model did in one go, and what its calls returned, in the order of the calls."""

    acts: tuple[Reply | Thought | Call, ...]
    outputs: tuple[Output, ...]


class Input(NamedTuple):
    """A request's input, read. `tools` and `configuration` come from items that bring such along."""

    turns: tuple[Said | Turn, ...]
    tools: tuple[tuple[str, Any], ...]
    configuration: Mapping[str, Any]
    dropped: tuple[str, ...]


_Read = Said | Reply | Thought | Call | Output


class _Reading:
    """One pass over the items."""

    def __init__(self, provider: str, model: str) -> None:
        self.provider = provider
        self.model = model
        self.read: list[_Read] = []
        self.tools: list[tuple[str, Any]] = []
        self.configuration: dict[str, Any] = {}
        self.dropped: list[str] = []

    def take(self, item: Any, param: str) -> None:
        """Read one item."""
        if not isinstance(item, dict):
            raise BadRequest("An input item has to be an object.", param=param)
        kind = item.get("type")
        if kind is None:
            kind = "message" if "role" in item else "item_reference"
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is not None:
            reader(self, item, param)
        else:
            # A hosted tool's call and result: this provider did not make it and cannot be shown it.
            self.dropped.append(f"input.{kind}")


def read_input(items: Any, provider: str, model: str) -> Input:
    """Read `input`, a string or a list of items; `provider` and `model` are those the request goes to."""
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if not isinstance(items, list):
        raise BadRequest("input has to be a string or a list of items.", param="input")
    reading = _Reading(provider, model)
    for at, item in enumerate(items):
        reading.take(item, f"input[{at}]")
    turns = _group(reading.read)
    return Input(turns, tuple(reading.tools), reading.configuration, tuple(dict.fromkeys(reading.dropped)))


def all_parts(turns: Iterable[Said | Turn]) -> Iterator[Part]:
    """Yield the parts of everything that was said to the model, or returned to it."""
    for turn in turns:
        if isinstance(turn, Said):
            yield from turn.parts
        else:
            for output in turn.outputs:
                yield from output.parts


def nothing_said() -> BadRequest:
    """Return the error for an input in which there is nothing to answer."""
    return BadRequest(
        "There is no input to answer: a message has to be there that is not empty.",
        code="missing_required_parameter",
        param="input",
    )


def _group(read: Sequence[_Read]) -> tuple[Said | Turn, ...]:
    """Put the model's acts together and each output behind the acts that called for it."""
    waiting: dict[str, deque[Output]] = {}
    for one in read:
        if isinstance(one, Output):
            waiting.setdefault(one.call_id, deque()).append(one)
    turns: list[Said | Turn] = []
    acts: list[Reply | Thought | Call] = []
    closed = True
    for one in read:
        if isinstance(one, Output):
            closed = True
            continue
        if acts and (closed or isinstance(one, Said)):
            turns.append(_turn(acts, waiting))
            acts = []
        closed = False
        if isinstance(one, Said):
            turns.append(one)
        else:
            acts.append(one)
    if acts:
        turns.append(_turn(acts, waiting))
    _refuse_orphans(waiting)
    return tuple(turns)


def _turn(acts: Iterable[Reply | Thought | Call], waiting: Mapping[str, deque[Output]]) -> Turn:
    acts = tuple(acts)
    calls = [act.call_id for act in acts if isinstance(act, Call)]
    for call_id in calls:
        if len(waiting.get(call_id, ())) < calls.count(call_id):
            raise BadRequest(f"No tool output found for function call {call_id}.", param="input")
    return Turn(acts, tuple(waiting[call_id].popleft() for call_id in calls))


def _refuse_orphans(waiting: Mapping[str, deque[Output]]) -> None:
    for call_id, left in waiting.items():
        if left:
            raise BadRequest(f"No tool call found for function call output with call_id {call_id}.", param="input")


def _read_message(reading: _Reading, item: Mapping[str, Any], param: str) -> None:
    role = item.get("role")
    parts = _read_parts(item.get("content"), f"{param}.content")
    if role == "assistant":
        for part in parts:
            if not isinstance(part, Text | Refusal):
                where = param if isinstance(part, Audio) else part.param
                raise BadRequest("A message of the assistant's can hold text only.", param=where)
        reading.read.append(Reply(parts))
    elif role in ("system", "developer", "user"):
        reading.read.append(Said(role, parts))
    else:
        raise BadRequest(f"Role {role!r} is not one of user, assistant, system, developer.", param=f"{param}.role")


def _read_call(reading: _Reading, item: Mapping[str, Any], param: str) -> None:
    namespace = item.get("namespace")
    name = upstream_name(_string(item, "name", param), namespace if isinstance(namespace, str) else None)
    reading.read.append(Call(_string(item, "call_id", param), name, _string(item, "arguments", param)))


def _read_custom_call(reading: _Reading, item: Mapping[str, Any], param: str) -> None:
    arguments = orjson.dumps({CUSTOM_INPUT: _string(item, "input", param)}).decode()
    _read_call(reading, {**item, "arguments": arguments}, param)


def _read_search_call(reading: _Reading, item: Mapping[str, Any], param: str) -> None:
    if _is_clients(reading, item):
        arguments = orjson.dumps(item.get("arguments") or {}).decode()
        reading.read.append(Call(_string(item, "call_id", param), TOOL_SEARCH, arguments))


def _read_search_output(reading: _Reading, item: Mapping[str, Any], param: str) -> None:
    """Read what a search found: the tools are offered from now on, and the model is told which they are."""
    if _is_clients(reading, item):
        before = len(reading.tools)
        _read_brought_tools(reading, item, param)
        found = upstream_names(f"{param}.tools", (tool for _, tool in reading.tools[before:]))
        told = f"Found: {', '.join(found)}." if found else "No tools were found."
        reading.read.append(Output(_string(item, "call_id", param), (Text(told),)))


def _is_clients(reading: _Reading, item: Mapping[str, Any]) -> bool:
    """Tell whether the client executed a search itself; what another provider did is reported as dropped."""
    own = item.get("execution") == "client"
    if not own:
        reading.dropped.append(f"input.{item.get('type')}")
    return own


def _read_output(reading: _Reading, item: Mapping[str, Any], param: str) -> None:
    parts = _read_parts(item.get("output"), f"{param}.output")
    reading.read.append(Output(_string(item, "call_id", param), parts))


def _read_reasoning(reading: _Reading, item: Mapping[str, Any], param: str) -> None:
    texts = [
        part["text"]
        for member in ("content", "summary")
        for part in _list(item, member, param)
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    ]
    sealed = item.get("encrypted_content")
    state = unseal(sealed, reading.provider, reading.model)
    if sealed is not None and state is None:
        reading.dropped.append("input.reasoning.encrypted_content")
    reading.read.append(Thought("\n\n".join(texts), state))


def _read_brought_tools(reading: _Reading, item: Mapping[str, Any], param: str) -> None:
    tools = item.get("tools")
    if not isinstance(tools, list):
        raise BadRequest("tools has to be a list.", param=f"{param}.tools")
    reading.tools.extend((f"{param}.tools[{at}]", tool) for at, tool in enumerate(tools))


def _read_configuration(reading: _Reading, item: Mapping[str, Any], _param: str) -> None:
    for member in ("reasoning", "text"):
        changed = item.get(member)
        if isinstance(changed, dict):
            reading.configuration[member] = {**reading.configuration.get(member, {}), **changed}


def _refuse_item(_reading: _Reading, item: Mapping[str, Any], param: str) -> None:
    kind = item.get("type") or "item_reference"
    raise BadRequest(f"Input item {kind!r} cannot be read by this provider.", param=param)


_READERS: Final[Mapping[str, Callable[[_Reading, Mapping[str, Any], str], None]]] = {
    "message": _read_message,
    "function_call": _read_call,
    "function_call_output": _read_output,
    "custom_tool_call": _read_custom_call,
    "custom_tool_call_output": _read_output,
    "tool_search_call": _read_search_call,
    "tool_search_output": _read_search_output,
    "reasoning": _read_reasoning,
    "additional_tools": _read_brought_tools,
    "configuration_update": _read_configuration,
    # Without what these stand for the rest of the dialogue would mean something else.
    "item_reference": _refuse_item,
    "compaction": _refuse_item,
    "compaction_trigger": _refuse_item,
}


def _read_parts(content: Any, param: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, list):
        raise BadRequest("Content has to be a string or a list of parts.", param=param)
    return tuple(_read_part(part, f"{param}[{at}]") for at, part in enumerate(content))


def _read_part(part: Any, param: str) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("input_text", "output_text", "text", "summary_text", "reasoning_text"):
        return Text(_string(part, "text", param), _read_breakpoint(part))
    if kind == "refusal":
        return Refusal(_string(part, "refusal", param))
    if kind == "input_image":
        return _read_image(part, param)
    if kind == "input_file":
        return _read_file(part, param)
    if kind == "input_audio":
        audio = part.get("input_audio")
        sound = audio if isinstance(audio, dict) else {}
        return Audio(_string(sound, "data", param), _string(sound, "format", param))
    raise BadRequest(f"Content of type {kind!r} cannot be read.", param=f"{param}.type")


def _read_image(part: Mapping[str, Any], param: str) -> Image:
    url, file_id = _optional(part, "image_url", param), _optional(part, "file_id", param)
    if (url is None) == (file_id is None):
        raise BadRequest("An image needs one of image_url and file_id.", param=param)
    return Image(url, file_id, _optional(part, "detail", param), param, _read_breakpoint(part))


def _read_file(part: Mapping[str, Any], param: str) -> File:
    sources = [_optional(part, member, param) for member in ("file_data", "file_url", "file_id")]
    if sum(source is not None for source in sources) != 1:
        raise BadRequest("A file needs one of file_data, file_url and file_id.", param=param)
    filename = _optional(part, "filename", param)
    detail = _optional(part, "detail", param)
    return File(sources[0], sources[1], sources[2], filename, param, _read_breakpoint(part), detail)


def _read_breakpoint(part: Mapping[str, Any]) -> str | None:
    """Return the lifetime a part's cache breakpoint asks for, None where it has none."""
    found = part.get("prompt_cache_breakpoint")
    if not isinstance(found, dict):
        return None
    lifetime = found.get("ttl")
    return lifetime if isinstance(lifetime, str) else ""


def _list(value: Mapping[str, Any], member: str, param: str) -> Sequence[Any]:
    found = value.get(member)
    if found is not None and not isinstance(found, list):
        raise BadRequest(f"{member} has to be a list.", param=f"{param}.{member}")
    return found or ()


def _optional(value: Mapping[str, Any], member: str, param: str) -> str | None:
    return None if value.get(member) is None else _string(value, member, param)


def _string(value: Mapping[str, Any], member: str, param: str) -> str:
    found = value.get(member)
    if not isinstance(found, str):
        raise BadRequest(f"{member} has to be a string.", param=f"{param}.{member}")
    return found
