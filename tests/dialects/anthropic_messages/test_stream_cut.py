import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.anthropic_messages.stream import MessagesTranslator
from tests.dialects.anthropic_messages.recorded import STREAMS, stream_of
from tests.dialects.anthropic_messages.written import block, end, event, start, text, thinking, tool
from tests.dialects.oracle import context_of, read_events, translate

SHORT = [recording for recording in STREAMS if len(recording.body) < 20_000]


@pytest.mark.skipif(not SHORT, reason="no recorded traffic")
@settings(max_examples=50)
@given(st.data())
def test_cuts_change_nothing(data):
    body = stream_of(data.draw(st.sampled_from(SHORT)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    translator = MessagesTranslator(context_of())
    pieces = [body[begin:stop] for begin, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    out = b"".join([*map(translator.feed, pieces), translator.close()])
    assert out == translate(MessagesTranslator(context_of()), body, len(body))


NAMES = [
    "type", "index", "message", "content_block", "delta", "usage", "error", "content", "text", "thinking",
    "signature", "data", "id", "name", "input", "partial_json", "citation", "citations", "url", "title",
    "tool_use_id", "stop_reason", "stop_details", "explanation", "model", "service_tier", "input_tokens",
    "output_tokens", "cache_creation", "details", "error_code", "stdout", "file_id", "query", "code",
]  # fmt: skip
KINDS = [
    "text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result",
    "bash_code_execution_tool_result", "text_delta", "citations_delta", "input_json_delta", "web_search",
    "web_fetch", "code_execution", "refusal", "max_tokens", "char_location", "web_search_result_location",
    "rate_limit_error",
]  # fmt: skip
EVENTS = [
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
    "message_stop", "error", "ping",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 600) | st.floats(allow_nan=False) | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
BLOCKS = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional=dict.fromkeys(("id", "name", "input", "content", "tool_use_id"), JSON),
)
GARBAGE = st.one_of(
    st.binary(max_size=40),
    JSON.map(lambda value: b"data: " + orjson.dumps(value)),
    st.tuples(st.sampled_from(EVENTS), st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4)).map(
        lambda pair: b"data: " + orjson.dumps({**pair[1], "type": pair[0]})
    ),
    BLOCKS.map(lambda value: event("content_block_start", index=0, content_block=value).rstrip(b"\n")),
    BLOCKS.map(lambda value: event("content_block_delta", index=0, delta=value).rstrip(b"\n")),
    JSON.map(lambda value: event("content_block_delta", index=0, delta=value).rstrip(b"\n")),
    st.sampled_from([b": comment", b"event: ping", b"id: 1", b"data", b"data: {", b"data: null", b"data: [DONE]"]),
)
GOOD = st.sampled_from(
    [
        text(0, "a"),
        thinking(0, "b"),
        tool(0, "f", "{}"),
        tool(0, "web_search", '{"query":"q"}', kind="server_tool_use"),
        block(0, "web_search_tool_result", tool_use_id="toolu_1", content=[{"url": "u"}]),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        end(),
    ]
)


@settings(max_examples=50)
@given(st.lists(GARBAGE | GOOD, max_size=6), st.integers(1, 30))
def test_garbage_never_raises_and_the_stream_stays_legal(mixed, size):
    stream = b"\n\n".join([start(), *mixed, b""])
    read_events(translate(MessagesTranslator(context_of()), stream, size))
