import inspect
import re

import orjson
import pytest
from openai import APIStatusError, AsyncOpenAI

from proxy import errors
from proxy.errors import GatewayError, printable
from tests.rig import scripts

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GatewayError)]
LEAVES = [kind for kind in TREE if not any(below.__module__ == kind.__module__ for below in kind.__subclasses__())]
EXPLICIT = re.compile(r"[├└]── (\w+) +(\d{3})?")


def test_tree_in_the_docstring_is_the_tree():
    """The first thing a reader sees has to be true: each name, its status, its place."""
    drawn = dict(EXPLICIT.findall(errors.__doc__))
    assert drawn.keys() == {kind.__name__ for kind in TREE} - {"GatewayError"}
    assert {name: int(status) for name, status in drawn.items() if status} == {
        kind.__name__: kind.status for kind in LEAVES
    }
    groups = re.findall(r"^    [├└]── (\w+)", errors.__doc__, re.MULTILINE)
    assert groups == [kind.__name__ for kind in GatewayError.__subclasses__()]


@pytest.mark.parametrize("kind", LEAVES)
def test_error_renders_in_the_shape_every_sdk_parses(kind):
    error = kind("What happened.")
    error.param = "model"
    body = orjson.loads(error.body())
    assert body == {"error": {"message": "What happened.", "type": kind.type, "param": "model", "code": kind.code}}
    assert str(error) == "What happened."


@pytest.mark.parametrize("kind", LEAVES)
def test_error_says_whose_fault_it_is(kind):
    """A 4xx is the client's, a 502 or 504 the provider's, another 5xx ours."""
    expected = "downstream" if kind.status < 500 else "upstream" if kind.status in (502, 504) else "internal"
    assert kind.fault == expected
    assert (kind.type == "upstream_error") == (expected == "upstream")


@pytest.mark.parametrize("kind", LEAVES)
def test_error_declares_another_try_safe_only_where_nothing_was_sent(kind):
    advice = dict(kind("m").headers()).get("x-should-retry")
    nothing_sent = {errors.ConnectFailed, errors.ConnectTimeout}
    sent = {errors.Disconnected, errors.BadAnswer, errors.FirstByteTimeout}
    assert advice == ("true" if kind in nothing_sent else "false" if kind in sent else None)


def test_error_carries_what_the_raiser_knows_better():
    error = errors.BadRequest("m", code="unknown_provider", param="x", retry_after=3)
    assert orjson.loads(error.body())["error"]["code"] == "unknown_provider"
    assert error.headers() == [("Retry-After", "3")]
    error.retry_safe = True
    assert ("x-should-retry", "true") in error.headers()
    assert errors.BadRequest.code is None
    assert errors.BadRequest.retry_safe is None


def test_error_has_an_answer_also_for_bytes_that_are_no_text():
    """Headers are read with surrogates for what is no UTF-8, and messages repeat what was asked for."""
    asked = b"caf\xe9-\xff".decode("utf-8", "surrogateescape")
    body = errors.BadRequest(f"There is no provider '{asked}'.").body()
    assert orjson.loads(body)["error"]["message"] == "There is no provider 'caf?-?'."
    assert printable("caf\u00e9 \U0001f600") == "caf\u00e9 \U0001f600"


def test_error_names_the_methods_that_are_allowed():
    """RFC 9110 demands it of every 405."""
    assert errors.MethodNotAllowed("m", allowed=["GET", "DELETE"]).headers() == [("Allow", "GET, DELETE")]


async def test_error_arrives_in_the_official_client_as_what_it_is(upstream):
    async with AsyncOpenAI(base_url=f"{upstream.url}/v1", api_key="any", max_retries=0) as client:
        for kind in LEAVES:
            error = kind("What happened.")
            error.param, error.retry_after = "model", 1
            upstream.on("POST", "/v1/responses", scripts.answer(error.body(), kind.status, error.headers()))
            with pytest.raises(APIStatusError) as raised:
                await client.responses.create(model="m", input="x")
            found = raised.value
            assert (found.status_code, found.code, found.type, found.param) == (
                *(kind.status, kind.code, kind.type),
                "model",
            )
            assert found.body["message"] == "What happened."
            assert found.response.headers["Retry-After"] == "1"
