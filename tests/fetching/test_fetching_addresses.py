"""What is not asked for at all: URLs of other forms, and hosts whose addresses are not public."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from proxy.config import FetchConfig
from proxy.fetching import Rules, Unfetchable, parse_url
from tests.fetching.conftest import NO_ADDRESS, PARAM, PNG, refused
from tests.rig import scripts
from tests.rig.origin import Names


async def test_host_that_is_private_is_refused_like_one_there_is_not(fetcher, origin, url):
    one = fetcher(Names(inside=["127.0.0.2"], mixed=["127.0.0.1 127.0.0.2"], mapped=["::ffff:10.0.0.1"], none=[""]))
    hosts = ("inside.test", "mixed.test", "mapped.test", "nowhere.test", "127.0.0.2")
    answers = {await refused(one.fetch(url(host=host), PARAM)) for host in hosts}
    assert answers == {("failed_to_download_image", NO_ADDRESS)}
    assert not origin.connections


async def test_name_is_resolved_once_for_a_connection_and_again_for_the_next(fetcher, origin, url):
    """A name that leads elsewhere the second time it is asked for leads nowhere."""
    origin.on("GET", "/x", scripts.answer(b"", 302, headers=[("Location", "/y")]))
    origin.on("GET", "/y", scripts.answer(PNG, content_type="image/png"))
    names = Names(images=["127.0.0.1", "127.0.0.2"])
    assert await refused(fetcher(names).fetch(url(), PARAM)) == ("failed_to_download_image", NO_ADDRESS)
    assert names.asked == ["images.test"] * 2
    assert [request.path for request in origin.requests] == ["/x"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "images.test/x",
            "//images.test/x",
            "http://images.test/x",
            "ftp://images.test/x",
            "data:image/png,x",
        ),
        *("https:///x", "https://:443/x", "https:images.test", "https://images.test:0/", "https://images.test:65536/"),
        *("https://images.test:80/", "https://images.test:22/", "https://user@images.test/", "https://:p@images.test/"),
        *(
            "https://images.test/a b",
            "https://images.test/\r\nHost: x",
            "https://images.test/\0",
            "https://images.test/\ud800",
        ),
        *(
            "https://ima ges.test/",
            "https://images..test/",
            "https://.test/",
            "https://-a.test/",
            "https://images.test./",
        ),
        *("https://[::1]x/", "https://[fe80::1%25eth0]/", "https://a%2eb.test/", f"https://{'a' * 64}.test/"),
        f"https://images.test/{'x' * 8192}",
    ],
)
def test_url_of_another_form_is_refused(text):
    with pytest.raises(Unfetchable):
        Rules(FetchConfig()).accept(parse_url(text))


PRIVATE = st.one_of(
    *(st.ip_addresses(network=network) for network in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"))
)
SPELLINGS = [
    str,
    lambda address: str(int(address)),
    lambda address: hex(int(address)),
    lambda address: oct(int(address)).replace("o", ""),
    lambda address: ".".join(map(hex, address.packed)),
    lambda address: ".".join(f"{byte:04o}" for byte in address.packed),
    lambda address: f"{address.packed[0]}.{int.from_bytes(address.packed[1:])}",
    lambda address: f"{address}.",
    lambda address: str(address).translate({ord(digit): 0x2460 - 0x31 + ord(digit) for digit in "123456789"}),
    lambda address: f"[::ffff:{address}]",
    lambda address: f"[{ipaddress.IPv6Address(0xFFFF << 32 | int(address)).exploded}]",
    lambda address: f"[::{address}]",
    lambda address: f"[64:ff9b::{address}]",
    lambda address: f"[{ipaddress.IPv6Address(0x2002 << 112 | int(address) << 80)}]",
    lambda address: f"[::ffff:{address}%251]",
]


@examples(deadline=None)
@given(PRIVATE, st.sampled_from(SPELLINGS))
def test_private_address_is_refused_however_it_is_spelled(address, spell):
    with pytest.raises(Unfetchable):
        Rules(FetchConfig()).accept(parse_url(f"https://{spell(address)}/"))


@examples(deadline=None)
@given(st.text(max_size=40))
def test_no_text_is_anything_but_a_good_url_or_refused(text):
    try:
        url = Rules(FetchConfig()).accept(parse_url(f"https://{text}"))
    except Unfetchable:
        return
    assert (url.scheme, url.port, url.user, url.password) == ("https", 443, None, None)
