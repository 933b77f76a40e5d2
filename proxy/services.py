"""What every exchange works with, and what a request asks for."""

from dataclasses import dataclass

from proxy.archive import Archive
from proxy.auth import Keys
from proxy.bindings import Bindings
from proxy.config import Config
from proxy.fetching import Fetcher
from proxy.logs import Log
from proxy.metrics import Metrics
from proxy.ownership import Ownership
from proxy.routing import Router
from proxy.upstream import Upstream

READS_ENVELOPE = frozenset({"create", "compact", "input_tokens"})
"""Operations whose body names a model and may continue a response or a conversation."""


@dataclass(frozen=True, slots=True)
class Services:
    """One worker's collaborators."""

    config: Config
    keys: Keys
    router: Router
    ownership: Ownership
    bindings: Bindings
    archive: Archive
    fetcher: Fetcher
    upstreams: dict[str, Upstream]
    metrics: Metrics
    log: Log


@dataclass(frozen=True, slots=True)
class Call:
    """The operation, the target below a provider's base URL (path and query as sent), and the id it is about.

    `forgets` tells that success ends the id's life.
    """

    operation: str
    target: str
    id: str | None = None
    conversation: bool = False
    forgets: bool = False

    @property
    def reads_envelope(self) -> bool:
        """Whether the body decides where the request goes and what it continues."""
        return self.operation in READS_ENVELOPE
