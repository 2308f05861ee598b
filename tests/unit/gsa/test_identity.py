import itertools

import pytest
from cryptography import x509
from netaddr import IPAddress

from agent.gsa.identity import GroupId, GroupIdKind, Identity, IdentityKind


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        (IdentityKind.IPV4, "10.0.0.1", "ipv4:10.0.0.1"),
        (IdentityKind.IPV6, "fd00::1", "ipv6:fd00::1"),
        (IdentityKind.FQDN, "KS.Example.org", "fqdn:ks.example.org"),
        (IdentityKind.USER_FQDN, "ks@example.org", "user-fqdn:ks@example.org"),
        (IdentityKind.KEY_ID, "gcks-1", "key-id:gcks-1"),
        (IdentityKind.KEY_ID, "0x00ff", "key-id:0x00ff"),
    ],
)
@pytest.mark.requirement("MIPSEC-4.1.3-02")
def test_identities_of_each_type(kind: IdentityKind, text: str, shown: str) -> None:
    identity = Identity.parse(kind, text)
    assert identity.kind is kind
    assert str(identity) == shown
    assert identity == Identity.parse(kind, text)


def test_a_name_is_compared_without_case_and_a_key_id_with() -> None:
    assert Identity.parse(IdentityKind.FQDN, "A.example") == Identity.parse(IdentityKind.FQDN, "a.EXAMPLE")
    assert Identity.parse(IdentityKind.KEY_ID, "A") != Identity.parse(IdentityKind.KEY_ID, "a")


def test_a_dn_is_the_der_of_its_name() -> None:
    der = x509.Name.from_rfc4514_string("CN=ks,O=Example").public_bytes()
    assert Identity.parse(IdentityKind.DN, "CN=ks,O=Example").octets == der
    assert Identity.parse(IdentityKind.DN, "0x" + der.hex()).octets == der


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        (IdentityKind.IPV4, "fd00::1", "no ipv4 address"),
        (IdentityKind.IPV6, "10.0.0.1", "no ipv6 address"),
        (IdentityKind.IPV4, "ks", "no address"),
        (IdentityKind.FQDN, "", "not empty"),
        (IdentityKind.FQDN, "a\nb", "printable"),
        # What the library refuses without a word, or writes and then does not read.
        (IdentityKind.DN, "\0", "no distinguished name"),
        (IdentityKind.DN, "CN=ks,C=E\5", "no distinguished name"),
        (IdentityKind.DN, "CN=ks,C=Ö1", "no distinguished name"),
    ],
)
def test_what_is_no_identity(kind: IdentityKind, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Identity.parse(kind, text)


def test_octets_of_a_wrong_length_are_no_address() -> None:
    with pytest.raises(ValueError, match="4 octets"):
        Identity(IdentityKind.IPV4, b"\x0a")
    assert Identity.of_address(IPAddress("10.0.0.1")).octets == b"\x0a\0\0\x01"


@pytest.mark.requirement("MIPSEC-4.1.3-03", "MSA-4.1.3.3-01")
def test_a_group_identifier_has_4_to_255_octets() -> None:
    assert str(GroupId.of_number(1234)) == "1234"
    assert GroupId.of_number(1234).octets == b"\0\0\x04\xd2"
    assert str(GroupId(b"group")) == "0x67726f7570"
    assert GroupId(bytes(255)).octets == bytes(255)
    for length in (0, 3, 256):
        with pytest.raises(ValueError, match="4 to 255"):
            GroupId(bytes(length))


GROUPS = [
    "0",
    "1234",
    "4294967295",
    "0x0102030405",
    "ipv4:239.1.1.1",
    "ipv6:ff3e::1",
    "ipv4-subnet:0.0.0.0/0",
    "ipv4-subnet:239.1.0.0/16",
    "ipv6-subnet:ff3e::/32",
    "ipv4-range:239.1.1.1-239.1.1.9",
    "ipv6-range:ff3e::1-ff3e::9",
    "fqdn:Video.example",
    "user-fqdn:video@example",
    "dn:0x3010310e300c06035504030c05766964656f",
    "gn:0x8207766964656f2e78",
    "list:0x01",
    "oid:1.2.840.10070.61850.8.1.2",
    "oid:1.2.840.10070.61850.8.1.2/0x0404e9fc0001",
]


@pytest.mark.requirement("MIPSEC-4.1.3-04", "GDOI-5.1-04", "IEC-2.1-01")
def test_the_text_of_a_group_identifier_is_what_names_it() -> None:
    groups = [GroupId.parse(text) for text in GROUPS]
    assert [str(group) for group in groups] == GROUPS
    assert len(set(groups)) == len(groups)
    assert {group.kind for group in groups} == set(GroupIdKind)
    assert sorted(sorted(groups), key=str) == sorted(groups, key=str)
    assert all((one < other) != (other < one) for one, other in itertools.combinations(groups, 2))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (1234, "1234"),
        ("0x000004d2", "1234"),
        ("ipv6:FF3E:0::1", "ipv6:ff3e::1"),
        ("dn:CN=video", "dn:0x3010310e300c06035504030c05766964656f"),
    ],
)
def test_other_texts_of_the_same_group(text: str | int, same: str) -> None:
    assert str(GroupId.parse(text)) == same


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("4294967296", "more than 4294967295"),
        ("-1", "no number"),
        ("video", "no number, no 0x"),
        ("ipv5:1", "TYPE of key-id, ipv4"),
        ("fqdn", "no number"),
        ("fqdn:", "1 to 65527 octets"),
        ("0x01", "4 to 255 octets"),
        ("0x0102030", "hexadecimal"),
        ("key-id:video", "hexadecimal"),
        ("ipv4:ff3e::1", "no ipv4"),
        ("ipv4:nowhere", "no ipv4"),
        ("ipv4-subnet:239.1.1.1/16", "host bits"),
        ("ipv4-range:239.1.1.9-239.1.1.1", "upside down"),
        ("ipv4-range:239.1.1.9", "no ipv4-range"),
        ("ipv4-range:239.1.1.9-ff3e::1", "no ipv4-range"),
        ("oid:1", "no OID"),
        ("oid:3.1", "no OID"),
    ],
)
def test_what_is_no_group_identifier(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        GroupId.parse(text)
