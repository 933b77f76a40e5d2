"""What differs between the places that speak the format: Anthropic itself, and the clouds that serve its models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

SEARCHES: Final = frozenset(
    {"web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"}
)
CODE: Final = "code_interpreter"

WITHOUT_SAMPLING: Final = "2026-10-21"
"""The version of the API since which temperature and top_p are refused, for any model and value."""


Path = Callable[[str, bool], str]
"""Returns the path for a model, and whether it is to stream."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What of the format a provider has, and where.

    `fixed` is part of every body, `headers` of every request. `max_tokens` are the output tokens asked for where
    a request does not say, by the beginning of the model's name, instead of the most the model has.
    """

    path: Path = lambda _model, _stream: "/v1/messages"
    count_path: str | None = "/v1/messages/count_tokens"
    names_model: bool = True
    says_stream: bool = True
    fixed: tuple[tuple[str, Any], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    beta: tuple[str, ...] = ()
    beta_in_body: bool = False
    max_tokens: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    hosted: frozenset[str] = frozenset()
    """Types of hosted tools that it runs."""
    samples: bool = True
    """Whether its version of the API has temperature and top_p at all."""
    urls: bool = True
    """Whether it fetches images and documents itself."""
    file_ids: bool = False
    """Whether it keeps files that a request can name."""
    system_turns: bool = False
    service_tiers: bool = False
    unbinds: bool = False
    """Whether it can be told to leave out thoughts that do not fit the dialogue any more."""


def anthropic_profile(
    version: str, beta: tuple[str, ...] = (), max_tokens: Mapping[str, int] = MappingProxyType({})
) -> Profile:
    """Return the profile of Anthropic's own API in a version, which is sent by whoever sends the request."""
    return Profile(
        beta=beta,
        max_tokens=max_tokens,
        hosted=SEARCHES | {CODE},
        samples=version < WITHOUT_SAMPLING,
        file_ids=True,
        system_turns=True,
        service_tiers=True,
        unbinds=True,
    )


def vertex_profile(
    project: str, location: str, beta: tuple[str, ...] = (), max_tokens: Mapping[str, int] = MappingProxyType({})
) -> Profile:
    """Return the profile of Claude on Vertex AI, below `https://{location}-aiplatform.googleapis.com`."""
    models = f"/v1/projects/{quote(project, safe='')}/locations/{quote(location, safe='')}/publishers/anthropic/models"

    return Profile(
        path=lambda model, stream: (
            f"{models}/{quote(model.rpartition('/')[2], safe='@')}:{'streamRawPredict' if stream else 'rawPredict'}"
        ),
        count_path=f"{models}/count-tokens:rawPredict",
        names_model=False,
        fixed=(("anthropic_version", "vertex-2023-10-16"),),
        beta=beta,
        max_tokens=max_tokens,
        hosted=SEARCHES,
        urls=False,
    )


def bedrock_profile(beta: tuple[str, ...] = (), max_tokens: Mapping[str, int] = MappingProxyType({})) -> Profile:
    """Return the profile of Claude on Bedrock's `invoke`, whose streams are framed in binary: the payloads are ours."""
    return Profile(
        path=lambda model, stream: f"/model/{quote(model, safe='')}/invoke{'-with-response-stream' if stream else ''}",
        count_path=None,
        names_model=False,
        says_stream=False,
        fixed=(("anthropic_version", "bedrock-2023-05-31"),),
        beta=beta,
        beta_in_body=True,
        max_tokens=max_tokens,
        urls=False,
    )
