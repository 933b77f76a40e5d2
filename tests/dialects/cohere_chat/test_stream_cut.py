import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.cohere_chat.stream import CohereTranslator
from tests.dialects.cohere_chat.recorded import STREAMS
from tests.dialects.cohere_chat.spoken import call, end, event, plan, text
from tests.dialects.oracle import context_of, read_events, translate

SHORT = [recording for recording in STREAMS if len(recording.body) < 20_000]


@pytest.mark.skipif(not SHORT, reason="no recorded traffic")
@settings(max_examples=40)
@given(st.data())
def test_cuts_change_nothing(data):
    body = data.draw(st.sampled_from(SHORT)).body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    translator = CohereTranslator(context_of())
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    out = b"".join([*map(translator.feed, pieces), translator.close()])
    assert out == translate(CohereTranslator(context_of()), body, len(body))


NAMES = [
    *("type", "index", "delta", "message", "content", "text", "thinking"),
    *("tool_plan", "tool_calls", "id", "function", "name", "arguments", "citations"),
    *("start", "end", "sources", "tool_output", "document", "url", "title"),
    *("content_index", "logprobs", "token_ids", "finish_reason", "usage", "tokens", "billed_units"),
    *("input_tokens", "output_tokens", "image_tokens", "cached_tokens", "error", "error_type"),
]
KINDS = [
    *("message-start", "content-start", "content-delta", "content-end"),
    *("tool-plan-delta", "tool-call-start", "tool-call-delta", "tool-call-end"),
    *("citation-start", "citation-end", "debug", "error"),
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 600)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([*KINDS, "message-end", "ERROR", "MAX_TOKENS"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
CALL = st.fixed_dictionaries({}, optional={"id": JSON, "function": st.dictionaries(st.sampled_from(NAMES), JSON)})


def said(member):
    """Generate events whose message has anything under a member."""
    return st.tuples(st.sampled_from(KINDS), st.none() | st.integers(0, 2), JSON | CALL).map(
        lambda drawn: orjson.dumps({"type": drawn[0], "index": drawn[1], "delta": {"message": {member: drawn[2]}}})
    )


GARBAGE = st.one_of(
    st.binary(max_size=40),
    st.one_of(
        JSON.map(orjson.dumps),
        *[said(member) for member in ("content", "tool_plan", "tool_calls", "citations")],
        JSON.map(lambda value: orjson.dumps({"type": "message-end", "delta": value})),
    ).map(lambda data: b"data: " + data),
    st.sampled_from([b": comment", b"event: ping", b"id: 1", b"data", b"data: {", b"data: null", b"data: [DONE]"]),
)
GOOD = [text("a"), plan("b"), call(0, "{}"), event("content-start", 0, content={"type": "text", "text": ""}), end()]


@settings(max_examples=50)
@given(st.lists(GARBAGE.map(lambda block: block + b"\n\n") | st.sampled_from(GOOD), max_size=7), st.integers(1, 30))
def test_garbage_never_raises_and_the_stream_stays_legal(blocks, size):
    read_events(translate(CohereTranslator(context_of()), b"".join(blocks), size))
