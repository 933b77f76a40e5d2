import orjson
import pytest

from tests.dialects.cohere_chat.spoken import (
    PAGE,
    answer,
    begin,
    call,
    cite,
    end,
    event,
    final,
    go_on,
    plan,
    text,
    thinking,
    types_of,
)
from tests.dialects.oracle import text_of


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        (end("ERROR"), "server_error", "The provider ended its answer with ERROR."),
        (end("TIMEOUT"), "server_error", "The provider ended its answer with TIMEOUT."),
        (end("ERROR", error="No more."), "server_error", "No more."),
        (end("COMPLETE", error="No more."), "server_error", "No more."),
        (end(None, error="too many tokens: by 3"), "context_length_exceeded", "too many tokens: by 3"),
        (b'data: {"id":"x","message":"No more."}\n\n', "server_error", "No more."),
        (b'data: {"type":"error","error":{"message":"No more.","code":"busy"}}\n\n', "busy", "No more."),
        (b'data: {"type":"new","error":"No more."}\n\n', "server_error", "No more."),
        (b'data: {"message":"m","error_type":"TOO_MANY_TOKENS"}\n\n', "context_length_exceeded", "m"),
    ],
)
def test_error_in_the_stream_is_told_and_ends_it(ending, code, message):
    events = answer(text("Hel"), ending, text("lo"), end())
    assert types_of(events)[-2:] == ["error", "failed"]
    assert (events[-2]["error"]["code"], events[-2]["error"]["message"]) == (code, message)
    response = events[-1]["response"]
    assert response["error"] == {"code": code, "message": message}
    assert [(item["status"], text_of(response)) for item in response["output"]] == [("incomplete", "Hel")]


def test_failure_tells_the_usage_there_was():
    usage = {"tokens": {"input_tokens": 3.0, "output_tokens": 2.0}, "cached_tokens": 1.0}
    told = final(text("x"), end("ERROR", usage=usage))["usage"]
    assert (told["input_tokens"], told["total_tokens"], told["input_tokens_details"]["cached_tokens"]) == (3, 5, 1)


@pytest.mark.parametrize("reason", [None, "COMPLETE", "STOP_SEQUENCE", "TOOL_CALL", "SOMETHING_NEW", 3, []])
def test_any_other_reason_completes_the_response(reason):
    assert final(text("x"), end(reason))["status"] == "completed"


@pytest.mark.parametrize("kind", [b'"debug"', b'"content-end"', b'"something-new"', b"[]", b"3"])
def test_events_that_say_nothing_are_nothing(kind):
    assert text_of(final(text("x"), b'data: {"type":%b,"message":"m"}\n\n' % kind, end())) == "x"


@pytest.mark.parametrize("cut", [b"", b'data: {"type":"message-end","delta":{"finish_r', text("x")[:-9]])
def test_stream_without_its_end_fails(cut):
    events = answer(text("Hel"), cut)
    assert (types_of(events)[-1], events[-1]["response"]["error"]["code"]) == ("failed", "upstream_disconnected")


def test_stream_may_end_behind_the_end_of_its_message():
    ending = end().partition(b"data: [DONE]")[0]
    for cut in (ending, ending[:-1], ending[:-2]):
        assert final(text("x"), cut)["status"] == "completed"


@pytest.mark.parametrize(
    "events",
    [
        [b"data: [DONE]\n\n"],
        [go_on(0, "{}")],
        [begin(0, name="")],
        [begin(0, name={"a": 1})],
        [call(0, "{}"), go_on(0, "x")],
        [b"data: {\n\n"],
    ],
)
def test_contradiction_fails_rather_than_lose_anything(events):
    assert final(text("x"), *events, end())["error"]["code"] == "upstream_bad_answer"


def test_output_past_the_limit_fails_and_is_not_kept():
    response = final(*[text("x" * 100)] * 50, end(), limit=2000)
    assert response["error"]["code"] == "response_too_large"
    assert len(text_of(response)) < 2000


@pytest.mark.parametrize(
    "piece",
    [
        call(0, "{}"),
        thinking("x" * 50),
        event("content-start", 0, content={"thinking": "x"}),
        cite(0, 1, PAGE),
        plan("x") + text("y"),
    ],
    ids=["calls", "thinking", "parts", "citations", "items"],
)
def test_whatever_grows_is_bounded(piece):
    response = final(text("x"), *[piece] * 700, end(), limit=20_000)
    assert response["error"]["code"] == "response_too_large"


DEEP = b"[" * 900 + b"]" * 900


@pytest.mark.parametrize(
    "value",
    [
        {"type": "message-end", "delta": {"finish_reason": "?"}},
        {"type": "message-end", "delta": {"error": "?"}},
        {"type": "message-end", "delta": {"usage": {"tokens": "?"}}},
        {
            "type": "tool-call-start",
            "delta": {"message": {"tool_calls": {"function": {"name": "f", "arguments": "?"}}}},
        },
        {"type": "tool-call-start", "delta": {"message": {"tool_calls": {"id": "?", "function": {"name": "?"}}}}},
        {"type": "citation-start", "delta": {"message": {"citations": {"type": "?", "sources": [{"id": "?"}]}}}},
        {"type": "content-delta", "delta": {"message": {"content": {"text": "?"}}}, "logprobs": "?"},
        {"type": "?", "message": "?", "error": "?"},
        {"message": "m", "error_type": "?"},
    ],
)
def test_depth_no_encoder_writes_never_raises(value):
    data = orjson.dumps(value).replace(b'"?"', DEEP)
    assert final(text("x"), b"data: %b\n\n" % data)["status"] in ("completed", "failed")
