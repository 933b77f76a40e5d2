"""The second dashboard: what one provider does, and each of its models."""

from grafana import panels
from grafana.panels import RED, Json, Panel, Query, choice, graph, row
from grafana.promql import (
    CUT_ENDS,
    DURATION,
    FIRST_CHUNK,
    MODEL,
    OUTPUT_CHUNK,
    PROVIDER,
    REQUESTS,
    STREAM_ENDS,
    TOKENS,
    failing,
    quantile,
    rate,
    ratio,
    series,
    total,
)

OF_MODEL = (PROVIDER, MODEL)
COUNTED = (PROVIDER, 'model=~"$model"')
"""The gateway's own counter of tokens calls the model by a shorter name."""
USAGE = "gen_ai_client_token_usage"
PAIR = "provider, gen_ai_request_model"
PAIRED = "{{provider}}/{{gen_ai_request_model}}"
SHARES = (0.5, 0.95, 0.99)

RATE = (
    graph(
        "Requests, by model",
        "Which models are asked, and how often?",
        Query(rate(f"{DURATION}_count", *OF_MODEL, by=PAIR), PAIRED),
        unit="reqps",
        stacked=True,
    ),
    graph(
        "Requests, by operation",
        "What is asked: new responses, or calls on those there are?",
        Query(rate(REQUESTS, PROVIDER, by="operation"), "{{operation}}"),
        unit="reqps",
        stacked=True,
    ),
    graph(
        "In flight",
        "How much does each provider have to do just now?",
        Query(total("responses_proxy_inflight_requests", PROVIDER, by="provider"), "{{provider}}"),
        unit="short",
    ),
)

ERRORS = (
    graph(
        "Failing",
        "What share of requests fails by the provider's fault: 5xx, 429, streams that broke?",
        Query(failing(PROVIDER, by="provider"), "{{provider}}"),
        unit="percentunit",
        limits={RED: 0.05},
    ),
    graph(
        "Errors by status",
        "Does it refuse (4xx), limit (429), or fail (5xx)?",
        Query(rate(REQUESTS, PROVIDER, 'code=~"[45].."', by="provider, code"), "{{provider}}, {{code}}"),
        unit="reqps",
        stacked=True,
    ),
    graph(
        "Errors by class",
        "What goes wrong, in the words of the provider or of the gateway?",
        Query(
            rate(f"{DURATION}_count", *OF_MODEL, 'error_type!=""', by="provider, error_type"),
            "{{provider}}, {{error_type}}",
        ),
        unit="reqps",
        stacked=True,
    ),
)


def latency(of: str, histogram: str, shares: str, slowest: str, *matchers: str) -> tuple[Panel, Panel]:
    """Show a histogram twice: its quantiles over all that is chosen, and who is slow."""
    matchers = (*OF_MODEL, *matchers)
    spread = [Query(quantile(share, histogram, *matchers), f"p{share * 100:g}") for share in SHARES]
    apart = Query(quantile(0.95, histogram, *matchers, by=PAIR), PAIRED)
    return (
        graph(of, shares, *spread, unit="s"),
        graph(f"{of}, p95 by model", slowest, apart, unit="s", width=16),
    )


LATENCY = (
    *latency(
        "First chunk",
        FIRST_CHUNK,
        "How long do callers wait for a stream to begin?",
        "Which model keeps its callers waiting?",
    ),
    *latency(
        "Between two chunks",
        OUTPUT_CHUNK,
        "How steadily does a stream flow? Of each stream, the mean counts.",
        "Which model's streams crawl?",
    ),
    *latency(
        "Duration",
        DURATION,
        "How long does a whole answer take, of those without an error?",
        "Which model takes long?",
        'error_type=""',
    ),
)

USE = (
    graph(
        "Tokens per second",
        "What do the answers cost, in tokens?",
        *panels.token_areas(*COUNTED),
        unit="short",
        stacked=True,
    ),
    graph(
        "Output tokens per second, by model",
        "Which models do the talking?",
        Query(rate(TOKENS, 'type="output"', *COUNTED, by="provider, model"), "{{provider}}/{{model}}"),
        unit="short",
        stacked=True,
    ),
    graph(
        "Tokens per response",
        "How large are prompts and answers?",
        *(
            Query(quantile(share, USAGE, f'gen_ai_token_type="{kind}"', *OF_MODEL), f"{kind}, p{share * 100:g}")
            for kind in ("input", "output")
            for share in (0.5, 0.95)
        ),
        unit="short",
    ),
)

STREAM = (
    graph(
        "Stream ends",
        "How do streams end?",
        Query(rate(STREAM_ENDS, PROVIDER, by="end"), "{{end}}"),
        unit="ops",
        stacked=True,
    ),
    graph(
        "Streams cut",
        "What share of the streams breaks off, or falls silent, without a terminal event?",
        Query(
            ratio(rate(STREAM_ENDS, PROVIDER, CUT_ENDS, by="provider"), rate(STREAM_ENDS, PROVIDER, by="provider")),
            "{{provider}}",
        ),
        unit="percentunit",
        limits={RED: 0.05},
    ),
    graph(
        "Streams left by their callers",
        "Do callers give up before the end?",
        Query(
            ratio(
                rate(STREAM_ENDS, PROVIDER, 'end="client_gone"', by="provider"),
                rate(STREAM_ENDS, PROVIDER, by="provider"),
            ),
            "{{provider}}",
        ),
        unit="percentunit",
    ),
)

CONNECTING = "responses_proxy_upstream_connect_seconds"
WAY = (
    graph(
        "New connections",
        "How long does it take to connect: name, TCP, TLS?",
        Query(quantile(0.95, CONNECTING, PROVIDER, by="provider"), "{{provider}}, p95"),
        unit="s",
    ),
    graph(
        "Connections made and missed",
        "Can the provider be reached at all?",
        Query(rate(f"{CONNECTING}_count", PROVIDER, by="provider"), "{{provider}}, made"),
        Query(rate("responses_proxy_upstream_connect_failures_total", PROVIDER, by="provider"), "{{provider}}, failed"),
        unit="ops",
    ),
    graph(
        "Sent again",
        "How often was a pooled connection stale, so that the request went out once more?",
        Query(rate("responses_proxy_upstream_retries_total", PROVIDER, by="provider"), "{{provider}}"),
        unit="ops",
    ),
)

VARIABLES = (
    choice("provider", "Provider", f"label_values({series('responses_proxy_upstream_connections')}, provider)"),
    choice(
        "model",
        "Model",
        f"label_values({series(f'{DURATION}_count', PROVIDER)}, gen_ai_request_model)",
        everything=".*",
    ),
)


def build() -> Json:
    """Make the dashboard."""
    return panels.dashboard(
        panels.PROVIDERS,
        "Responses proxy / Providers",
        "What does each provider, and each of its models, do for its callers?",
        variables=[panels.data_source(), *panels.INSTANCES, *VARIABLES],
        links=[panels.neighbour("Overview", panels.OVERVIEW), panels.neighbour("Runtime", panels.RUNTIME)],
        panels=[
            row("How much is asked of it?"),
            *RATE,
            row("What goes wrong?"),
            *ERRORS,
            row("How fast is it?"),
            *LATENCY,
            row("What does it cost?"),
            *USE,
            row("How do streams end?"),
            *STREAM,
            row("Is the way to it good?"),
            *WAY,
        ],
    )
