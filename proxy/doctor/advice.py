"""What to change: for each symptom the setting of the gateway or of what stands in front of it; pure."""

from collections.abc import Mapping

NGINX, HAPROXY, ENVOY, ALB, GCP = "nginx", "HAProxy", "Envoy", "AWS ALB", "Google Cloud"
GATEWAY, ANY = "gateway", "any"
"""The gateway's own configuration, and what holds whatever is in front."""

HOPS = (NGINX, HAPROXY, ENVOY, ALB, GCP)

_SERVERS = {
    "nginx": NGINX,
    "openresty": NGINX,
    "envoy": ENVOY,
    "istio-envoy": ENVOY,
    "awselb": ALB,
    "google frontend": GCP,
    "gws": GCP,
}
"""What the header `Server` begins with, and whose it is. HAProxy does not say who it is."""

ADVICE: Mapping[str, Mapping[str, str]] = {
    "buffered": {
        NGINX: "proxy_buffering off; proxy_http_version 1.1; no proxy_ignore_headers X-Accel-Buffering",
        HAPROXY: "option http-no-delay",
        ENVOY: "take the buffer filter out of this route",
        ANY: "a content delivery network or a scanner in front must not hold text/event-stream back",
    },
    "head_late": {
        NGINX: "proxy_buffering off; proxy_http_version 1.1",
        HAPROXY: "option http-no-delay",
    },
    "corked": {
        HAPROXY: "option http-no-delay (without it the kernel waits 200 ms for more)",
        ANY: "or whatever else writes to its sockets with TCP_CORK, or without TCP_NODELAY",
    },
    "cut_when_silent": {
        NGINX: "proxy_read_timeout 3600s (60 s by default)",
        HAPROXY: "timeout server 1h, timeout client 1h",
        ENVOY: "the route's timeout: 0s (15 s by default), its idle_timeout and stream_idle_timeout 3600s",
        ALB: "idle_timeout.timeout_seconds 4000 (60 by default)",
        GCP: "the backend service's timeoutSec 3600 (30 by default, for the whole answer)",
        GATEWAY: "providers.*.timeouts.keep_alive_comment below what cuts",
    },
    "cut_while_alive": {
        ENVOY: "the route's timeout: 0s (15 s by default)",
        GCP: "the backend service's timeoutSec 3600 (30 by default, for the whole answer)",
        ANY: "what limits the whole of an answer, not its silence",
    },
    "ended_by_gateway": {GATEWAY: "providers.*.timeouts.idle"},
    "unbroken_silence": {GATEWAY: "providers.*.timeouts.keep_alive_comment (15 s by default)"},
    "body_refused": {
        NGINX: "client_max_body_size 256m (1m by default)",
        HAPROXY: "no http-request deny by req.body_size",
        ENVOY: "max_request_bytes of the buffer filter, or no such filter",
        ALB: "a web application firewall in front of it: its body size limit",
        GCP: "Cloud Armor's body size rule",
    },
    "body_refused_by_gateway": {GATEWAY: "limits.max_body_bytes, limits.max_translated_body_bytes"},
    "upload_held": {
        NGINX: "proxy_request_buffering off; proxy_http_version 1.1",
        HAPROXY: "no option http-buffer-request",
        ENVOY: "take the buffer filter out of this route",
    },
    "abort_unnoticed": {
        NGINX: "proxy_ignore_client_abort off (its default)",
        HAPROXY: "option abortonclose",
        ANY: "a hop that reads an answer to its end for a client that has left",
    },
    "sent_again": {
        NGINX: "proxy_next_upstream off, or error timeout without non_idempotent",
        HAPROXY: "retry-on conn-failure",
        ENVOY: "retry_on: connect-failure,refused-stream",
    },
    "error_replaced": {
        NGINX: "proxy_intercept_errors off (its default): clients need the error as it is",
        HAPROXY: "no http-error or errorfile for what the gateway answers",
        ENVOY: "no local_reply_config for what the gateway answers",
    },
    "authorization_lost": {
        NGINX: "no proxy_set_header Authorization, no auth_basic on this location",
        HAPROXY: "no http-request del-header Authorization",
        ENVOY: "authorization out of request_headers_to_remove; forward: true where jwt_authn reads it",
        ALB: "no authenticate-oidc or authenticate-cognito action on this rule",
        ANY: "or let clients send the key as api-key",
    },
    "key_put_in": {
        NGINX: "no proxy_set_header Authorization with a key of its own",
        HAPROXY: "no http-request set-header Authorization",
        ENVOY: "authorization out of request_headers_to_add",
    },
    "refused_in_front": {ANY: "let requests to this path pass without a check of its own: the gateway makes it"},
    "provider_header_lost": {
        NGINX: "no proxy_set_header x-tfy-provider-name",
        HAPROXY: "no http-request del-header x-tfy-provider-name",
        ENVOY: "x-tfy-provider-name out of request_headers_to_remove",
    },
    "answer_header_lost": {
        NGINX: "no proxy_hide_header for x-gateway-* and x-request-id",
        HAPROXY: "no http-response del-header for x-gateway-* and x-request-id",
        ENVOY: "x-gateway-* and x-request-id out of response_headers_to_remove",
    },
    "type_changed": {ANY: "leave the Content-Type text/event-stream as it is"},
    "compressed": {
        NGINX: "gzip off, or text/event-stream out of gzip_types",
        HAPROXY: "text/event-stream out of compression type",
        ENVOY: "text/event-stream out of the compressor's content_type",
    },
    "old_version": {ANY: "let the listener speak HTTP/1.1"},
    "not_kept_alive": {
        NGINX: "keepalive_timeout 75s (0 closes behind every answer)",
        HAPROXY: "no option httpclose, no option forceclose; timeout http-keep-alive",
        ENVOY: "no Connection: close in response_headers_to_add",
    },
    "certificate": {ANY: "renew the certificate where TLS ends"},
    "certificate_refused": {
        ANY: "where TLS ends: a certificate in force, for this name, with its chain; of your own authority: --ca-file",
    },
    "no_tls": {ANY: "http://, or the port at which TLS ends"},
    "clear_text": {ANY: "https: the key and the prompts cross the network in the clear"},
    "clock": {ANY: "run chrony or another NTP client where the clock is wrong: there or here"},
    "store_not_shared": {
        GATEWAY: "redis.url: the same for every gateway; left out, each host has a store of its own",
    },
    "store_away": {GATEWAY: "the Redis of redis.url: it does not answer, or takes no writes"},
    "no_provider": {
        GATEWAY: "providers: {sandbox: {kind: sandbox}}; or name one that is there with --provider and --model",
    },
    "wrong_key": {GATEWAY: "keys: the one given here is none of them, or something in front replaces it"},
    "unreachable": {ANY: "the address, the firewall, the listener, the certificate"},
    "no_gateway": {
        ANY: "--url is what clients use as base_url, /v1 included; in front, the path's route to the gateway",
    },
}
"""Symptom → whose setting → the line."""


def identify(headers: Mapping[str, str]) -> str:
    """Tell from an answer's headers what is in front; empty where it does not say."""
    server = headers.get("Server", "").lower()
    for beginning, hop in _SERVERS.items():
        if server.startswith(beginning):
            return hop
    if headers.get("Via", "").lower().endswith(" google"):
        return GCP
    return ENVOY if "x-envoy-upstream-service-time" in headers else ""


def advise(symptom: str, hop: str) -> tuple[str, ...]:
    """Return the lines for a symptom: of the hop in front where it is known and has one, else of every hop."""
    lines = ADVICE[symptom]
    if hop in lines:
        lines = {name: line for name, line in lines.items() if name in {hop, GATEWAY}}
    return tuple(line if name == ANY else f"{name}: {line}" for name, line in lines.items())
