import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects.base import Failure
from proxy.dialects.events import EventWriter, TokenCounts
from proxy.dialects.output import Message
from proxy.dialects.translator import Malformed, SseTranslator, StreamTranslator, is_whole
from tests.dialects.oracle import TERMINAL, context_of, read_events, text_of, translate
from tests.rig.client import split_events

COUNTS = TokenCounts(1, 0, 0, 2, 0, 3)
OPENING = ["response.created", "response.in_progress"]


class Words(SseTranslator):
    """Reads `{"say": text}`, `{"usage": true}`, `{"fail": message}`, `{"bad": true}` and, as the end, `[DONE]`."""

    dialect = "a poem"

    def __init__(self, context, *, needs_end=True):
        super().__init__(context, EventWriter(context))
        self.read = []
        self._message = None
        self._needs_end = needs_end

    def _read_data(self, data):
        assert data
        assert not self.finished
        self.read.append(data)
        if data == b"[DONE]":
            self.writer.finish(None, self.usage)
            return
        event = orjson.loads(data)
        if "usage" in event:
            self.usage = COUNTS
        if "bad" in event:
            raise Malformed("It does not rhyme.")
        if "fail" in event:
            self.writer.fail(Failure(500, "server_error", "own", event["fail"]), self.usage, announce=True)
        if "say" in event:
            self._message = self._message or Message(self.writer)
            self._message.add_text(event["say"])

    def _finish(self):
        if not self._needs_end:
            self.writer.finish(None, self.usage)


class Bytes(StreamTranslator):
    """Takes every byte as text, and the end of the body as that of the response."""

    dialect = "text"

    def __init__(self, context):
        super().__init__(context, EventWriter(context))
        self._message = None

    def _take(self, chunk):
        self._message = self._message or Message(self.writer)
        self._message.add_text(chunk.decode("latin-1"))

    def _end(self):
        self.writer.finish(None, None)


def event(end=b"\n\n", **members):
    return b"data: " + orjson.dumps(members) + end


def words(**options):
    needs_end = options.pop("needs_end", True)
    return Words(context_of(**options), needs_end=needs_end)


def answer(*events, **options):
    """Return the events that come out, the body being fed whole."""
    body = b"".join(events)
    return read_events(translate(words(**options), body, len(body) or 1))


def code_of(events):
    error = events[-1]["response"]["error"]
    return error and error["code"]


# The opening


@pytest.mark.parametrize("first", [b"d", b":", b"\n", b"\xff", b""])
def test_first_feed_opens_the_response_whatever_it_holds(first):
    translator = words()
    assert [frame.name for frame in split_events(translator.feed(first))] == OPENING
    assert translator.feed(b"x") == b""
    assert not translator.finished
    assert translator.response is None


@pytest.mark.parametrize("end", [lambda one: one.close(), lambda one: one.fail("gone", "Gone.")])
@pytest.mark.parametrize("make", [words, lambda: Bytes(context_of())])
def test_end_without_a_byte_is_a_whole_stream_all_the_same(make, end):
    assert read_events(end(make()))[-1]["type"] in TERMINAL


# The end


def test_format_ends_the_response():
    translator = words()
    events = read_events(translator.feed(event(say="Hi") + event(usage=True) + b"data: [DONE]\n\n"))
    assert translator.finished
    assert orjson.loads(translator.response) == events[-1]["response"]
    assert (text_of(events[-1]["response"]), events[-1]["response"]["usage"]["total_tokens"]) == ("Hi", 3)


def test_body_may_end_the_response_where_the_format_lets_it():
    assert answer(event(say="Hi"), needs_end=False)[-1]["type"] == "response.completed"


def test_body_that_ends_too_early_fails_the_response_with_what_is_known():
    events = answer(event(say="Hi"), event(usage=True))
    assert code_of(events) == "upstream_disconnected"
    response = events[-1]["response"]
    assert (text_of(response), response["usage"]["total_tokens"]) == ("Hi", 3)


def ended(how):
    """Return a translator that came to its end, by what the provider sent or did not."""
    translator = words()
    translator.feed(event(say="Hi"))
    how(translator)
    assert translator.finished
    return translator


ENDS = {
    "done": lambda one: one.feed(b"data: [DONE]\n\n"),
    "failed": lambda one: one.feed(event(fail="m")),
    "malformed": lambda one: one.feed(event(bad=True)),
    "closed": lambda one: one.close(),
    "lost": lambda one: one.fail("gone", "Gone."),
}


@pytest.mark.parametrize("how", ENDS.values(), ids=ENDS)
def test_nothing_comes_after_the_end(how):
    translator = ended(how)
    response = translator.response
    after = [translator.feed(event(say="x")), translator.close(), translator.fail("c", "m"), translator.feed(b"")]
    assert after == [b""] * 4
    assert translator.response == response


def test_events_behind_the_end_are_not_read():
    translator = words()
    events = read_events(translator.feed(event(fail="m") + event(say="x") + b"data: [DONE]\n\n"))
    assert [one["type"] for one in events].count("response.failed") == 1
    assert len(translator.read) == 1


def test_outside_failure_is_told_in_its_own_words():
    translator = words()
    fed = translator.feed(event(say="Hi") + event(usage=True))
    events = read_events(fed + translator.fail("upstream_idle_timeout", "Too slow."))
    response = events[-1]["response"]
    assert response["error"] == {"code": "upstream_idle_timeout", "message": "Too slow."}
    assert response["usage"]["total_tokens"] == 3
    assert "error" not in [one["type"] for one in events]


# What cannot be read


@pytest.mark.parametrize(
    "bad",
    [event(bad=True), b"data: {\n\n", b"data: {} {}\n\n", b"data: nope\n\n", b"data: \xff\n\n", b"data: [DONE\n\n"],
)
def test_what_is_not_the_dialect_fails_the_response(bad):
    events = answer(event(say="Hi"), bad, event(say="x"))
    assert code_of(events) == "upstream_bad_answer"
    assert events[-1]["response"]["error"]["message"] == "The provider sent something that is not a poem."
    assert text_of(events[-1]["response"]) == "Hi"
    assert "error" not in [one["type"] for one in events]


def test_what_cannot_be_read_at_the_end_of_the_body_fails_it_too():
    assert code_of(answer(event(say="Hi"), event(end=b"", bad=True))) == "upstream_bad_answer"


def test_output_past_the_limit_fails_the_response():
    assert code_of(answer(*[event(say="x" * 300)] * 5, limit=1000)) == "response_too_large"
    translator = Bytes(context_of(limit=1000))
    assert code_of(read_events(translate(translator, b"x" * 2000, 100))) == "response_too_large"


@pytest.mark.parametrize("size", [1, 7, 500, 5000])
def test_event_too_long_to_wait_for_fails_behind_those_that_were_whole(size):
    body = event(say="Hi") + event(say="x" * 3000) + b"data: [DONE]\n\n"
    out = translate(words(limit=1000), body, size)
    if size < len(body):
        events = read_events(out)
        assert (code_of(events), text_of(events[-1]["response"])) == ("upstream_bad_answer", "Hi")
    else:
        # Whole events need no waiting: then the output is what is too large.
        assert code_of(read_events(out)) == "response_too_large"


def test_oversized_event_is_not_read_when_the_body_ends_in_it():
    translator = words(limit=100)
    out = translator.feed(b"data: " + b"x" * 300) + translator.close()
    assert code_of(read_events(out)) == "upstream_bad_answer"
    assert translator.read == []


# Events as the standard has them


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"say":"Hi"}\n\n',
        b'data:{"say":"Hi"}\n\n',
        b'event: x\ndata: {"say":"Hi"}\n\n',
        b'event: x\ndata: {"say":"Hi"}\nid: 1\n\n',
        b'event: x\nid: 1\ndata: {"say":"Hi"}\n\n',
        b'event: x\ndata: {"say":\ndata: "Hi"}\n\n',
        b'event: x\rdata: {"say":"Hi"}\n\n',
        b'data: {"say":\ndata: "Hi"}\n\n',
        b'data: {"say":"Hi"}\r\n\r\n',
        b'data: {"say":"Hi"}\r\rdata:\r\r',
        b': busy\n\ndata: {"say":"Hi"}\n\n',
        b'\n\n\ndata: {"say":"Hi"}\n\n',
        b'event: ping\n\ndata\n\ndata:\n\ndata: {"say":"Hi"}\n\n',
        b'data: {"say":"Hi"}\nx: y\n\n',
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_event_is_read_in_every_form(body, size):
    translator = words()
    events = read_events(translate(translator, body + b"data: [DONE]\n\n", size))
    assert text_of(events[-1]["response"]) == "Hi"
    assert [data.strip() for data in translator.read] == translator.read


@pytest.mark.parametrize(
    ("rest", "read"),
    [
        (b"data: [DONE]", True),
        (b"data: [DONE]\n", True),
        (b'data: {"say":"x"}', True),
        (b'data: {"say":"x"', False),
        (b"data: [DON", False),
        (b"data:", False),
        (b": busy", False),
        (b"", False),
    ],
)
def test_last_event_counts_only_if_it_is_there_to_its_end(rest, read):
    assert is_whole(rest) is read
    translator = words()
    translator.feed(rest)
    translator.close()
    assert bool(translator.read) is read


# Cuts


PIECES = [
    event(say="Hi"),
    event(say="é 🙂"),
    event(b"\r\n\r\n", say="a\n\nb"),
    event(b"\r\r", say="c"),
    b": busy\n\n",
    b"event: ping\n\n",
    event(usage=True),
    event(fail="m"),
    event(bad=True),
    b"data: [DONE]\n\n",
    b"data: {",
    b"\xff\xfe",
    b"\r\n",
    b"\n",
    event(say="x" * 400),
]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join), st.data())
def test_cuts_change_nothing_and_the_end_comes_once(body, data):
    whole = translate(words(), body, len(body) or 1)
    read_events(whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    translator = words()
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert b"".join([*map(translator.feed, pieces), translator.close()]) == whole
    assert translate(words(), body, 1) == translate(words(), body, 7) == whole
    assert sum(whole.count(b"event: %b\n" % name.encode()) for name in TERMINAL) == 1


@settings(max_examples=25)
@given(st.binary(max_size=60), st.integers(1, 20))
def test_no_bytes_raise(body, size):
    read_events(translate(words(limit=50), body, size))
    read_events(translate(words(needs_end=False), body, size))
    read_events(translate(Bytes(context_of()), body, size))
