"""NAT discovery, the marker and keepalives."""

from __future__ import annotations

import hashlib

import pytest
from netaddr import IPAddress

from agent.crypto.prf import HashAlgorithm
from agent.errors import Malformed
from agent.gdoi.isakmp.natt import (
    KEEPALIVE,
    MARKER,
    NATT_PORT,
    Nat,
    Path,
    detect,
    is_keepalive,
    nat_hash,
    nat_hashes,
    unmark,
)
from agent.wire.endpoint import Endpoint

COOKIES = bytes(range(16))
SHA = HashAlgorithm.SHA2_256


def at(address: str, port: int = 848) -> Endpoint:
    return Endpoint(IPAddress(address), port)


INSIDE, OUTSIDE, SERVER = at("10.0.0.5"), at("203.0.113.7", 60123), at("192.0.2.1")


@pytest.mark.parametrize(
    ("endpoint", "octets"),
    [(at("192.0.2.1"), "c00002010350"), (at("2001:db8::1", 4500), "20010db8" + "00" * 11 + "01" + "1194")],
)
def test_the_hash_is_over_cookies_address_and_port(endpoint: Endpoint, octets: str) -> None:
    assert nat_hash(SHA, COOKIES, endpoint) == hashlib.sha256(COOKIES + bytes.fromhex(octets)).digest()


@pytest.mark.parametrize(
    ("sender", "receiver", "found"),
    [
        (Path(SERVER, INSIDE), Path(INSIDE, SERVER), Nat(ours=False, theirs=False)),
        (Path(SERVER, INSIDE), Path(OUTSIDE, SERVER), Nat(ours=False, theirs=True)),
        (Path(OUTSIDE, SERVER), Path(SERVER, INSIDE), Nat(ours=True, theirs=False)),
        (Path(SERVER, INSIDE), Path(OUTSIDE, at("172.16.0.1")), Nat(ours=True, theirs=True)),
        (Path(SERVER, INSIDE), Path(at("10.0.0.5", 1024), SERVER), Nat(ours=False, theirs=True)),
    ],
    ids=["none", "the peer's", "ours", "both", "of the port alone"],
)
def test_where_the_nat_is(sender: Path, receiver: Path, found: Nat) -> None:
    said = nat_hashes(SHA, COOKIES, sender)
    assert detect(SHA, COOKIES, receiver, said) == found
    assert found.present is (found.ours or found.theirs)


def test_one_of_several_own_addresses_is_enough() -> None:
    remote, local = nat_hashes(SHA, COOKIES, Path(SERVER, INSIDE))
    others = [nat_hash(SHA, COOKIES, at("10.0.0.6")), local]
    assert detect(SHA, COOKIES, Path(INSIDE, SERVER), [remote, *others]) == Nat(ours=False, theirs=False)


@pytest.mark.parametrize("said", [[], [b"x" * 32]])
def test_fewer_than_two_say_nothing(said: list[bytes]) -> None:
    assert detect(SHA, COOKIES, Path(INSIDE, SERVER), said) is None


def test_words_for_an_operator() -> None:
    words = [str(Nat(ours, theirs)) for ours in (False, True) for theirs in (False, True)]
    assert words == ["no NAT", "NAT there", "NAT here", "NAT on both sides"]


@pytest.mark.requirement("P1-3948-2.2-01", "P1-3948-2.3-01")
def test_the_marker_and_the_keepalive() -> None:
    path = Path(SERVER, INSIDE, marked=True)
    assert path.datagram(b"isakmp").payload == bytes(4) + b"isakmp" == MARKER + b"isakmp"
    assert Path(SERVER, INSIDE).datagram(b"isakmp").payload == b"isakmp"
    assert unmark(path.datagram(b"isakmp").payload) == b"isakmp"
    assert (path.keepalive().payload, path.keepalive().to, path.keepalive().source) == (b"\xff", SERVER, INSIDE)
    assert is_keepalive(KEEPALIVE)
    assert not is_keepalive(KEEPALIVE * 2)
    assert NATT_PORT == 4500


def test_esp_on_the_port_is_refused() -> None:
    with pytest.raises(Malformed, match="marker"):
        unmark(b"\xc0\xff\xee\x01" + bytes(20))


def test_what_a_packet_has_around_the_message() -> None:
    six = Path(at("2001:db8::1"), at("2001:db8::2"))
    assert [Path(SERVER, INSIDE).overhead_octets, Path(SERVER, INSIDE, marked=True).overhead_octets] == [28, 32]
    assert six.overhead_octets == 48
