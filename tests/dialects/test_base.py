import orjson

from proxy.dialects.base import Failure
from proxy.dialects.chat_completions import Profile, chat_completions
from tests.dialects.oracle import context_of


def test_failure_is_rendered_in_the_shape_every_sdk_parses():
    body = orjson.loads(Failure(429, "rate_limit_error", "slow_down", "Later.\ud800", "x").body())
    assert body == {"error": {"message": "Later.?", "type": "rate_limit_error", "param": "x", "code": "slow_down"}}


def test_dialect_is_all_a_provider_needs():
    dialect = chat_completions(Profile(path="/v1/chat"))
    context = context_of()
    assert dialect.render_request(context.create).path == "/v1/chat"
    answer = b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'
    assert dialect.parse_response(answer, context)["status"] == "completed"
    assert dialect.parse_error(500, b"").status == 500
    assert dialect.parse_stream(context).feed(b": x").startswith(b"event: response.created\n")
