"""The built-in provider: a whole Responses API server that needs no key and no network."""

from proxy.sandbox.server import application, serve

__all__ = ["application", "serve"]
