"""Every way Google Cloud's credentials are found, each to a token of an endpoint of the test's own."""

from urllib.parse import parse_qs

import jwt
import orjson
import pytest

from proxy.credentials.google import read_credentials
from proxy.errors import InternalError
from tests.rig import identity, scripts
from tests.rig.identity import Issuer

STS = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
}


async def test_service_account_asks_for_the_scope_of_the_cloud_and_names_no_project(google, upstream):
    assert await google.headers() == {"authorization": "Bearer token-1"}
    (assertion,) = parse_qs(upstream.requests[0].received.decode())["assertion"]
    claims = jwt.decode(assertion, options={"verify_signature": False})
    assert claims["iss"] == "gateway@project-1.iam.gserviceaccount.com"
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"


async def test_default_credentials_are_found_in_the_environment(google, opened, upstream, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    assert await opened("google", google.issuer).token() == "token-1"
    assert upstream.requests[0].path == "/token"


async def test_metadata_server_gives_the_token_of_the_machine(opened, upstream, monkeypatch):
    place = "/computeMetadata/v1/instance/service-accounts/default"
    flavour = [("Metadata-Flavor", "Google")]
    account = {"email": "machine@project-1.iam", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
    upstream.on("GET", "/", scripts.answer(b"", headers=flavour))
    upstream.on(
        "GET", "/computeMetadata/v1/project/project-id", scripts.answer(b"project-1", content_type="text/plain")
    )
    upstream.on("GET", f"{place}/", scripts.json_answer(account))
    upstream.on("GET", f"{place}/token", Issuer(identity.oauth, b""))
    monkeypatch.delenv("NO_GCE_CHECK")
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{upstream.port}")
    monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{upstream.port}")
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", f"127.0.0.1:{upstream.port}")
    assert await opened("google").token() == "token-1"


async def test_federated_identity_exchanges_the_token_of_its_file(opened, upstream, tmp_path):
    subject = tmp_path / "subject"
    subject.write_text("token-of-the-cluster")
    upstream.on("POST", "/exchange", Issuer(identity.federated, b""))
    source = {"token_url": f"{upstream.url}/exchange", "credential_source": {"file": str(subject)}}
    file = tmp_path / "federated.json"
    file.write_bytes(orjson.dumps(STS | source))
    assert await opened("google", credentials_file=str(file)).token() == "token-1"
    assert parse_qs(upstream.requests[0].received.decode())["subject_token"] == ["token-of-the-cluster"]


async def test_project_that_pays_is_named(opened, google, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "payer-1")
    again = opened("google", google.issuer, credentials_file=str(tmp_path / "account.json"))
    assert await again.headers() == {"authorization": "Bearer token-1", "x-goog-user-project": "payer-1"}


@pytest.mark.parametrize(
    ("content", "report"),
    [
        (None, "FileNotFoundError"),
        (b"canary", "JSONDecodeError"),
        (b"{}", "KeyError"),
        (b'{"type": "canary"}', "KeyError"),
        (b'{"type": "service_account", "private_key": "canary"}', "MalformedError"),
    ],
)
async def test_file_that_holds_no_credentials_is_reported_without_its_content(opened, tmp_path, content, report):
    file = tmp_path / "account.json"
    if content is not None:
        file.write_bytes(content)
    tested = opened("google", credentials_file=str(file))
    with pytest.raises(InternalError):
        await tested.token()
    assert tested.reports == [report]


@pytest.mark.parametrize(
    ("fields", "module"),
    [
        ({"credential_source": {"url": "http://127.0.0.1/subject"}}, "google.auth.identity_pool"),
        ({"credential_source": {"executable": {"command": "/bin/true"}}}, "google.auth.pluggable"),
        (
            {
                "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
                "credential_source": {"environment_id": "aws1", "regional_cred_verification_url": "https://sts"},
            },
            "google.auth.aws",
        ),
        (
            {"type": "authorized_user", "refresh_token": "r", "client_id": "c", "client_secret": "s"},
            "google.oauth2.credentials",
        ),
    ],
)
def test_file_of_each_type_is_read_by_its_own_reader(tmp_path, fields, module):
    file = tmp_path / "credentials.json"
    file.write_bytes(orjson.dumps(STS | {"token_url": "https://sts.googleapis.com/v1/token"} | fields))
    assert type(read_credentials(str(file))).__module__ == module
