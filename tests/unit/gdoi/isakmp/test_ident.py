from __future__ import annotations

import pytest

from agent.crypto.x509 import Vouched
from agent.errors import Malformed, NotAuthenticated
from agent.gdoi.isakmp.ident import identity_of, payload_of, require_vouched
from agent.gdoi.isakmp.payloads import Identification
from agent.gsa.identity import Identity, IdentityKind

EVERY = {
    IdentityKind.IPV4: Identity(IdentityKind.IPV4, b"\xc0\0\2\1"),
    IdentityKind.IPV6: Identity(IdentityKind.IPV6, b"\x20\1\x0d\xb8" + bytes(12)),
    IdentityKind.FQDN: Identity(IdentityKind.FQDN, b"gm.example"),
    IdentityKind.USER_FQDN: Identity(IdentityKind.USER_FQDN, b"gm@example"),
    IdentityKind.DN: Identity(IdentityKind.DN, b"0\x0b1\t0\x07"),
    IdentityKind.KEY_ID: Identity(IdentityKind.KEY_ID, b"\1\2\3"),
}
VOUCHED = Vouched(
    subject=EVERY[IdentityKind.DN].octets,
    public_key=b"",
    dns_names=frozenset({"gm.example"}),
    emails=frozenset({"gm@example"}),
    addresses=frozenset({EVERY[IdentityKind.IPV4].octets, EVERY[IdentityKind.IPV6].octets}),
    certificate=b"",
)
NOTHING = Vouched(b"0\0", b"", frozenset(), frozenset(), frozenset(), b"")


@pytest.mark.requirement("P1-3947-4-04")
@pytest.mark.parametrize("kind", IdentityKind)
def test_identities_go_there_and_back_with_zero_protocol_and_port(kind: IdentityKind) -> None:
    payload = payload_of(EVERY[kind])
    assert (payload.protocol, payload.port) == (0, 0)
    assert identity_of(payload) == EVERY[kind]


@pytest.mark.requirement("P1-2407-4.6.2-01", "P1-2408-5.8-01")
@pytest.mark.parametrize(
    "payload",
    [
        Identification(2, 17, 4500, b"gm"),
        Identification(2, 1, 0, b"gm"),
        Identification(2, 0, 500, b"gm"),
        Identification(4, 0, 0, bytes(8)),
        Identification(12, 0, 0, b"x"),
        Identification(200, 0, 0, b"x"),
        Identification(5, 0, 0, bytes(15)),
        Identification(2, 0, 0, b"g\xc3\xbcnther"),
        Identification(3, 0, 0, b"a\0b"),
        Identification(11, 0, 0, bytes(1025)),
        Identification(2, 0, 0, b"g" * 1025),
    ],
)
def test_identities_of_no_use(payload: Identification) -> None:
    with pytest.raises(Malformed) as caught:
        identity_of(payload)
    assert caught.value.notify == 18


@pytest.mark.requirement("P1-2407-4.6.2.1-01")
@pytest.mark.parametrize("kind", IdentityKind)
def test_a_certificate_holds_an_identity_or_not(kind: IdentityKind) -> None:
    with pytest.raises(NotAuthenticated, match="is not in the certificate") as caught:
        require_vouched(EVERY[kind], NOTHING)
    assert caught.value.notify == 18
    if kind is not IdentityKind.KEY_ID:
        require_vouched(EVERY[kind], VOUCHED)
