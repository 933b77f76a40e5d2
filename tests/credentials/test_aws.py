"""Signatures as botocore itself makes them, and every way AWS credentials are found."""

from urllib.parse import parse_qs

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse

from proxy.errors import InternalError
from tests.rig import identity
from tests.rig.eventually import eventually
from tests.rig.identity import Issuer

REGION = "eu-central-1"
KEYS = ("AKIDOWN", "secret-of-our-own", "token-of-our-own")
MODELS = [
    "amazon.nova-lite-v1:0",
    "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "a b/c%2F~é",
]
MESSAGES = [{"role": "user", "content": [{"text": "hello é"}]}]


@pytest.fixture
def own_keys(monkeypatch):
    """Put keys into the environment."""
    for name, value in zip(("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"), KEYS, strict=True):
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.fixture
def frozen(monkeypatch):
    """Stop the clock that signatures are dated by."""
    moment = identity.datetime(2026, 1, 2, 3, 4, 5, tzinfo=identity.UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: moment)


def prepared(operation, model):
    """Return the request botocore's own client would send."""
    session = botocore.session.Session()
    client = session.create_client("bedrock-runtime", REGION, *[None] * 4, *KEYS)
    requests = []

    def keep(request, **_):
        requests.append(request)
        return AWSResponse(request.url, 400, {}, Raw())

    client.meta.events.register("before-send", keep)
    with pytest.raises(client.exceptions.ClientError):
        getattr(client, operation)(modelId=model, messages=MESSAGES)
    client.close()
    return requests[0]


class Raw:
    """An empty body."""

    def stream(self):
        return iter([b"{}"])


@pytest.mark.usefixtures("own_keys", "frozen")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("operation", ["converse", "converse_stream"])
async def test_signature_is_botocores_own_for_the_same_request(opened, operation, model):
    request = prepared(operation, model)
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    theirs = {name: headers.pop(name) for name in ("authorization", "x-amz-date", "x-amz-security-token")}
    tested = opened("aws", region=REGION)
    ours = await tested.credentials.headers(request.method, request.url, list(headers.items()), request.body)
    assert {name.lower(): value for name, value in ours} == theirs


@pytest.mark.usefixtures("own_keys", "frozen")
@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_signature_covers_the_body_whatever_its_size(opened, size):
    tested = opened("aws", region=REGION)
    url = f"https://bedrock-runtime.{REGION}.amazonaws.com/model/m/converse"
    bodies = (b"a" * size, b"a" * size, b"a" * (size - 1) + b"b")
    first, same, other = [await tested.credentials.headers("POST", url, [], body) for body in bodies]
    assert first == same != other


@pytest.mark.usefixtures("own_keys", "frozen")
async def test_headers_that_others_rewrite_are_not_signed(opened):
    tested = opened("aws", region=REGION)
    url = f"https://bedrock-runtime.{REGION}.amazonaws.com/model/m/converse"
    headers = [
        ("Host", f"bedrock-runtime.{REGION}.amazonaws.com"),
        ("Content-Type", "application/json"),
        ("X-Amzn-Bedrock-GuardrailIdentifier", "g"),
        ("Accept-Encoding", "identity"),
        ("Connection", "keep-alive"),
        ("Content-Length", "2"),
        ("Date", "now"),
        ("x-title", "é"),
        ("Authorization", "Bearer canary"),
    ]
    added = dict(await tested.credentials.headers("POST", url, headers, b"{}"))
    assert list(added) == ["X-Amz-Date", "X-Amz-Security-Token", "Authorization"]
    assert (
        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amzn-bedrock-guardrailidentifier,"
        in added["Authorization"]
    )


@pytest.mark.usefixtures("own_keys")
async def test_keys_without_a_session_add_no_token(opened, monkeypatch):
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    added = await opened("aws", region=REGION).headers()
    assert added.keys() == {"x-amz-date", "authorization"}


# Where credentials come from


async def test_profile_is_read_from_the_files_of_the_aws_tools(opened, tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id=AKIDDEFAULT\naws_secret_access_key=s\n"
        "[team]\naws_access_key_id=AKIDTEAM\naws_secret_access_key=s\naws_session_token=t\n"
    )
    for profile, key in ((None, "AKIDDEFAULT"), ("team", "AKIDTEAM")):
        added = await opened("aws", region=REGION, profile=profile).headers()
        assert f"Credential={key}/" in added["authorization"]


async def test_container_gives_credentials_and_new_ones_ahead_of_their_end(opened, upstream, monkeypatch):
    issuer = Issuer(identity.container, b"", lifetime=240)
    upstream.on("GET", "/credentials", issuer)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{upstream.url}/credentials")
    tested = opened("aws", region=REGION)
    first = await tested.token()
    tested.clock.ahead = 150
    assert await tested.token() == first
    await eventually(lambda: _changed(tested, first))


async def _changed(tested, token):
    return await tested.token() != token


async def test_role_is_assumed_by_the_keys_of_the_environment(aws, upstream):
    added = await aws.headers()
    assert "Credential=AKIDROLE/" in added["authorization"]
    assert added["x-amz-security-token"] == "token-1"
    (request,) = upstream.requests
    assert "Credential=AKIDOWN/" in request.header("Authorization")
    asked = parse_qs(request.received.decode())
    assert (asked["Action"], asked["RoleSessionName"]) == (["AssumeRole"], ["responses-proxy"])
    assert asked["RoleArn"] == ["arn:aws:iam::123456789012:role/gateway"]


@pytest.mark.parametrize(
    ("settings", "report"),
    [
        ({}, "NoCredentialsError"),
        ({"profile": "none"}, "ProfileNotFound"),
        ({"role_arn": "arn:x"}, "NoCredentialsError"),
    ],
)
async def test_chain_that_ends_in_nothing_is_reported(opened, settings, report):
    tested = opened("aws", region=REGION, **settings)
    with pytest.raises(InternalError):
        await tested.headers()
    assert tested.reports == [report]


async def test_role_that_is_denied_is_reported_by_its_code(aws):
    aws.issuer.refuses = True
    with pytest.raises(InternalError):
        await aws.headers()
    assert aws.reports == ["ClientError (AccessDenied)"]


def _text(value):
    return value.decode() if isinstance(value, bytes) else value
