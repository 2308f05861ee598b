from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type

from agent.crypto.names import der_value, rdns_of, same_name

ORGANIZATION, COMMON = x509.NameOID.ORGANIZATION_NAME, x509.NameOID.COMMON_NAME


def named(*attributes: tuple[x509.ObjectIdentifier, str, _ASN1Type]) -> bytes:
    return x509.Name([x509.NameAttribute(oid, text, _type=type_) for oid, text, type_ in attributes]).public_bytes()


UTF8 = named((ORGANIZATION, "Lab of Köln", _ASN1Type.UTF8String), (COMMON, "GCKS one", _ASN1Type.UTF8String))


@pytest.mark.parametrize(
    "other",
    [
        named((ORGANIZATION, "Lab of Köln", _ASN1Type.BMPString), (COMMON, "gcks ONE", _ASN1Type.PrintableString)),
        named((ORGANIZATION, "  lab of   KÖLN ", _ASN1Type.UTF8String), (COMMON, "GCKS one", _ASN1Type.IA5String)),
        named((ORGANIZATION, "Lab of Köln", _ASN1Type.UniversalString), (COMMON, "GCKS one", _ASN1Type.T61String)),
    ],
)
def test_string_type_case_and_spaces_make_no_other_name(other: bytes) -> None:
    assert other != UTF8
    assert same_name(UTF8, other)


@pytest.mark.parametrize(
    "other",
    [
        named((COMMON, "GCKS one", _ASN1Type.UTF8String), (ORGANIZATION, "Lab of Köln", _ASN1Type.UTF8String)),
        named((ORGANIZATION, "Lab of Köln", _ASN1Type.UTF8String)),
        named((ORGANIZATION, "Lab of Köln", _ASN1Type.UTF8String), (COMMON, "GCKS on e", _ASN1Type.UTF8String)),
        named((COMMON, "Lab of Köln", _ASN1Type.UTF8String), (COMMON, "GCKS one", _ASN1Type.UTF8String)),
        x509.Name([]).public_bytes(),
        bytes.fromhex("300d310b3009040355040313024d47"),
        bytes.fromhex("3009310730050603550403"),
        b"",
        UTF8 + b"\0",
        UTF8[:-1],
        b"\x31" + UTF8[1:],
        bytes.fromhex("30073105300303c1c1c1"),
    ],
)
def test_other_names_and_what_is_none(other: bytes) -> None:
    assert not same_name(UTF8, other)
    assert not same_name(other, UTF8)


def test_a_value_of_no_string_type_is_compared_as_it_stands() -> None:
    integer = bytes.fromhex("300c310a300806035504030201" + "01")
    assert same_name(integer, integer)
    ((attribute,),) = rdns_of(integer)
    assert attribute == (bytes.fromhex("0603550403"), bytes.fromhex("020101"))


def test_a_relative_name_of_several_attributes_has_no_order() -> None:
    rdn = x509.RelativeDistinguishedName([x509.NameAttribute(COMMON, "a"), x509.NameAttribute(ORGANIZATION, "b")])
    assert len(rdns_of(x509.Name([rdn]).public_bytes())[0]) == 2


def test_text_that_is_not_of_its_type_is_no_name() -> None:
    with pytest.raises(ValueError, match="ascii"):
        rdns_of(named((COMMON, "gcks", _ASN1Type.PrintableString)).replace(b"gcks", b"gck\xff"))


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x81", b"\x30\x82\1", b"\x30\x02\0"])
def test_der_that_ends_too_early(der: bytes) -> None:
    with pytest.raises(ValueError, match="DER ends within a value"):
        der_value(der, 0)
