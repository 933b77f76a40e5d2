"""What the sandbox answers to a request: a finished response and its events, from the request alone; pure.

The events are a function of the finished response, so the response is all that has to be kept, and a resumed
stream is the tail of the same sequence. The text is deterministic, ids are random.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from secrets import token_hex
from typing import Any, NamedTuple

import orjson

from proxy.dialects.identity import identify
from proxy.dialects.parameters import check_range, mistyped
from proxy.dialects.replay import replay
from proxy.errors import BadRequest, GatewayError
from proxy.sandbox.specimen import specimen

Json = dict[str, Any]

MAX_WORDS = 100_000
MAX_EVENTS_PER_SECOND = 100_000
MAX_SILENCE = 86_400
FIRST_ERROR, LAST_ERROR = 400, 599
REFUSAL = GatewayError("The request asked to be refused.", code="asked_for").body()
ECHO_CHARACTERS = 400
"""How much of a prompt an answer repeats."""

_PIECE = re.compile(r"\s*\S+")

_ECHOED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Members of a response that repeat the request's, and what they are where the request is silent."""

_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "model": (str, "a string"),
    "stream": (bool, "a boolean"),
    "store": (bool, "a boolean"),
    "background": (bool, "a boolean"),
    "previous_response_id": (str, "a string"),
    "conversation": ((str, dict), "a string or an object"),
    "instructions": ((str, list), "a string or an array"),
    "tools": (list, "an array"),
    "text": (dict, "an object"),
    "reasoning": (dict, "an object"),
    "metadata": (dict, "an object"),
    "max_output_tokens": (int, "an integer"),
    "temperature": ((int, float), "a decimal"),
    "top_p": ((int, float), "a decimal"),
}

_RANGES: Mapping[str, tuple[str, float, float]] = {
    "temperature": ("decimal", 0, 2),
    "top_p": ("decimal", 0, 1),
    "max_output_tokens": ("integer", 1, 1_000_000),
}


class Wish(NamedTuple):
    """What a request asks of the sandbox itself, through its metadata; None where it does not say."""

    events_per_second: float | None
    words: int | None
    silence: float
    status: int | None


def check(body: Json) -> Wish:
    """Refuse a create request that OpenAI would refuse, naming the parameter."""
    for name, (kinds, expected) in _TYPES.items():
        value = body.get(name)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool)):
            raise mistyped(name, expected)
    if body.get("model") is None:
        raise missing("model")
    for name in _RANGES:
        check_range(name, body.get(name), *_RANGES[name])
    shape = (body.get("text") or {}).get("format")
    if shape is not None and not isinstance(shape, dict):
        raise mistyped("text.format", "an object")
    metadata = body.get("metadata") or {}
    words = _parse_number(metadata.get("words"), "metadata.words", 1, MAX_WORDS)
    pace = parse_pace(metadata.get("events_per_second"), "metadata.events_per_second")
    silence = _parse_number(metadata.get("silence"), "metadata.silence", 0, MAX_SILENCE)
    status = _parse_number(metadata.get("status"), "metadata.status", FIRST_ERROR, LAST_ERROR)
    return Wish(pace, _whole(words), silence or 0.0, _whole(status))


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def missing(name: str) -> BadRequest:
    """Return OpenAI's error for a parameter that is not there."""
    return BadRequest(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)


def parse_pace(value: Any, param: str) -> float | None:
    """Read events a second, 0 for as fast as it goes; None where there is no value."""
    return _parse_number(value, param, 0, MAX_EVENTS_PER_SECOND)


def _parse_number(value: Any, param: str, least: float, most: float) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise mistyped(param, "a number") from None
    check_range(param, number, "decimal", least, most)
    return number


def parse_items(value: Any, param: str = "input") -> list[Json]:
    """Read input as items with ids; a string is one user message."""
    if value is not None and not isinstance(value, str) and not _are_items(value):
        raise mistyped(param, "a string or an array of objects")
    return identify(value, lambda prefix, _: new_id(prefix))


def _are_items(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_item, value))


def _is_item(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str | None) for name in ("type", "id", "role"))


def new_id(prefix: str) -> str:
    """Return a fresh id in OpenAI's form."""
    return f"{prefix}_{token_hex(24)}"


def answer(body: Json, items: list[Json], context: list[Json], *, words: int | None, now: int) -> Json:
    """Return the finished response to a checked request.

    `context` is what came before `items` in the chain or the conversation; `words` is how long a text gets.
    """
    _check_calls(context + items)
    output = _calls(body, items) or [_message(body, context + items, words)]
    cut = output[0]["status"] == "incomplete"
    conversation = body.get("conversation")
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": now,
        "completed_at": None if cut else now,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": body["model"],
        "output": output,
        **{name: default if body.get(name) is None else body[name] for name, default in _ECHOED.items()},
        **({} if conversation is None else {"conversation": {"id": conversation_id(conversation)}}),
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "reasoning": {"effort": None, "summary": None, **(body.get("reasoning") or {})},
        "service_tier": "default",
        "text": {"format": {"type": "text"}, "verbosity": "medium", **(body.get("text") or {})},
        "tools": [_tool(tool) for tool in body.get("tools") or []],
        "usage": usage(count_tokens(items, body.get("instructions")), count_tokens(context), output),
    }


def conversation_id(value: str | Json) -> str:
    """Return the id a request's `conversation` names."""
    return value if isinstance(value, str) else str(value.get("id", ""))


def _tool(tool: Any) -> Any:
    return {"description": None, "parameters": None, "strict": True, **tool} if _is_function(tool) else tool


def _check_calls(items: list[Json]) -> None:
    made = {item.get("call_id") for item in items if item["type"] == "function_call"}
    for item in items:
        if item["type"] == "function_call_output" and item.get("call_id") not in made:
            call = item.get("call_id")
            raise BadRequest(f"No tool call found for function call output with call_id {call}.", param="input")


def _calls(body: Json, items: list[Json]) -> list[Json]:
    """Call the functions the prompt names, or the one the request insists on, unless results just came in."""
    if items and items[-1]["type"] == "function_call_output":
        return []
    choice = body.get("tool_choice") or "auto"
    tools = {tool["name"]: tool for tool in body.get("tools") or [] if _is_function(tool)}
    prompt = "".join(_prompts(items)[-1:])
    named = [name for name in tools if name in prompt]
    if choice == "required":
        named = named or list(tools)[:1]
    elif choice == "none":
        named = []
    elif isinstance(choice, dict) and choice.get("type") == "function":
        named = [name for name in tools if name == choice.get("name")]
    return [_call(tools[name]) for name in (named[:1] if body.get("parallel_tool_calls") is False else named)]


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "function" and isinstance(tool.get("name"), str)


def _call(tool: Json) -> Json:
    arguments = specimen(tool.get("parameters") or {"type": "object"})
    return {
        "id": new_id("fc"),
        "type": "function_call",
        "status": "completed",
        "arguments": render(arguments).decode(),
        "call_id": new_id("call"),
        "name": tool["name"],
    }


def _message(body: Json, items: list[Json], words: int | None) -> Json:
    shape = (body.get("text") or {}).get("format") or {}
    pieces = _pieces(_compose(shape, items, words))
    most = body.get("max_output_tokens") or len(pieces)
    return {
        "id": new_id("msg"),
        "type": "message",
        "status": "completed" if len(pieces) <= most else "incomplete",
        "content": [_part("".join(pieces[:most]))],
        "role": "assistant",
    }


def _compose(shape: Json, items: list[Json], words: int | None) -> str:
    if shape.get("type") == "json_schema":
        return render(specimen(shape.get("schema") or {})).decode()
    said = _say(items)
    if words is not None:
        said = " ".join(islice(cycle(said.split()), words))
    return render({"answer": said}).decode() if shape.get("type") == "json_object" else said


def _say(items: list[Json]) -> str:
    if items and items[-1]["type"] == "function_call_output":
        return f"The tool answered: {_echo(_text(items[-1]))}"
    prompts = [_echo(prompt) for prompt in _prompts(items)[-2:]]
    if not prompts:
        return "You said nothing."
    earlier = f" (and before that: {prompts[-2]})" if prompts[:-1] else ""
    return f"You said: {prompts[-1]}{earlier}"


def _echo(text: str) -> str:
    return " ".join(text[:ECHO_CHARACTERS].split())


def _prompts(items: list[Json]) -> list[str]:
    return [_text(item) for item in items if item.get("role") == "user"]


def _text(item: Json) -> str:
    content = item.get("output") if item["type"].endswith("_output") else item.get("content")
    if not isinstance(content, list):
        return content if isinstance(content, str) else str(item.get("arguments") or "")
    return " ".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def _words(text: Any) -> int:
    return len(text.split()) if isinstance(text, str) else 0


def count_tokens(items: list[Json], instructions: Any = None) -> int:
    """Count the tokens of items and instructions: one a word."""
    return sum(_words(_text(item)) for item in items) + _words(instructions)


def usage(fresh: int, cached: int, output: list[Json]) -> Json:
    """Return a `usage` object; what came before this turn counts as cached."""
    made = count_tokens(output)
    return {
        "input_tokens": fresh + cached,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": fresh + cached + made,
    }


def compaction(items: list[Json], now: int) -> Json:
    """Return the compaction of items: the user's messages, then one opaque item."""
    kept = [item for item in items if item.get("role") == "user"]
    output = [*kept, {"id": new_id("cmp"), "type": "compaction", "encrypted_content": token_hex(32)}]
    return {
        "id": new_id("resp"),
        "object": "response.compaction",
        "created_at": now,
        "output": output,
        "usage": usage(count_tokens(items), 0, kept),
    }


def render(value: Any) -> bytes:
    """Return a value as JSON."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise BadRequest("The request is nested too deeply.") from None


def events(response: Json) -> Iterator[Json]:
    """Yield the whole stream of a finished response, word by word; the sequence numbers count from 0."""
    return replay(response, _pieces)


def _part(text: str) -> Json:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _pieces(text: str) -> list[str]:
    """Cut a text into what one delta carries: a word and the space before it."""
    return _PIECE.findall(text)
