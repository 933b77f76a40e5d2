import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.chat_completions.stream import ChatTranslator
from tests.dialects.chat_completions.recorded import STREAMS
from tests.dialects.chat_completions.test_stream import call, chunk
from tests.dialects.oracle import context_of, read_events, translate

SHORT = [recording for recording in STREAMS if len(recording.body) < 20_000]


@pytest.mark.skipif(not SHORT, reason="no recorded traffic")
@settings(max_examples=60)
@given(st.data())
def test_cuts_change_nothing(data):
    body = data.draw(st.sampled_from(SHORT)).body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    translator = ChatTranslator(context_of())
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    out = b"".join([*map(translator.feed, pieces), translator.close()])
    assert out == translate(ChatTranslator(context_of()), body, len(body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 600) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "index",
                    "content",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "id",
                    "reasoning",
                    "reasoning_details",
                    "text",
                    "type",
                    "annotations",
                    "url_citation",
                    "usage",
                    "prompt_tokens",
                    "error",
                    "logprobs",
                    "finish_reason",
                    "refusal",
                    "model",
                    "x_groq",
                    "service_tier",
                    "thinking",
                    "custom",
                    "input",
                    "logprob",
                    "top_logprobs",
                    "citations",
                    "search_results",
                    "url",
                    "title",
                    "signature",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
GARBAGE = st.one_of(
    st.binary(max_size=40),
    JSON.map(lambda value: b"data: " + orjson.dumps(value)),
    JSON.map(lambda value: b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": value}]})),
    JSON.map(lambda value: b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": value}}]})),
    JSON.map(lambda value: b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"tool_calls": value}}]})),
    st.sampled_from([b": comment", b"event: ping", b"id: 1", b"retry", b"data", b"data: {", b"data: null"]),
)


@settings(max_examples=60)
@given(st.lists(GARBAGE, max_size=4), st.integers(1, 30))
def test_garbage_never_raises_and_the_stream_stays_legal(garbage, size):
    good = [chunk({"content": "a"}).rstrip(b"\n"), chunk({"tool_calls": [call(0, "f", "{}", "c")]}).rstrip(b"\n")]
    mixed = [line for pair in zip([*good, b""], [*garbage, *[b""] * 3][:3], strict=True) for line in pair]
    stream = b"\n\n".join([*mixed, *garbage[3:]]) + b"\n\n"
    read_events(translate(ChatTranslator(context_of()), stream, size))
