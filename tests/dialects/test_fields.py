"""Nothing a request asks for is lost in silence: what becomes of every field of the API, in every dialect."""

from typing import get_type_hints

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from openai.types.responses.response_text_config_param import ResponseTextConfigParam
from openai.types.shared_params import Reasoning

from tests.dialects.spoken import SPOKEN, refusal, send

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}

EXAMPLES = {
    "access_programs": {"cyber": "standard"},
    "background": True,
    "background_options": {"completion_window": "2h"},
    "context_management": [{"type": "compaction"}],
    "conversation": "conv_1",
    "image": {"context_compression": "auto"},
    "include": ["the.moon"],
    "input": "Hello",
    "instructions": "Be brief.",
    "max_output_tokens": 4000,
    "max_tool_calls": 3,
    "metadata": {"a": "b"},
    "model": "other",
    "moderation": {"model": "m"},
    "parallel_tool_calls": False,
    "previous_response_id": "resp_1",
    "prompt": {"id": "p"},
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "reasoning.context": "all_turns",
    "reasoning.effort": "low",
    "reasoning.generate_summary": "auto",
    "reasoning.mode": "pro",
    "reasoning.summary": "auto",
    "safety_identifier": "s",
    "service_tier": "priority",
    "store": False,
    "stream_options": {"include_obfuscation": False},
    "temperature": 0.5,
    "text.format": FORMAT,
    "text.verbosity": "low",
    "tool_choice": "required",
    "tools": [TOOL],
    "top_logprobs": 2,
    "top_p": 0.5,
    "truncation": "auto",
    "user": "u",
}
BESIDE = {
    "max_tool_calls": {"tools": [{"type": "web_search"}]},
    "parallel_tool_calls": {"tools": [TOOL]},
    "tool_choice": {"tools": [TOOL]},
}
"""What else is in a request for a field to mean anything."""
COLUMNS = ("chat_completions", "anthropic_messages", "bedrock_converse", "cohere_chat", "gemini_generate_content")
TABLE = """
access_programs             named     named     named     named     named
background                  refused   refused   refused   refused   refused
background_options          refused   refused   refused   refused   refused
context_management          named     named     named     named     named
conversation                refused   refused   refused   refused   refused
image                       named     named     named     named     named
include                     named     named     named     named     named
input                       sent      sent      sent      sent      sent
instructions                sent      sent      sent      sent      sent
max_output_tokens           sent      sent      sent      sent      sent
max_tool_calls              named     sent      named     named     named
metadata                    own       own       sent      own       own
model                       own       own       own       own       own
moderation                  refused   refused   refused   refused   refused
parallel_tool_calls         sent      sent      sent      named     named
previous_response_id        own       own       own       own       own
prompt                      refused   refused   refused   refused   refused
prompt_cache_key            named     sent      named     named     named
prompt_cache_options        named     sent      named     named     named
prompt_cache_retention      named     in-part   named     named     named
reasoning.context           named     named     named     named     named
reasoning.effort            sent      sent      sent      sent      sent
reasoning.generate_summary  own       sent      own       own       sent
reasoning.mode              named     named     named     named     named
reasoning.summary           own       sent      own       own       sent
safety_identifier           named     sent      named     named     named
service_tier                named     sent      sent      named     sent
store                       own       own       own       own       own
stream_options              own       own       own       own       own
temperature                 sent      named     sent      sent      sent
text.format                 sent      sent      sent      sent      sent
text.verbosity              named     named     named     named     named
tool_choice                 sent      sent      sent      sent      sent
tools                       sent      sent      sent      sent      sent
top_logprobs                sent      named     named     in-part   sent
top_p                       sent      named     sent      sent      sent
truncation                  named     named     named     named     named
user                        sent      sent      named     named     named
"""
"""`sent`: the provider is told. `refused`: 400, with the field as its parameter. `named`: in `x-gateway-dropped`, or
`in-part`, both. `own`: the gateway does it, by routing, keeping, or saying it back; a summary is told wherever there is
one."""
OUTCOMES = {
    field: dict(zip(COLUMNS, cells, strict=True)) for field, *cells in map(str.split, TABLE.strip().splitlines())
}
CASES = [(dialect, field) for field, row in OUTCOMES.items() for dialect in row]

HOSTED = (
    "apply_patch",
    "code_interpreter",
    "computer",
    "computer_use_preview",
    "file_search",
    "image_generation",
    "local_shell",
    "mcp",
    "programmatic_tool_calling",
    "shell",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
)
"""Tools that a provider would have to run, or a client that knows them."""
OWN_TOOLS = {
    "custom": {
        "type": "custom",
        "name": "c",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"},
    },
    "namespace": {"type": "namespace", "name": "n", "description": "d", "tools": [TOOL]},
    "tool_search": {"type": "tool_search", "execution": "client", "description": "d", "parameters": SCHEMA},
}


def request(name):
    """Return a request with a field, and the same without it."""
    beside = BESIDE.get(name, {})
    outer, _, inner = name.partition(".")
    return {**beside, outer: {inner: EXAMPLES[name]} if inner else EXAMPLES[name]}, beside


def outcome(dialect, name):
    asked, without = request(name)
    error = refusal(dialect, **asked)
    if error is not None:
        assert error.param == name
        return "refused"
    (plain, already), (body, dropped) = send(dialect, **without), send(dialect, **asked)
    sent = body != plain
    if name in dropped:
        return "in-part" if sent else "named"
    assert dropped == already
    return "sent" if sent else "own"


@pytest.mark.parametrize(("dialect", "field"), CASES)
def test_field_is_sent_refused_or_named(dialect, field):
    assert outcome(dialect, field) == OUTCOMES[field][dialect]


def test_table_has_every_field_of_the_official_client():
    nested = {"reasoning": Reasoning, "text": ResponseTextConfigParam}
    fields = set(get_type_hints(ResponseCreateParamsNonStreaming)) - nested.keys()
    fields |= {f"{outer}.{inner}" for outer, type_ in nested.items() for inner in get_type_hints(type_)}
    # Where it is told differs: here in the body, there in the path.
    assert fields - {"stream"} == OUTCOMES.keys() == EXAMPLES.keys()
    assert set(COLUMNS) == SPOKEN.keys()


@pytest.mark.parametrize("dialect", SPOKEN)
@pytest.mark.parametrize("kind", HOSTED)
def test_hosted_tool_is_sent_or_named_and_refused_where_it_is_forced(dialect, kind):
    has = kind in SPOKEN[dialect].dialect.hosted
    body, dropped = send(dialect, tools=[TOOL, {"type": kind}])
    assert dropped == (() if has else (f"tools.{kind}",))
    assert (body != send(dialect, tools=[TOOL])[0]) is has
    forced = refusal(dialect, tools=[TOOL, {"type": kind}], tool_choice={"type": kind})
    assert (None if forced is None else forced.param) == (None if has else "tool_choice")


@pytest.mark.parametrize("dialect", SPOKEN)
def test_choice_that_leaves_no_tool_is_refused_where_one_has_to_be_called(dialect):
    choice = {"type": "allowed_tools", "mode": "required", "tools": []}
    forced = refusal(dialect, tools=[TOOL], tool_choice=choice)
    assert forced is not None
    assert forced.param == "tool_choice.tools"
    assert send(dialect, tools=[TOOL], tool_choice={**choice, "mode": "auto"}) == send(dialect)


@pytest.mark.parametrize("dialect", SPOKEN)
@pytest.mark.parametrize("kind", OWN_TOOLS)
def test_tool_of_the_client_is_a_function_wherever_it_is_declared(dialect, kind):
    declared, dropped = send(dialect, tools=[OWN_TOOLS[kind]])
    item = {"type": "additional_tools", "role": "developer", "tools": [OWN_TOOLS[kind]]}
    brought, also_dropped = send(dialect, input=[item, {"role": "user", "content": "Hi"}])
    assert declared == brought
    assert dropped == also_dropped == ()


@pytest.mark.parametrize("dialect", SPOKEN)
def test_changed_configuration_is_as_if_it_had_been_asked_for(dialect):
    asked = {"reasoning": {"effort": "high"}, "text": {"format": FORMAT}}
    item = {"type": "configuration_update", **asked}
    assert send(dialect, input=[item, {"role": "user", "content": "Hi"}]) == send(dialect, **asked)


PIXEL = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
NOTE = {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}
BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}
HINTS = {
    "input.input_image.detail": (PIXEL, {"detail": "original"}, {"gemini_generate_content"}),
    "input.input_file.detail": (NOTE, {"detail": "high"}, set()),
    "input.prompt_cache_breakpoint": ({"type": "input_text", "text": "Hi"}, BREAKPOINT, {"anthropic_messages"}),
}
"""What a part may ask for: the part, the hint, and the dialects that have a place for it."""


@pytest.mark.parametrize("dialect", SPOKEN)
@pytest.mark.parametrize("hint", HINTS)
def test_hint_of_a_part_is_sent_or_named(dialect, hint):
    part, asked, known = HINTS[hint]
    plain, _ = send(dialect, input=[{"role": "user", "content": [part]}])
    body, dropped = send(dialect, input=[{"role": "user", "content": [{**part, **asked}]}])
    assert (body != plain, dropped) == ((True, ()) if dialect in known else (False, (hint,)))


@pytest.mark.parametrize("dialect", SPOKEN)
def test_strictness_is_sent_or_named(dialect):
    """Some can hold a model to all schemas or to none."""
    strict = {**TOOL, "name": "g", "parameters": SCHEMA, "strict": True}
    for tools in ([strict], [TOOL, strict]):
        loose = [{**tool, "strict": False} for tool in tools]
        told, dropped = send(dialect, tools=tools)
        assert (told != send(dialect, tools=loose)[0]) is (dropped == ())
        assert dropped in ((), ("tools.strict",))
