"""What a model does is told the same in every dialect, whole and streamed, and so is what goes wrong."""

import orjson
import pytest

from tests.dialects.oracle import context_of, read_events, translate
from tests.dialects.spoken import SPOKEN
from tests.rig.faces import FACES
from tests.rig.faces.base import Asked
from tests.rig.model import Answer, Call, Entry, Prompt

TOOLS = [
    {"type": "function", "name": "f"},
    {"type": "custom", "name": "c"},
    {"type": "namespace", "name": "n", "description": "d", "tools": [{"type": "function", "name": "g"}]},
]
BODY = {"input": "Hi there", "tools": TOOLS, "service_tier": "flex"}
CALLS = (Call("f", {"a": 1}), Call("c", {"input": "x\ny"}), Call("n__g", {}))
SAID = [("message", "completed", "Hello world.", None)]
CUT = [("message", "incomplete", "cut off", None)]
DONE = [
    ("reasoning", "completed", "Hm.", None),
    ("function_call", "completed", '{"a":1}', None),
    ("custom_tool_call", "completed", "x\ny", None),
    ("function_call", "completed", "{}", "n"),
]
ANSWERS = {
    "text": (Answer("Hello world."), "completed", SAID),
    "calls": (Answer(thought="Hm.", calls=CALLS), "completed", DONE),
    "cut text": (Answer("cut off", cut=True), "incomplete", CUT),
    "cut before anything": (Answer(cut=True), "incomplete", []),
}
EACH_DIALECT = pytest.mark.parametrize("dialect", SPOKEN)


def outcomes(dialect, given):
    """Return the response an answer becomes, whole and at the end of its stream."""
    face, spoken = FACES[dialect], SPOKEN[dialect].dialect
    asked = Asked(Prompt((Entry("user", "Hi there"),)), "m", stream=True)
    whole = face.whole(given, asked)
    body = whole if isinstance(whole, bytes) else orjson.dumps(whole)
    streamed = translate(spoken.parse_stream(context_of(BODY)), b"".join(face.stream(given, asked)), 7)
    return spoken.parse_response(body, context_of(BODY)), read_events(streamed)[-1]["response"]


def told(item):
    """Return what of an item does not depend on the provider."""
    parts = item.get("content") or item.get("summary") or ()
    said = "".join(part["text"] for part in parts) or item.get("arguments", item.get("input"))
    return item["type"], item["status"], said, item.get("namespace")


@EACH_DIALECT
@pytest.mark.parametrize("case", ANSWERS)
def test_answer_is_told_alike(dialect, case):
    given, status, expected = ANSWERS[case]
    for response in outcomes(dialect, given):
        assert (response["status"], [told(item) for item in response["output"]]) == (status, expected)
        assert response["incomplete_details"] == (None if status == "completed" else {"reason": "max_output_tokens"})
        # The tier that was used is the provider's to tell, and none of these does.
        assert response["service_tier"] == "default"
        usage = response["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert usage["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}
        sealed = [item["encrypted_content"] for item in response["output"] if item["type"] == "reasoning"]
        assert all(sealed)


@pytest.mark.parametrize("dialect", ["chat_completions", "cohere_chat", "gemini_generate_content"])
def test_thought_that_is_cut_short_is_incomplete(dialect):
    """Where a signature ends it the thought is whole, and only the answer is missing."""
    for response in outcomes(dialect, Answer(thought="Hm.", cut=True)):
        assert [told(item)[:3] for item in response["output"]] == [("reasoning", "incomplete", "Hm.")]


GOOGLES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}
ANTHROPICS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
}
ERRORS = {
    400: ("invalid_request_error", "invalid_prompt"),
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", "not_allowed"),
    404: ("invalid_request_error", "not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "server_error"),
}
TOO_LONG = {
    "chat_completions": "This model's maximum context length is 8 tokens. However, you requested 9 tokens.",
    "anthropic_messages": "prompt is too long: 9 tokens > 8 maximum",
    "bedrock_converse": "Input is too long for requested model.",
    "cohere_chat": "too many tokens: size limit exceeded by 1 tokens.",
    "gemini_generate_content": "The input token count (9) exceeds the maximum number of tokens allowed (8).",
}


def error_of(dialect, status, message):
    """Return an error as a provider of the dialect writes it."""
    body = {
        "chat_completions": {"error": {"message": message}},
        "anthropic_messages": {"type": "error", "error": {"type": ANTHROPICS[status], "message": message}},
        "bedrock_converse": {"message": message},
        "cohere_chat": {"message": message},
        "gemini_generate_content": {"error": {"code": status, "message": message, "status": GOOGLES[status]}},
    }[dialect]
    return SPOKEN[dialect].dialect.parse_error(status, orjson.dumps(body))


@EACH_DIALECT
@pytest.mark.parametrize("status", ERRORS)
def test_error_is_told_alike(dialect, status):
    assert error_of(dialect, status, "m") == (status, *ERRORS[status], "m", None)


@EACH_DIALECT
def test_prompt_that_does_not_fit_has_the_code_clients_act_on(dialect):
    failure = error_of(dialect, 400, TOO_LONG[dialect])
    assert (failure.status, failure.code) == (400, "context_length_exceeded")
