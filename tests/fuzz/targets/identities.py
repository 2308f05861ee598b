"""Identities, group identifiers, names and OIDs, of peers or of people, are taken or refused with a reason.

A peer's raises a PeerError, a text of the configuration a ValueError; what is taken prints as it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from agent.crypto.names import same_name
from agent.errors import PeerError
from agent.gdoi.group_id import group_of
from agent.gdoi.group_id import payload_of as group_payload_of
from agent.gdoi.isakmp.ident import identity_of, payload_of
from agent.gdoi.isakmp.payloads import Identification
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.flow_rule import FlowRule
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.oid import OidSelector
from agent.gsa.pad import PadId
from scripts.lib.fuzz.mutate import Form

FORMS: Final = (Form(1, "big", None),)
WORDS: Final = (
    *(
        b"oid:1.2.840.10070",
        b"ipv4-range:",
        b"ipv6-subnet:",
        b"dn:0x",
        b"*,O=Lab",
        b"CN=*,",
        b".example",
        b"@b.example",
    ),
    *(b"\x30\x0d\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02", b"\x06\x03\x2a\x03\x04", b"/0x0404", b"::ffff:", b"/32"),
)
KINDS: Final = tuple(IdentityKind)


def peer_identity(body: bytes) -> None:
    payload = Identification.parse(body)
    identity = identity_of(payload)
    assert identity_of(payload_of(identity)) == identity
    assert str(identity).isprintable(), "an identity prints control characters"
    try:
        again = Identity.parse(identity.kind, identity.value if hasattr(identity, "value") else str(identity))
    except ValueError:
        return
    assert again.kind is identity.kind
    for octets in (identity.octets, body):
        same_name(octets, body)


def peer_group(body: bytes) -> None:
    group = group_of(Identification.parse(body))
    assert group_of(group_payload_of(group)) == group
    assert str(group).isprintable()
    assert GroupId.parse(str(group)) == group


def written_identity(body: bytes) -> None:
    kind, text = KINDS[body[0] % len(KINDS)] if body else KINDS[0], body[1:].decode("utf-8", "replace")
    pad = PadId.parse(kind, text)
    identity = Identity.parse(kind, text)
    # What begins so names everybody beneath, and not who is called so.
    assert text.startswith((".", "@", "*")) or "*" in text or pad.matches(identity)
    assert PadId.of(identity).matches(identity)


def pattern(body: bytes) -> None:
    kind, (text, _, asserted) = KINDS[body[0] % len(KINDS)] if body else KINDS[0], body[1:].partition(b"\n")
    pad = PadId.parse(kind, text.decode("utf-8", "replace"))
    pad.matches(Identity(kind, asserted))


def written_group(body: bytes) -> None:
    group = GroupId.parse(body.decode("utf-8", "replace"))
    assert GroupId.parse(str(group)) == group


def written_oid(body: bytes) -> None:
    selector = OidSelector.parse(body.decode("utf-8", "replace"))
    assert OidSelector.parse(str(selector)) == selector


def written_flow(body: bytes) -> None:
    destination, _, source = body.decode("utf-8", "replace").partition("\n")
    flow = Flow.parse(destination, source) if source else Flow.parse(destination)
    assert flow.overlaps(flow)
    FlowRule.parse([destination], [source] if source else ["any"])


def written_transform(body: bytes) -> None:
    transform = Transform.parse(body.decode("utf-8", "replace"))
    assert Transform.parse(str(transform)) == transform


WAYS: Final[tuple[tuple[Callable[[bytes], None], type[Exception]], ...]] = (
    (peer_identity, PeerError),
    (peer_group, PeerError),
    (written_identity, ValueError),
    (pattern, ValueError),
    (written_group, ValueError),
    (written_oid, ValueError),
    (written_flow, ValueError),
    (written_transform, ValueError),
)


def one_input(data: bytes) -> None:
    if not data:
        return
    way, refused = WAYS[data[0] % len(WAYS)]
    try:
        way(data[1:])
    except refused as error:
        assert str(error), "a refusal without a reason"


def seeds() -> Iterator[tuple[str, bytes]]:
    dn = bytes.fromhex("300d310b300906035504030c02676d")
    identities = ((1, b"\xc0\0\2\x0a"), (2, b"gm.example"), (3, b"gm@example"), (5, bytes(16)), (9, dn), (11, b"key"))
    groups = (
        *identities,
        *((4, bytes(8)), (6, bytes(32)), (7, bytes(8)), (8, bytes(32)), (10, dn), (12, b"list")),
        (13, bytes.fromhex("06072b0601040182370404e9fc0001")),
    )
    for number, (kind, octets) in enumerate(identities):
        yield f"identity-{number}", b"\0" + bytes([kind, 0, 0, 0]) + octets
    for number, (kind, octets) in enumerate(groups):
        yield f"group-{number}", b"\1" + bytes([kind, 0, 0, 0]) + octets
    texts = ("192.0.2.1", "2001:db8::1", "gm.example", "gm@example", "CN=gm,O=Lab,C=DE", "key")
    for number, (named, text) in enumerate(zip(KINDS, texts, strict=True)):
        yield f"written-{number}", bytes([2, number]) + text.encode()
        asserted = Identity.parse(named, text).octets
        yield f"pattern-{number}", bytes([3, number]) + text.encode() + b"\n" + asserted
    for number, text in enumerate(("192.0.2.0/24", "2001:db8::-2001:db8::9", ".example", "@b.example", "*,O=Lab")):
        yield (
            f"wide-{number}",
            bytes([3, number]) + text.encode() + b"\n" + Identity.parse(KINDS[number], texts[number]).octets,
        )
    written = ("1234", "0x0102030405", "ipv4-subnet:239.1.0.0/16", "ipv4-range:239.1.1.1-239.1.1.9", "dn:CN=x,O=y")
    for number, text in enumerate((*written, "oid:1.2.840.10070.61850.8.1.2/0x0404e9fc0001", "fqdn:a.example")):
        yield f"group-text-{number}", b"\4" + text.encode()
    yield "oid", b"\5" + b"1.2.840.10070.61850.8.1.2/0x0404e9fc0001"
    yield "flow", b"\6" + b"239.1.0.0/16\n192.0.2.1"
    yield "flow-6", b"\6" + b"ff3e::/32"
    yield "transform", b"\7" + b"aes-cbc-128+hmac-sha2-256"
    yield "transform-gcm", b"\7" + b"aes-gcm-16-256"
