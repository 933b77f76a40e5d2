import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.base import Failure
from proxy.dialects.gemini_generate_content.response import parse_response
from proxy.dialects.gemini_generate_content.stream import GeminiTranslator
from tests.dialects.gemini_generate_content.recorded import STREAMS
from tests.dialects.gemini_generate_content.test_stream import chunk
from tests.dialects.oracle import context_of, read_events, translate

SHORT = [recording for recording in STREAMS if len(recording.body) < 20_000]


@pytest.mark.skipif(not SHORT, reason="no recorded traffic")
@settings(max_examples=50)
@given(st.data())
def test_cuts_change_nothing(data):
    body = data.draw(st.sampled_from(SHORT)).body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    translator = GeminiTranslator(context_of())
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    out = b"".join([*map(translator.feed, pieces), translator.close()])
    assert out == translate(GeminiTranslator(context_of()), body, len(body))


NAMES = [
    "args",
    "blockReason",
    "candidates",
    "chosenCandidates",
    "citationMetadata",
    "citations",
    "code",
    "codeExecutionResult",
    "content",
    "endIndex",
    "error",
    "executableCode",
    "finishMessage",
    "finishReason",
    "functionCall",
    "groundingChunks",
    "groundingMetadata",
    "groundingSupports",
    "index",
    "jsonPath",
    "logProbability",
    "logprobsResult",
    "modelVersion",
    "name",
    "partialArgs",
    "parts",
    "promptFeedback",
    "promptTokenCount",
    "segment",
    "stringValue",
    "text",
    "thought",
    "thoughtSignature",
    "token",
    "toolCall",
    "toolResponse",
    "toolType",
    "topCandidates",
    "uri",
    "usageMetadata",
    "web",
    "webSearchQueries",
    "willContinue",
]
TEXTS = st.text(max_size=8) | st.sampled_from(["STOP", "SAFETY", "GOOGLE_SEARCH_WEB", "$.a", "$.a[0]"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 600) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
PARTS = st.dictionaries(
    st.sampled_from(["functionCall", "text", "thoughtSignature", "executableCode", "inlineData", "toolCall"]), JSON
)
CANDIDATES = st.one_of(
    JSON,
    st.fixed_dictionaries({"content": st.fixed_dictionaries({"parts": st.lists(JSON | PARTS, max_size=3)})}),
    st.fixed_dictionaries({"groundingMetadata": JSON, "logprobsResult": JSON, "finishReason": JSON}),
)
VALUES = JSON | CANDIDATES.map(lambda candidate: {"candidates": [candidate]})
GARBAGE = st.one_of(
    st.binary(max_size=40),
    VALUES.map(lambda value: b"data: " + orjson.dumps(value)),
    st.sampled_from([b": comment", b"event: ping", b"data", b"data: {", b"data: null", b"data: [DONE]"]),
)


@settings(max_examples=50)
@given(st.lists(GARBAGE, max_size=4), st.integers(1, 30))
def test_garbage_never_raises_and_the_stream_stays_legal(garbage, size):
    good = [chunk({"text": "a"}).rstrip(), chunk({"functionCall": {"name": "f"}}, finish="STOP").rstrip()]
    mixed = [line for pair in zip([*good, b""], [*garbage, *[b""] * 3][:3], strict=True) for line in pair]
    stream = b"\n\n".join([*mixed, *garbage[3:]]) + b"\n\n"
    read_events(translate(GeminiTranslator(context_of()), stream, size))


@settings(max_examples=50)
@given(VALUES | st.lists(VALUES, max_size=3))
def test_garbage_is_an_answer_or_a_failure(value):
    parsed = parse_response(orjson.dumps(value), context_of())
    assert isinstance(parsed, Failure) or parsed["status"] in ("completed", "incomplete")
