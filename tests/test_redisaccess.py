"""The form of a URL decides how Redis is reached."""

import pytest

from proxy.redisaccess import link_to
from proxy.rediscluster import ClusterLink
from proxy.redislink import RedisLink
from proxy.sentinel import SentinelLink


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://h", RedisLink),
        ("unix:///run/valkey.sock", RedisLink),
        ("rediss+sentinel://a,b/m", SentinelLink),
        ("redis+cluster://a,b", ClusterLink),
    ],
)
async def test_link_is_of_the_kind_that_its_url_names(url, kind):
    link = link_to(url, 1.0)
    assert type(link) is kind
    link.close()


def test_url_that_cannot_be_read_is_a_mistake():
    with pytest.raises(ValueError, match="must"):
        link_to("h:6379", 1.0)


async def test_database_and_options_of_a_url_count(valkey):
    link = link_to(f"{valkey.url}?db=3&client_name=x", 5.0)
    await link.ask([("SET", b"k", b"v")])
    name, info = await link.ask([("CLIENT", "GETNAME"), ("CLIENT", "INFO")])
    link.close()
    assert name == b"x"
    assert b" db=3 " in bytes(info)
    assert valkey.keys() == []
