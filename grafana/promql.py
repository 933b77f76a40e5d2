"""The queries that dashboards are made of: one selector, and what is asked of it.

Every query is narrowed to the chosen `job` and `instance`, and its rates look back `$__rate_interval`, which
Grafana takes from the data source's scrape interval.
"""

REQUESTS = "responses_proxy_requests_total"
STREAM_ENDS = "responses_proxy_stream_ends_total"
STREAMS = "responses_proxy_inflight_streams"
TOKENS = "responses_proxy_tokens_total"
OVERHEAD = "responses_proxy_overhead_seconds"
DURATION = "gen_ai_client_operation_duration_seconds"
FIRST_CHUNK = "gen_ai_client_operation_time_to_first_chunk_seconds"
OUTPUT_CHUNK = "gen_ai_client_operation_time_per_output_chunk_seconds"

CHOSEN = ('job=~"$job"', 'instance=~"$instance"')
PROVIDER = 'provider=~"$provider"'
MODEL = 'gen_ai_request_model=~"$model"'
ROUTED = 'provider!="none"'
"""Requests that came as far as a provider."""
FAILED_CODES = 'code=~"5..|429"'
"""What says that a provider, or the gateway, did not do its part; other 4xx are the caller's."""
FAILED_ENDS = 'end=~"failed|upstream_cut|upstream_error|idle_timeout"'
"""Ends of streams that had begun with a 200 and did not come to what was asked for."""
CUT_ENDS = 'end=~"upstream_cut|idle_timeout"'
"""Ends that the provider announced by no event."""


def series(metric: str, *matchers: str) -> str:
    """Select the chosen instances' series of a metric."""
    return f"{metric}{{{','.join((*CHOSEN, *matchers))}}}"


def total(metric: str, *matchers: str, by: str = "") -> str:
    """Add up a gauge."""
    return f"sum{_by(by)} ({series(metric, *matchers)})"


def rate(metric: str, *matchers: str, by: str = "") -> str:
    """Add up a counter's growth per second."""
    return f"sum{_by(by)} (rate({series(metric, *matchers)}[$__rate_interval]))"


def increase(metric: str, *matchers: str, by: str = "") -> str:
    """Add up a counter's growth over the time the dashboard shows."""
    return f"sum{_by(by)} (increase({series(metric, *matchers)}[$__range]))"


def quantile(share: float, histogram: str, *matchers: str, by: str = "") -> str:
    """Estimate the value that this share of observations stays below; nothing where nothing was observed."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, {rate(f'{histogram}_bucket', *matchers, by=labels)}) >= 0"


def ratio(part: str, whole: str) -> str:
    """Divide, with 0 where nothing of the part was counted yet and nothing where the whole is 0."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def failures(*matchers: str, by: str = "") -> str:
    """Add up answers that are failures and streams that ended as one, per second."""
    whole = rate(REQUESTS, *matchers, by=by)
    answers = rate(REQUESTS, FAILED_CODES, *matchers, by=by)
    return f"(({answers} or 0 * {whole}) + {rate(STREAM_ENDS, FAILED_ENDS, *matchers, by=by)})"


def failing(*matchers: str, by: str = "") -> str:
    """Divide failures by requests; a stream that broke before its first byte is a 502 too, and counts twice."""
    return f"clamp_max({ratio(failures(*matchers, by=by), rate(REQUESTS, *matchers, by=by))}, 1)"


def tokens_without(whole: str, part: str, *matchers: str) -> str:
    """Leave out of one type of tokens another that is a part of it, per second."""
    parts = (rate(TOKENS, f'type="{kind}"', *matchers) for kind in (whole, part))
    return f"clamp_min({' - '.join(parts)}, 0)"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
