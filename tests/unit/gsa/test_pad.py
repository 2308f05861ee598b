import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from agent.gsa.identity import Identity, IdentityKind
from agent.gsa.pad import PadId

IPV4, IPV6, FQDN, USER_FQDN, DN, KEY_ID = IdentityKind


def asserted(kind: IdentityKind, text: str) -> Identity:
    return Identity.parse(kind, text)


@pytest.mark.requirement("MIPSEC-4.1.3-02")
@pytest.mark.parametrize(
    ("kind", "pattern", "matching", "others"),
    [
        (IPV4, "192.0.2.1", ["192.0.2.1"], ["192.0.2.2"]),
        (IPV4, "192.0.2.0/30", ["192.0.2.0", "192.0.2.3"], ["192.0.2.4"]),
        (IPV4, "192.0.2.5-192.0.2.9", ["192.0.2.5", "192.0.2.9"], ["192.0.2.4", "192.0.2.10"]),
        (IPV6, "fd00::/64", ["fd00::1"], ["fd00:0:0:1::"]),
        (IPV6, "fd00::1-fd00::2", ["fd00::2"], ["fd00::3"]),
        (FQDN, "gcks.example", ["gcks.example", "GCKS.example"], ["a.gcks.example", "gcks.example.org", "example"]),
        (FQDN, ".Example.com", ["a.example.com", "a.b.EXAMPLE.com"], ["example.com", "aexample.com", "a.example.org"]),
        (USER_FQDN, "ks@b.example", ["ks@b.example"], ["xks@b.example", "ks@a.b.example"]),
        (USER_FQDN, "@b.example", ["ks@b.example", "a@B.example"], ["ks@a.b.example", "ks@bb.example"]),
        (DN, "CN=ks,O=Lab,C=DE", ["CN=ks,O=Lab,C=DE", "CN=KS,O=lab,C=de"], ["CN=ks,O=Lab", "CN=x,CN=ks,O=Lab,C=DE"]),
        (DN, "*,O=Lab,C=DE", ["CN=ks,O=Lab,C=DE", "CN=a,OU=b,O=Lab,C=DE", "O=Lab,C=DE"], ["CN=ks,O=Lab,C=FR", "C=DE"]),
        (
            DN,
            "CN=*,O=Lab",
            ["CN=ks,O=Lab", "CN=x  y,O=Lab"],
            ["OU=ks,O=Lab", "O=Lab", "CN=a,CN=b,O=Lab", "CN=ks+OU=x,O=Lab"],
        ),
        (DN, "CN=the  key  server", ["CN=the key server"], ["CN=thekeyserver"]),
        (DN, "CN=ks+OU=x,O=Lab", ["CN=ks+OU=x,O=Lab", "OU=x+CN=ks,O=Lab"], ["CN=ks,O=Lab"]),
        (KEY_ID, "gcks-1", ["gcks-1"], ["GCKS-1", "gcks-10"]),
        (KEY_ID, "0x00ff", ["0x00ff"], ["0x00ff00"]),
    ],
)
def test_whom_an_id_names(kind: IdentityKind, pattern: str, matching: list[str], others: list[str]) -> None:
    entry = PadId.parse(kind, pattern)
    assert [text for text in matching if not entry.matches(asserted(kind, text))] == []
    assert [text for text in others if entry.matches(asserted(kind, text))] == []
    assert str(entry) == f"{kind.value}:{pattern}"


def test_an_id_names_nobody_of_another_type() -> None:
    assert not PadId.parse(FQDN, "ks").matches(asserted(KEY_ID, "ks"))
    assert not PadId.parse(FQDN, ".example").matches(asserted(USER_FQDN, "ks.example"))
    assert not PadId.parse(IPV4, "0.0.0.0/0").matches(asserted(IPV6, "::1"))


def test_string_types_of_a_certificate_do_not_count() -> None:
    printable = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ks", _type=_ASN1Type.PrintableString)])
    assert PadId.parse(DN, "CN=ks").matches(Identity(DN, printable.public_bytes()))
    exactly = PadId.parse(DN, "0x" + printable.public_bytes().hex())
    assert exactly.matches(Identity(DN, printable.public_bytes()))
    assert not exactly.matches(asserted(DN, "CN=ks"))


def test_octets_that_are_no_name_match_none() -> None:
    assert not PadId.parse(DN, "*,O=Lab").matches(Identity(DN, b"\x30\x03\x31\x02"))


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param("300d310b3009060355040603024445", id="a country that is a BIT STRING"),
        pytest.param("300b3109300706035504060c00", id="a country of no letters"),
        pytest.param("300c310a30080603550406040144", id="a country that is an OCTET STRING"),
        pytest.param("3051314f304d06035504030c46" + "78" * 70, id="a common name of 70 letters"),
    ],
)
def test_a_name_that_the_library_does_not_like_matches_none_and_raises_nothing(octets: str) -> None:
    """A GCKS with a pre-shared key may assert any octets; warnings are errors in these tests."""
    for pattern in ("CN=ks", "*,O=Lab"):
        assert not PadId.parse(DN, pattern).matches(Identity(DN, bytes.fromhex(octets)))


def test_the_id_of_one_identity() -> None:
    for kind, text in ((FQDN, "ks.example"), (IPV6, "fd00::1"), (DN, "CN=ks"), (KEY_ID, "0x00ff")):
        identity = asserted(kind, text)
        assert PadId.of(identity).matches(identity)
        assert PadId.parse(kind, PadId.of(identity).text).matches(identity)


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        (IPV4, "fd00::1", "no ipv4 address"),
        (IPV4, "192.0.2.1/24", "host bits"),
        (IPV6, "ks", "no address"),
        (FQDN, "*.example", "write .example"),
        (USER_FQDN, "*@example", "write @example"),
        (FQDN, ".", "not empty"),
        (FQDN, "", "not empty"),
        (DN, "", "names nobody"),
        (DN, "*,", "names nobody"),
        (DN, "ks", "no distinguished name like"),
        (DN, "0xzz", "hexadecimal"),
    ],
)
def test_what_is_no_id(kind: IdentityKind, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        PadId.parse(kind, text)
