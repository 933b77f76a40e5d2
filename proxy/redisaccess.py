"""Chooses, by the form of its URL, how a Redis is reached."""

from proxy.rediscluster import ClusterLink
from proxy.redislink import Link, RedisLink
from proxy.redisurl import parse_redis_url
from proxy.sentinel import SentinelLink


def link_to(text: str, timeout: float) -> Link:
    """Return what asks the Redis of a URL; nothing is connected yet. `timeout` is that of one answer, in seconds."""
    url = parse_redis_url(text)
    if url.form == "cluster":
        return ClusterLink(url, timeout)
    return SentinelLink(url, timeout) if url.form == "sentinel" else RedisLink(url.server_url(), timeout)
