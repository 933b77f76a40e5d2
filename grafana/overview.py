"""The first dashboard: is it healthy, who is slow, what does it cost in tokens."""

from grafana import panels
from grafana.panels import RED, YELLOW, Json, Query, bars, figure, graph, row, table
from grafana.promql import (
    DURATION,
    FIRST_CHUNK,
    OUTPUT_CHUNK,
    OVERHEAD,
    REQUESTS,
    ROUTED,
    STREAM_ENDS,
    STREAMS,
    TOKENS,
    failing,
    increase,
    quantile,
    rate,
    ratio,
    total,
)

DEGRADED = 'state!="up"'
SPENT = 'type=~"input|output"'
"""The types that add up to all tokens; the others are parts of these."""

EVERY_MODEL = "var-model=$__all"
OF_PROVIDER = panels.drill(
    "${__field.labels.provider} in detail", panels.PROVIDERS, "var-provider=${__field.labels.provider}", EVERY_MODEL
)
OF_LINE = panels.drill(
    "${__value.text} in detail", panels.PROVIDERS, "var-provider=${__data.fields.provider}", EVERY_MODEL
)
OF_MODEL = panels.drill(
    "${__field.labels.model} in detail",
    panels.PROVIDERS,
    "var-provider=${__field.labels.provider}",
    "var-model=${__field.labels.model}",
)
TO_PROVIDERS = panels.drill("All providers", panels.PROVIDERS)
TO_RUNTIME = panels.drill("The processes", panels.RUNTIME)

NEWEST = (
    figure("Requests", "How much is asked of it?", rate(REQUESTS), unit="reqps", links=[TO_PROVIDERS]),
    figure(
        "Failing",
        "What share of requests fails by a provider's fault or the gateway's: 5xx, 429, streams that broke?",
        failing(),
        unit="percentunit",
        limits={YELLOW: 0.01, RED: 0.05},
        links=[TO_PROVIDERS],
    ),
    figure("Streams open", "How many answers are under way?", total(STREAMS), unit="short", links=[TO_RUNTIME]),
    figure(
        "First chunk, p95",
        "How long do callers wait for a stream to begin, all but the slowest twentieth?",
        quantile(0.95, FIRST_CHUNK),
        unit="s",
        limits={YELLOW: 10, RED: 30},
        links=[TO_PROVIDERS],
    ),
    figure(
        "Overhead, p99",
        "How much of a request's time is the gateway's own?",
        quantile(0.99, OVERHEAD),
        unit="s",
        limits={YELLOW: 0.025, RED: 0.1},
        links=[TO_RUNTIME],
    ),
    figure(
        "Redis",
        "Do all workers reach Redis, and may they write?",
        f"{total('responses_proxy_redis_state', DEGRADED)} > bool 0",
        unit="short",
        limits={RED: 1},
        words={0: "up", 1: "degraded"},
        links=[TO_RUNTIME],
    ),
)

HEALTH = (
    graph(
        "Answers by status",
        "What do callers get?",
        Query(rate(REQUESTS, by="code"), "{{code}}"),
        unit="reqps",
        stacked=True,
    ),
    graph(
        "Failing, by provider",
        "Whose requests fail?",
        Query(failing(ROUTED, by="provider"), "{{provider}}"),
        unit="percentunit",
        limits={RED: 0.05},
        links=[OF_PROVIDER],
    ),
    graph(
        "Streams that did not complete",
        "What ends the streams that come to no proper end: the provider, the caller, or a drain?",
        Query(rate(STREAM_ENDS, 'end!~"completed|incomplete"', by="end"), "{{end}}"),
        unit="ops",
        stacked=True,
        links=[TO_PROVIDERS],
    ),
)

SPEED = (
    table(
        "Providers",
        "How do the providers do, side by side?",
        "provider",
        Query(rate(REQUESTS, ROUTED, by="provider"), "requests/s", "reqps"),
        Query(failing(ROUTED, by="provider"), "failing", "percentunit"),
        Query(quantile(0.5, FIRST_CHUNK, by="provider"), "first chunk, p50", "s"),
        Query(quantile(0.95, FIRST_CHUNK, by="provider"), "first chunk, p95", "s"),
        Query(quantile(0.95, DURATION, 'error_type=""', by="provider"), "duration, p95", "s"),
        Query(total(STREAMS, ROUTED, by="provider"), "streams open", "short"),
        Query(rate(TOKENS, 'type="output"', by="provider"), "output tokens/s", "short"),
        width=24,
        links=[OF_LINE],
    ),
    graph(
        "First chunk, p95",
        "Which provider keeps its callers waiting?",
        Query(quantile(0.95, FIRST_CHUNK, by="provider"), "{{provider}}"),
        unit="s",
        links=[OF_PROVIDER],
    ),
    graph(
        "Between two chunks, p95",
        "Whose streams crawl? Of each stream, the mean counts.",
        Query(quantile(0.95, OUTPUT_CHUNK, by="provider"), "{{provider}}"),
        unit="s",
        links=[OF_PROVIDER],
    ),
    graph(
        "The gateway's own time",
        "Or is it the gateway that is slow?",
        *(Query(quantile(share, OVERHEAD), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)),
        unit="s",
        limits={RED: 0.025},
        links=[TO_RUNTIME],
    ),
)

COST = (
    graph(
        "Tokens per second",
        "What do the answers cost, in tokens?",
        *panels.token_areas(),
        unit="short",
        stacked=True,
        links=[TO_PROVIDERS],
    ),
    bars(
        "Tokens, by provider",
        "Where did the tokens of the time shown go?",
        increase(TOKENS, SPENT, by="provider"),
        "{{provider}}",
        unit="short",
        width=5,
        links=[OF_PROVIDER],
    ),
    bars(
        "Tokens, by model",
        "Which ten models used the most in the time shown?",
        f"topk(10, {increase(TOKENS, SPENT, by='provider, model')})",
        "{{provider}}/{{model}}",
        unit="short",
        width=6,
        links=[OF_MODEL],
    ),
    graph(
        "Input from cache",
        "Whose prompt caches save money?",
        Query(
            ratio(rate(TOKENS, 'type="cached_input"', by="provider"), rate(TOKENS, 'type="input"', by="provider")),
            "{{provider}}",
        ),
        unit="percentunit",
        most=1,
        width=5,
        links=[OF_PROVIDER],
    ),
)


def build() -> Json:
    """Make the dashboard."""
    return panels.dashboard(
        panels.OVERVIEW,
        "Responses proxy / Overview",
        "Is the gateway healthy, who is slow, what does it cost in tokens? Click a provider to see its own.",
        variables=[panels.data_source(), *panels.INSTANCES],
        links=[panels.neighbour("Providers", panels.PROVIDERS), panels.neighbour("Runtime", panels.RUNTIME)],
        panels=[
            row("Is it healthy?"),
            *NEWEST,
            *HEALTH,
            row("Who is slow?"),
            *SPEED,
            row("What does it cost?"),
            *COST,
        ],
    )
