"""What the Codex CLI sends and needs back, through any provider of chat completions: its bodies, made short."""

import orjson
import pytest

from proxy.dialects.base import Context
from proxy.dialects.create import read_create
from tests.dialects.chat_completions.test_stream import call, chunk
from tests.dialects.oracle import LIMIT, RESPONSE_ID, read_events, translate
from tests.providers.chat_kinds import CHAT, dialect_of

EXEC = {
    "type": "function",
    "name": "exec_command",
    "description": "Runs a command in a PTY.",
    "strict": False,
    "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]},
}
AGENTS = {
    "type": "namespace",
    "name": "multi_agent_v1",
    "description": "Tools for spawning and managing sub-agents.",
    "tools": [{**EXEC, "name": "close_agent"}, {**EXEC, "name": "spawn_agent"}],
}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "This is a FREEFORM tool, so do not wrap the patch in JSON.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" LF hunk+'},
}
FIND = {
    "type": "tool_search",
    "execution": "client",
    "description": "# Tool discovery",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}
WEB = {"type": "web_search", "external_web_access": True, "search_content_types": ["text", "image"]}
CODE = {"type": "namespace", "name": "functions", "description": "", "tools": [{**PATCH, "name": "exec"}, EXEC]}
COMMON = {
    "model": "m",
    "stream": True,
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "01a21fc0-3fdf-77d0-a7cd-400701d02e6f",
    "client_metadata": {"x-codex-window-id": "1"},
}
BASIC = {**COMMON, "reasoning": {"summary": "auto"}, "tools": [EXEC, AGENTS, WEB]}
FREEFORM = {
    **COMMON,
    "reasoning": {"effort": "medium"},
    "text": {"verbosity": "low"},
    "tools": [EXEC, PATCH, FIND, WEB],
}
LITE = {
    **COMMON,
    "reasoning": {"effort": "low", "context": "all_turns"},
    "text": {"verbosity": "low"},
    "parallel_tool_calls": False,
}
BROUGHT = {"type": "additional_tools", "id": "at_1", "role": "developer", "tools": [CODE, AGENTS]}
EACH = pytest.mark.parametrize("kind", CHAT)


def said(role, *texts):
    return {
        "type": "message",
        "role": role,
        "id": f"msg_{role}",
        "content": [{"type": "input_text", "text": text} for text in texts],
    }


TASK = [said("developer", "Permissions."), said("developer", "Skills.", "Apps."), said("user", "Do it.")]


def exchange(kind, body, *turns):
    """Ask for each turn's call in turn, resending as Codex does; return the requests sent and the items called."""
    dialect, history, sent, items = dialect_of(kind), list(body.pop("input")), [], []
    for name, arguments, answered in turns:
        create = read_create({**body, "input": history}, "primary", "m", hosted=dialect.hosted)
        rendered = dialect.render_request(create)
        sent.append((orjson.loads(rendered.body), rendered.dropped))
        pieces = [call(0, name, "", f"call_{len(history)}"), call(0, arguments=orjson.dumps(arguments).decode())]
        stream = [chunk({"reasoning": "Hm."}), *(chunk({"tool_calls": [piece]}) for piece in pieces)]
        translator = dialect.parse_stream(Context(create, RESPONSE_ID, 1, lambda: 2.0, LIMIT))
        events = read_events(translate(translator, b"".join([*stream, chunk({}, "tool_calls")]), 7))
        *thought, called = events[-1]["response"]["output"]
        items.append(called)
        # Codex sends what it was sent, and its own ids beside.
        history += [*thought, called, {**answered, "call_id": called["call_id"], "id": "fco_1"}]
    create = read_create({**body, "input": history}, "primary", "m", hosted=dialect.hosted)
    sent.append((orjson.loads(dialect.render_request(create).body), ()))
    return sent, items


OUTPUT = {"type": "function_call_output", "output": "Exit code: 0"}
CUSTOM_OUTPUT = {"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "Done"}]}


@EACH
def test_functions_and_namespaces_are_called_and_answered(kind):
    turns = [
        ("exec_command", {"cmd": "ls"}, OUTPUT),
        ("multi_agent_v1__spawn_agent", {"cmd": "x"}, OUTPUT),
    ]
    sent, (first, second) = exchange(kind, {**BASIC, "input": TASK}, *turns)
    assert (first["type"], first["name"], first["arguments"]) == ("function_call", "exec_command", '{"cmd":"ls"}')
    assert (second["namespace"], second["name"]) == ("multi_agent_v1", "spawn_agent")
    body, dropped = sent[0]
    names = [tool["function"]["name"] for tool in body["tools"] if "function" in tool]
    assert names == ["exec_command", "multi_agent_v1__close_agent", "multi_agent_v1__spawn_agent"]
    assert ("tools.web_search" in dropped) is (kind != "openrouter")
    instructions = [message["content"] for message in body["messages"] if message["role"] in ("developer", "system")]
    assert instructions == ["Permissions.\n\nSkills.\n\nApps."]
    assert [message["role"] for message in sent[-1][0]["messages"][2:]] == ["assistant", "tool"] * 2


@EACH
def test_freeform_patch_is_a_text_within_a_function(kind):
    patch = "*** Begin Patch\n*** Update File: a\n@@\n-1\n+2\n*** End Patch\n"
    sent, (called,) = exchange(kind, {**FREEFORM, "input": TASK}, ("apply_patch", {"input": patch}, CUSTOM_OUTPUT))
    assert (called["type"], called["name"], called["input"]) == ("custom_tool_call", "apply_patch", patch)
    resent = sent[-1][0]["messages"][-2]["tool_calls"][0]["function"]
    assert (resent["name"], orjson.loads(resent["arguments"])) == ("apply_patch", {"input": patch})


@EACH
def test_tools_the_client_finds_can_be_called(kind):
    found = {"type": "tool_search_output", "execution": "client", "status": "completed", "tools": [AGENTS]}
    turns = [
        ("tool_search", {"query": "agents", "limit": 3}, found),
        ("multi_agent_v1__spawn_agent", {"cmd": "x"}, OUTPUT),
    ]
    sent, (searched, called) = exchange(kind, {**FREEFORM, "input": TASK}, *turns)
    assert (searched["type"], searched["execution"]) == ("tool_search_call", "client")
    assert searched["arguments"] == {"query": "agents", "limit": 3}
    assert (called["namespace"], called["name"]) == ("multi_agent_v1", "spawn_agent")
    offered = [[tool.get("function", {}).get("name") for tool in body["tools"]] for body, _ in sent]
    assert "multi_agent_v1__spawn_agent" not in offered[0]
    assert "multi_agent_v1__spawn_agent" in offered[1]
    told = next(message for message in sent[1][0]["messages"] if message["role"] == "tool")
    assert told["content"] == "Found: multi_agent_v1__close_agent, multi_agent_v1__spawn_agent."


@EACH
def test_tools_brought_along_in_the_input_can_be_called(kind):
    code = "const r = await tools.exec_command({cmd: 'ls'}); text(r.output);"
    turns = [("functions__exec", {"input": code}, CUSTOM_OUTPUT)]
    sent, (called,) = exchange(kind, {**LITE, "input": [BROUGHT, *TASK]}, *turns)
    assert (called["type"], called["namespace"], called["name"]) == ("custom_tool_call", "functions", "exec")
    assert called["input"] == code
    names = [tool["function"]["name"] for tool in sent[0][0]["tools"]]
    assert names[:2] == ["functions__exec", "functions__exec_command"]
