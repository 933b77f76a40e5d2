"""Requests as exact bytes, and the one shape every refusal has."""

from tests.rig.settings import ALICE_KEY

BODY = {"model": "gpt-4o-mini", "input": "hello"}
ENDPOINTS = [
    ("POST", "/responses", BODY),
    ("GET", "/responses/resp_1", None),
    ("DELETE", "/responses/resp_1", None),
    ("POST", "/responses/resp_1/cancel", None),
    ("GET", "/responses/resp_1/input_items", None),
    ("POST", "/responses/compact", BODY),
    ("POST", "/responses/input_tokens", BODY),
    ("POST", "/conversations", {"metadata": {}}),
    ("GET", "/conversations/conv_1", None),
    ("POST", "/conversations/conv_1", {"metadata": {}}),
    ("DELETE", "/conversations/conv_1", None),
    ("GET", "/conversations/conv_1/items", None),
    ("POST", "/conversations/conv_1/items", {"items": []}),
    ("GET", "/conversations/conv_1/items/msg_1", None),
    ("DELETE", "/conversations/conv_1/items/msg_1", None),
]
UPGRADE = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA"]


def head(method, target, *lines, key=ALICE_KEY, version="HTTP/1.1"):
    """Make the bytes of a request's head: Host, the gateway key where there is one, then these lines."""
    authorization = [] if key is None else [f"Authorization: Bearer {key}"]
    return "".join(
        f"{line}\r\n" for line in (f"{method} {target} {version}", "Host: gateway.test", *authorization, *lines, "")
    ).encode("latin-1")


def create(*lines, **options):
    """Make the head of a create."""
    return head("POST", "/v1/responses", "Content-Type: application/json", *lines, **options)


async def exchange_bytes(gw, raw):
    """Send exact bytes on a connection of its own and read one answer."""
    async with gw.connect() as client:
        await client.send(raw)
        answer = await client.answer()
        await answer.read()
        return answer


def chunked(*pieces):
    """Frame pieces as the chunks of a body, without its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def check_refusal(answer, status, code=None):
    """Check that an answer, read to its end, is an error in OpenAI's shape that can be traced."""
    assert (answer.status, answer.end) == (status, "complete"), answer.body
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("x-gateway-request-id").startswith("gw_")
    assert answer.header("x-request-id") == answer.header("x-gateway-request-id")
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert code is None or error["code"] == code
    return error


def uploading(gw):
    """Return the body of the one request the gateway is serving."""
    (exchange,) = gw.app._handlers.active
    return exchange._admission.upload


async def finish(client, rest):
    """Send the rest of a request and read its answer."""
    await client.send(rest)
    answer = await client.answer()
    await answer.read()
    return answer
