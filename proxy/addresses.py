"""Tells the public addresses of the Internet from those that mean something inside a network only; pure."""

import ipaddress
from collections.abc import Iterable
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_UNICAST: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("2000::/3"))
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_SPECIAL: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind a carrier's address translation; Alibaba's metadata server
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host, on every virtual machine
            "169.254.0.0/16",  # link-local; most metadata servers
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata server
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, and all that is reserved behind it
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address that a relay of the network's own unwraps
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)
"""The registries of special-purpose addresses (RFC 6890 and after), and what clouds took from public space."""


def parse_address(text: str) -> Address | None:
    """Read an address, None where the text is none; a zone is part of it."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_public(address: Address, allowed: Iterable[Network] = ()) -> bool:
    """Tell whether an address is one of the Internet's, or in a network that is allowed all the same.

    An IPv6 address that stands for one of IPv4 is judged by that.
    """
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return False
    meant = _meant(address)
    if any(meant in network for network in allowed):
        return True
    return any(meant in network for network in _UNICAST) and not any(meant in network for network in _SPECIAL)


def _meant(address: Address) -> Address:
    """Return the IPv4 address that a mapped one, or one of a translator (RFC 6052), leads to."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
