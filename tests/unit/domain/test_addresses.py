"""Which addresses a tenant's request may reach."""

import ipaddress

import pytest

from jobqueue.domain.addresses import is_within, parse_networks, why_refused

REFUSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.1.2.3", "169.254.0.1",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "100:0:0:1::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1",
    "2002:7f00:1::", "2002:808:808::1", "2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
    "febf::1", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
    "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "::ffff:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert why_refused(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_let_through(address: str) -> None:
    assert why_refused(ipaddress.ip_address(address)) is None


def test_table_is_long_enough_to_mean_something() -> None:
    assert len(set(REFUSED)) >= 40


def test_networks_are_read_and_cover_what_is_in_them_in_either_form() -> None:
    networks = parse_networks(["10.1.0.0/16", "fd00::7"])
    assert is_within(ipaddress.ip_address("10.1.2.3"), networks)
    assert is_within(ipaddress.ip_address("::ffff:10.1.2.3"), networks)
    assert is_within(ipaddress.ip_address("fd00::7"), networks)
    assert not is_within(ipaddress.ip_address("10.2.0.1"), networks)
    assert not is_within(ipaddress.ip_address("fd00::8"), networks)


@pytest.mark.parametrize("word", ["10.1.0.1/16", "here", "10.0.0.0/33", ""])
def test_network_that_is_none_is_named(word: str) -> None:
    with pytest.raises(ValueError, match="is not a network such as"):
        parse_networks([word])
