import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.bedrock_converse.stream import ConverseTranslator
from tests.dialects.bedrock_converse.recorded import STREAMS
from tests.dialects.bedrock_converse.test_response import JSON
from tests.dialects.bedrock_converse.wire import block_stop, event, frame, start, stop, text, usage, use
from tests.dialects.oracle import context_of, read_events, translate

SHORT = [recording for recording in STREAMS if len(recording.body) < 20_000]
KINDS = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]


@pytest.mark.skipif(not SHORT, reason="no recorded traffic")
@settings(max_examples=40)
@given(st.data())
def test_cuts_change_nothing(data):
    body = data.draw(st.sampled_from(SHORT)).body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    translator = ConverseTranslator(context_of())
    pieces = [body[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(body)])]
    out = b"".join([*map(translator.feed, pieces), translator.close()])
    assert out == translate(ConverseTranslator(context_of()), body, len(body))


BLOCKS = st.fixed_dictionaries(
    {},
    optional={
        "contentBlockIndex": st.integers(0, 2) | JSON,
        "start": JSON,
        "delta": JSON,
        "stopReason": JSON,
        "usage": JSON,
    },
)
GARBAGE = st.one_of(
    st.binary(max_size=40),
    st.builds(event, st.sampled_from(KINDS), JSON | BLOCKS),
    st.builds(event, st.sampled_from(KINDS), st.binary(max_size=10)),
    st.builds(lambda value: frame(value, message_type="exception", exception_type="x"), JSON),
    st.builds(lambda value: frame(value, message_type="error"), JSON),
)


@settings(max_examples=50)
@given(st.lists(GARBAGE, max_size=5), st.integers(1, 60))
def test_garbage_never_raises_and_the_stream_stays_legal(garbage, size):
    good = [start(), text("a"), use(1, "f", "c"), block_stop(1), stop(), usage()]
    mixed = [raw for pair in itertools.zip_longest(good, garbage, fillvalue=b"") for raw in pair]
    read_events(translate(ConverseTranslator(context_of()), b"".join(mixed), size))
