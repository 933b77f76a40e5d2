import asyncio
import re
import ssl

import aiohttp.connector
import pytest

from proxy.config import Config
from proxy.probe import FAIL, OK, WARN, probe_providers
from tests.rig import scripts
from tests.rig.certificates import Authority
from tests.rig.settings import UPSTREAM_KEY, provider, settings
from tests.rig.upstream import blackhole

GOOD = {"data": [{"id": "m", "object": "model"}]}


async def probe(patience=5.0, **providers):
    """Probe providers and return what was found of each; nothing found holds a credential."""
    found = await probe_providers(Config.model_validate(settings(providers=providers)), patience=patience)
    assert [finding.subject for finding in found] == list(providers)
    assert "canary" not in str(found)
    assert UPSTREAM_KEY not in str(found)
    results = [(finding.result, finding.detail) for finding in found]
    return results[0] if len(results) == 1 else results


def guarded(*headers):
    """Answer the list of models to requests that have one of these headers, 401 to others."""
    good, bad = scripts.json_answer(GOOD), scripts.json_answer({"error": {"message": "no key"}}, 401)

    async def script(exchange):
        await (good if any(exchange.header(name) == value for name, value in headers) else bad)(exchange)

    return script


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def tls(authority):
    """Give the port of a TLS server of 127.0.0.1 that lists models."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\n" + b'{"data":[]}')
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.vouch_for("127.0.0.1")) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def silent():
    """Give the port of a server that takes connections and says nothing."""

    async def wait(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


# What is good


async def test_provider_that_takes_the_credential_is_ok(upstream):
    """Nothing but the list of models is asked for, which is free."""
    upstream.on("GET", "/v1/models", guarded(("authorization", f"Bearer {UPSTREAM_KEY}")))
    result, detail = await probe(main=provider(upstream))
    assert result == OK
    assert re.fullmatch(r"\d+ ms, connected in \d+ ms", detail)
    assert {(exchange.method, exchange.path) for exchange in upstream.requests} == {("GET", "/v1/models")}


async def test_each_kind_is_asked_its_own_way(upstream):
    upstream.on("GET", "/v1/models", guarded(("x-api-key", UPSTREAM_KEY)))
    upstream.on("GET", "/v1beta/models", guarded(("x-goog-api-key", UPSTREAM_KEY)))
    found = await probe(claude=provider(upstream.url, kind="anthropic"), gemini=provider(upstream.url, kind="gemini"))
    assert [result for result, _ in found] == [OK, OK]


async def test_kind_whose_list_is_open_to_anyone_is_asked_for_proof(upstream):
    upstream.on("GET", "/v1/key", guarded(("authorization", f"Bearer {UPSTREAM_KEY}")))
    result, detail = await probe(router=provider(upstream, kind="openrouter"))
    assert (result, "proved" in detail) == (OK, False)
    result, detail = await probe(router=provider(upstream, kind="openrouter", api_key="another-key-0123456789"))
    assert (result, detail.partition(";")[0]) == (FAIL, "credential refused (401)")


async def test_list_that_anyone_may_read_proves_no_credential(upstream):
    upstream.on("GET", "/v1/models", scripts.json_answer(GOOD))
    assert (await probe(main=provider(upstream)))[1].endswith(
        "it lists its models to anyone, so the credential is not proved"
    )


async def test_provider_without_a_credential_has_none_to_prove(upstream):
    upstream.on("GET", "/v1/models", scripts.json_answer(GOOD))
    result, detail = await probe(local={"kind": "openai-compatible", "base_url": f"{upstream.url}/v1"})
    assert (result, "proved" in detail, len(upstream.requests)) == (OK, False, 1)


async def test_provider_without_a_list_is_only_connected_to(upstream):
    result, detail = await probe(aws=provider(upstream.url, kind="bedrock", region="eu-central-1"))
    assert (result, upstream.connections, upstream.requests) == (OK, 1, [])
    assert detail.endswith("; nothing to ask that is free")


async def test_built_in_provider_is_not_asked():
    assert await probe(sandbox={"kind": "sandbox"}) == (OK, "built in")


# What is not


@pytest.mark.parametrize(
    ("status", "body", "result", "words"),
    [
        (401, {"error": {"message": f"Incorrect API key: {UPSTREAM_KEY}"}}, FAIL, "credential refused (401); "),
        (400, {"error": {"message": "API key not valid.", "status": "X"}}, FAIL, "credential refused (400); "),
        (400, {"error": {"message": "bad"}}, FAIL, "it answers with status 400: look at base_url; "),
        (403, {}, WARN, "the credential may not list models (403); "),
        (429, {}, WARN, "rate limited or out of quota (429); "),
        (302, {}, FAIL, "it answers with status 302: look at base_url; "),
        (503, {}, FAIL, "it answers with status 503; "),
    ],
)
async def test_answer_tells_what_is_wrong(status, body, result, words, upstream):
    upstream.on("GET", "/v1/models", scripts.json_answer(body, status))
    found = await probe(main=provider(upstream))
    assert found[0] == result
    assert found[1].startswith(words)


async def test_server_that_lists_no_models_is_there_all_the_same(upstream):
    upstream.on("GET", "/v1/models", scripts.empty_answer(404))
    result, detail = await probe(main=provider(upstream))
    assert result == OK
    assert detail.endswith("; it lists no models (404), so the credential is not proved")


async def test_unreachable_providers_are_told_apart(upstream, tls):
    await upstream.refuse()
    found = await probe(
        name=provider("https://no-such-host.invalid/v1"),
        refused=provider(upstream),
        untrusted=provider(f"https://127.0.0.1:{tls}/v1"),
    )
    assert found == [
        (FAIL, "unreachable: its name cannot be resolved"),
        (FAIL, "unreachable: connection refused"),
        (FAIL, "unreachable: TLS: its certificate is not trusted (unable to get local issuer certificate)"),
    ]


async def test_provider_over_tls_is_asked_where_its_certificate_is_trusted(tls, authority, monkeypatch):
    trusting = ssl.create_default_context(cafile=authority.ca_file)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
    assert (await probe(main=provider(f"https://127.0.0.1:{tls}/v1")))[0] == OK


async def test_server_that_speaks_no_tls_is_told():
    async def refuse(_reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await probe(main=provider(f"https://127.0.0.1:{port}/v1"))
    assert found == (FAIL, "unreachable: TLS: wrong version number")


async def test_provider_that_breaks_off_is_told(upstream):
    upstream.on("GET", "/v1/models", scripts.raw_answer(b"nonsense\r\n\r\n", close=True))
    assert await probe(main=provider(upstream)) == (FAIL, "The provider's answer is not valid HTTP.")


async def test_credential_that_cannot_be_obtained_is_told(upstream, tmp_path):
    keyless = {name: value for name, value in provider(upstream).items() if name != "api_key"}
    result, detail = await probe(main={**keyless, "token_file": str(tmp_path / "absent")})
    assert (result, detail) == (FAIL, "no credential: The provider's credentials cannot be read.")


async def test_providers_are_probed_at_once(upstream, second_upstream):
    """Each of them answers once the other was asked."""
    both = asyncio.Barrier(2)

    async def meet(exchange):
        async with both:
            await scripts.json_answer({}, 429)(exchange)

    for each in (upstream, second_upstream):
        each.on("GET", "/v1/models", meet)
    found = await probe(main=provider(upstream), second=provider(second_upstream))
    assert [result for result, _ in found] == [WARN, WARN]


async def test_probes_are_bounded(upstream, silent):
    """Each of these would wait for ever; the bound is the clause."""
    upstream.on("GET", "/v1/models", scripts.json_answer(GOOD))
    timeouts = {"connect": 0.2}
    with blackhole() as hole:
        async with asyncio.timeout(5):
            found = await probe(
                patience=0.5,
                hole=provider(f"{hole}/v1", timeouts=timeouts),
                silent=provider(f"http://127.0.0.1:{silent}/v1"),
                main=provider(upstream),
            )
    assert found[0] == (FAIL, "unreachable: no connection within 0.2 s")
    assert found[1] == (FAIL, "no answer within 0.5 s")
    assert found[2][0] == OK
