"""Which addresses a tenant's request may reach: public ones. Pure: who resolves names is outbound/http.py.

`ip.is_global` alone is not enough: it holds for multicast and for the IPv6 forms that carry an IPv4 address inside (NAT64, 6to4), through
which a gateway on the way may reach what the IPv4 address would. Those are refused as a whole, whatever they carry.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED: Final[tuple[tuple[str, str], ...]] = (
    ("0.0.0.0/8", "this host"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by a carrier"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local, where clouds keep their metadata"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/96", "this host, or IPv4 in disguise"),
    ("::ffff:0:0:0/96", "IPv4 in disguise"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64"),
    ("100::/64", "a black hole"),
    ("100:0:0:1::/64", "a dummy prefix"),
    ("2001::/23", "reserved for protocols, Teredo among them"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
"""The special-purpose registries of IANA for IPv4 and IPv6, with what they call deprecated."""

REFUSED: Final[tuple[tuple[Network, str], ...]] = tuple((ipaddress.ip_network(network), why) for network, why in _REFUSED)


def parse_networks(words: Iterable[str]) -> tuple[Network, ...]:
    """Read networks such as 10.1.0.0/16, or single addresses. Raises ValueError that names the one that is none."""
    networks = []
    for word in words:
        try:
            networks.append(ipaddress.ip_network(word))
        except ValueError as error:
            raise ValueError(f"{word!r} is not a network such as 10.1.0.0/16: {error}") from None
    return tuple(networks)


def unwrap(address: Address) -> Address:
    """Take an IPv4 address out of its IPv6 form (::ffff:a.b.c.d), which the system connects to as IPv4."""
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def why_refused(address: Address) -> str | None:
    """Say why an address is not to be reached; None when it is public."""
    address = unwrap(address)
    if getattr(address, "scope_id", None):
        return "it names a network interface"
    for network, why in REFUSED:
        if address.version == network.version and address in network:
            return why
    if not address.is_global or address.is_multicast or address.is_reserved:
        return "not public"  # what a newer Python knows and the table does not
    return None


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an operator's exception covers the address."""
    address = unwrap(address)
    return any(address.version == network.version and address in network for network in networks)
