"""Renders requests, and holds them to the official types."""

from proxy.dialects.anthropic_messages import anthropic_profile
from proxy.dialects.anthropic_messages.carried import pack_blocks
from proxy.dialects.anthropic_messages.request import render_request
from proxy.dialects.create import read_create
from proxy.dialects.reasoning import seal
from tests.dialects.anthropic_messages.official import check_request

ANTHROPIC = anthropic_profile("2023-06-01")
OLD, NEW, LATEST = "claude-sonnet-4-5", "claude-opus-4-8", "claude-opus-5-5"


def create(model=OLD, profile=ANTHROPIC, **body):
    """Read a create request."""
    return read_create({"input": "Hi", **body}, "primary", model, hosted=profile.hosted)


def render(model=OLD, profile=ANTHROPIC, **body):
    """Return the rendered body, and the names of what was dropped."""
    rendered = render_request(create(model, profile, **body), profile)
    unofficial = b"block_binding" in rendered.body
    return check_request(rendered, beta=unofficial), rendered.dropped


def messages(*items, model=OLD, **body):
    """Return the rendered messages of a dialogue."""
    return render(model, input=list(items), **body)[0]["messages"]


def headers_of(profile=ANTHROPIC, model=OLD, **body):
    """Return the headers of a rendered request."""
    return dict(render_request(create(model, profile, **body), profile).headers)


def user(content="Go."):
    return {"role": "user", "content": content}


def said(content, role="assistant"):
    return {"role": role, "content": content}


def call(call_id="c1", arguments='{"a":1}', name="f"):
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def output(call_id="c1", value="done"):
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def carried(*blocks, model=OLD):
    """Return a reasoning item that carries blocks."""
    return {"type": "reasoning", "summary": [], "encrypted_content": seal("primary", model, pack_blocks(blocks))}


def thought(signature="s", model=OLD):
    return carried({"type": "thinking", "thinking": "Hm.", "signature": signature}, model=model)


def kinds(message):
    """Return the types of a message's blocks."""
    return [block["type"] for block in message["content"]]


def text(value):
    return {"type": "text", "text": value}
