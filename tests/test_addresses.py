import ipaddress

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from proxy.addresses import is_public, parse_address

PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254
169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1
198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe
64:ff9b:1::8.8.8.8 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:db8::1
2002:7f00:1::1 2002:808:808::1 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1
2606:4700::1111%1
"""
PUBLIC = """
1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 168.63.129.15 172.15.255.255 172.32.0.1 192.0.1.1 192.167.255.255
198.17.255.255 198.20.0.1 223.255.255.255 2001:200::1 2606:4700:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8
"""


@pytest.mark.parametrize("text", PRIVATE.split())
def test_address_that_means_something_inside_a_network_only_is_not_public(text):
    assert not is_public(parse_address(text))


@pytest.mark.parametrize("text", PUBLIC.split())
def test_address_of_the_internet_is_public(text):
    assert is_public(parse_address(text))


@pytest.mark.parametrize(
    "text", ["", "host", "127.1", "0x7f.0.0.1", "010.0.0.1", "2130706433", "127.0.0.1.", "[::1]", "::1 "]
)
def test_other_spellings_are_no_addresses(text):
    assert parse_address(text) is None


@examples(deadline=None)
@given(st.ip_addresses())
def test_public_address_is_global_by_the_standard_librarys_registry_too(address):
    """Ours is the stricter one; a form that stands for an IPv4 address is compared as that."""
    if is_public(address):
        assert address.is_global or address in ipaddress.ip_network("64:ff9b::/96")
        assert not address.is_multicast


@examples(deadline=None)
@given(st.ip_addresses(v=4))
def test_forms_of_an_ipv4_address_are_judged_by_it(address):
    for form in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(parse_address(form)) is is_public(address)


@examples(deadline=None)
@given(st.ip_addresses(v=4))
def test_tunnels_to_an_ipv4_address_are_never_public(address):
    for prefix, shift in ((0x2002 << 112, 80), (0x20010000 << 96, 0), (0, 0)):
        assert not is_public(ipaddress.IPv6Address(prefix | int(address) << shift))


@examples(deadline=None)
@given(st.ip_addresses(v=4))
def test_allowed_address_counts_as_public_in_each_of_its_forms(address):
    allowed = [ipaddress.ip_network(address)]
    for form in (address, f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(parse_address(str(form)), allowed)


def test_network_is_allowed_and_its_neighbours_are_not():
    allowed = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/16")]
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1"):
        assert is_public(parse_address(text), allowed)
    for text in ("10.2.0.1", "::ffff:10.2.0.1", "fd01::1", "fd00::1%1"):
        assert not is_public(parse_address(text), allowed)
