"""The kind `bedrock`: when it is configured, where it leads, what it speaks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config import ProviderConfig
from proxy.configfile import ConfigError
from proxy.configload import default_config, parse_config
from proxy.providers import REGISTRY
from proxy.providers.bedrock import KIND

REGION = {"AWS_REGION": "eu-central-1"}


@pytest.mark.parametrize(
    ("variable", "found"),
    [
        ("AWS_ACCESS_KEY_ID", {}),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", {}),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", {}),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", {}),
        ("AWS_PROFILE", {"profile": "x"}),
        ("AWS_BEARER_TOKEN_BEDROCK", {"api_key": "x"}),
    ],
)
def test_kind_is_found_where_something_tells_of_credentials(variable, found):
    environment = {**REGION, variable: "x"}
    assert KIND.find(environment) == {"region": "eu-central-1", **found}
    assert KIND.find({variable: "x"}) is None
    assert "bedrock" in default_config(environment, REGISTRY).providers


@pytest.mark.parametrize("environment", [REGION, {**REGION, "AWS_ACCESS_KEY_ID": ""}, {**REGION, "HOME": "x"}])
def test_region_alone_is_no_provider(environment):
    assert KIND.find(environment) is None
    with pytest.raises(ConfigError, match="AWS_REGION with AWS_ACCESS_KEY_ID"):
        default_config(environment, REGISTRY)


def test_address_is_that_of_the_region():
    config = ProviderConfig(kind="bedrock", region="us-west-2")
    assert KIND.locate(config, KIND.base_url) == "https://bedrock-runtime.us-west-2.amazonaws.com"
    own = ProviderConfig(kind="bedrock", region="us-west-2", base_url="https://vpce.example")
    assert KIND.locate(own, KIND.base_url) == "https://vpce.example"


def test_region_is_needed_in_a_file_too():
    text = "providers: {aws: {kind: bedrock}}\nkeys: [{name: a, tenant: t, key: 0123456789abcdef}]"
    with pytest.raises(ConfigError) as raised:
        parse_config(text, environment={}, kinds=REGISTRY)
    assert "providers.aws.region: is missing: kind bedrock needs it" in str(raised.value)
    parse_config(text.replace("bedrock}", "bedrock, region: eu-central-1}"), environment={}, kinds=REGISTRY)


def test_dialect_is_that_of_the_model_and_made_once():
    choose = KIND.dialect(ProviderConfig(kind="bedrock", region="us-west-2"))
    nova, claude = choose("us.amazon.nova-2-lite-v1:0"), choose("us.anthropic.claude-sonnet-4-6")
    assert nova.name == claude.name == "bedrock_converse"
    assert (nova.hosted, claude.hosted) == ({"code_interpreter"}, frozenset())
    assert choose("eu.anthropic.claude-opus-4-6-v1") is claude


def test_gateway_without_the_extra_starts():
    """Nothing but a provider of this kind asks for botocore."""
    script = "import sys; sys.modules['botocore'] = None; import proxy.providers, proxy.app; print(len(sys.modules))"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ran = subprocess.run([sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, check=False)  # noqa: S603
    assert ran.returncode == 0, ran.stderr
