"""The built-in provider: needs no key and no network; the gateway starts it where no base URL is given."""

from proxy.providers.base import Kind

KIND = Kind(
    name="sandbox",
    otel_name="sandbox",
    title="Built-in sandbox",
    base_url="http://127.0.0.1",
    environment={},
    required=(),
    settings=frozenset({"events_per_second"}),
)
