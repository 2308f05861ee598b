"""agent.gdoi.selectors: ID blocks, prefixes and flows."""

from __future__ import annotations

import pytest
from netaddr import IPAddress, IPNetwork

from agent.errors import Malformed
from agent.gdoi.sa import IdBlock, IpsecPolicy
from agent.gdoi.selectors import address_of, block_of_address, block_of_prefix, flow_of, prefix_of
from agent.gsa.flow import Flow

V4 = "c0000200"
V6 = "20010db8" + "00" * 12


def policy(source: IdBlock, destination: IdBlock, protocol: int = 0) -> IpsecPolicy:
    return IpsecPolicy(protocol, source, destination, 20, 256, ())


@pytest.mark.parametrize(
    ("id_type", "data", "prefix"),
    [
        (1, "c0000201", "192.0.2.1/32"),
        (4, V4 + "ffffff00", "192.0.2.0/24"),
        (4, "00" * 8, "0.0.0.0/0"),
        (7, "ef000000efffffff", "239.0.0.0/8"),
        (7, "c0000201c0000201", "192.0.2.1/32"),
        (5, V6, "2001:db8::/128"),
        (6, V6 + "ffffffff" + "00" * 12, "2001:db8::/32"),
        (6, "00" * 32, "::/0"),
        (8, "ff3e" + "00" * 14 + "ff3e" + "ff" * 14, "ff3e::/16"),
    ],
)
def test_blocks_are_prefixes(id_type: int, data: str, prefix: str) -> None:
    assert prefix_of(IdBlock(id_type, 0, bytes.fromhex(data))) == IPNetwork(prefix)


@pytest.mark.parametrize(
    ("id_type", "data", "text"),
    [
        (1, "c00002", "4 octets of data, not 3"),
        (1, "", "4 octets of data, not 0"),
        (4, V4, "8 octets of data, not 4"),
        (5, V4, "16 octets of data, not 4"),
        (4, V4 + "ffffff01", "is no netmask"),
        (4, V4 + "00ffffff", "is no netmask"),
        (4, "c0000201ffffff00", "host bits set"),
        (7, "c0000201c0000206", "is no prefix"),
        (7, "c0000206c0000201", "upside down"),
        (2, "6162", "ID type FQDN is no address"),
        (99, "", r"ID type unknown\(99\)"),
    ],
)
def test_what_is_no_prefix_is_refused(id_type: int, data: str, text: str) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        prefix_of(IdBlock(id_type, 0, bytes.fromhex(data)))
    assert caught.value.notify == 18


@pytest.mark.parametrize("prefix", ["0.0.0.0/0", "239.2.0.0/16", "192.0.2.1/32", "::/0", "ff3e::/32", "ff3e::1/128"])
def test_prefixes_come_back(prefix: str) -> None:
    block = block_of_prefix(IPNetwork(prefix), 5000)
    assert (prefix_of(block), block.port) == (IPNetwork(prefix), 5000)


def test_a_host_is_sent_as_an_address_and_any_source_as_the_subnet_of_zeros() -> None:
    assert block_of_prefix(IPNetwork("192.0.2.1/32")) == IdBlock(1, 0, b"\xc0\0\x02\x01")
    assert block_of_prefix(IPNetwork("0.0.0.0/0")) == IdBlock(4, 0, bytes(8))
    assert block_of_prefix(IPNetwork("::/0")) == IdBlock(6, 0, bytes(32))


def test_one_address() -> None:
    assert address_of(block_of_address(IPAddress("ff3e::1"), 848)) == IPAddress("ff3e::1")
    with pytest.raises(Malformed, match="where one address belongs"):
        address_of(block_of_prefix(IPNetwork("239.0.0.0/8")))


@pytest.mark.requirement("GDOI-5.5.1-01")
@pytest.mark.parametrize("source", [IdBlock(4, 0, bytes(8)), IdBlock(1, 0, b""), IdBlock(0, 0, bytes(3))])
def test_every_form_of_any_source_and_zero_wildcards(source: IdBlock) -> None:
    flow = flow_of(policy(source, block_of_prefix(IPNetwork("239.1.1.1/32"))))
    assert flow == Flow.parse("239.1.1.1")
    assert flow.any_source


@pytest.mark.parametrize("source", [IdBlock(6, 0, bytes(32)), IdBlock(6, 0, b"")])
def test_any_source_of_the_other_family(source: IdBlock) -> None:
    assert flow_of(policy(source, block_of_prefix(IPNetwork("ff3e::1/128")))) == Flow.parse("ff3e::1")


def test_protocol_and_ports_select() -> None:
    source, destination = IPNetwork("192.0.2.1/32"), IPNetwork("239.1.1.1/32")
    wanted = Flow(source, destination, 17, 4000, 5000)
    assert flow_of(policy(block_of_prefix(source, 4000), block_of_prefix(destination, 5000), 17)) == wanted


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "text"),
    [
        ("0.0.0.0/0", "ff3e::1/128", 0, "differ in family"),
        ("0.0.0.0/0", "239.1.1.1/32", 0, "no ports to select by"),
        ("0.0.0.0/0", "239.1.1.1/32", 50, "no ports to select by"),
    ],
)
def test_a_contradictory_flow_is_refused(source: str, destination: str, protocol: int, text: str) -> None:
    with pytest.raises(Malformed, match=text) as caught:
        flow_of(policy(block_of_prefix(IPNetwork(source)), block_of_prefix(IPNetwork(destination), 5000), protocol))
    assert caught.value.notify == 18
