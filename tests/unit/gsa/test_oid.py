import pytest

from agent.gsa.oid import OidSelector, decode_oid, encode_oid

GOOSE = "1.2.840.10070.61850.8.1.2"


@pytest.mark.requirement("IEC-2.1-01")
@pytest.mark.parametrize(
    ("text", "der"),
    [
        (GOOSE, "060b2a8648ce5683e31a080102"),
        ("0.0", "060100"),
        ("1.39", "06014f"),
        ("2.40", "06020178"[:4] + "8100"[:0] + "78"),
        ("2.999.128", "060488378100"),
        ("1.2.127", "06022a7f"),
    ],
)
def test_der_of_an_oid(text: str, der: str) -> None:
    der = {"2.40": "060178"}.get(text, der)
    assert encode_oid(text).hex() == der
    assert decode_oid(bytes.fromhex(der)) == text


@pytest.mark.parametrize("text", ["", "1", "3.1", "0.40", "1.2.", "1..2", "1.02", "1.2/0x00", "one.two", "1.2.-3"])
def test_what_is_no_oid(text: str) -> None:
    with pytest.raises(ValueError, match=r"no object identifier|39 at most"):
        encode_oid(text)


def test_an_oid_is_not_without_bounds() -> None:
    with pytest.raises(ValueError, match="127 at most"):
        encode_oid("1.2." + ".".join(["1"] * 127))
    assert decode_oid(encode_oid("1.2." + ".".join(["1"] * 126))).startswith("1.2.1")


@pytest.mark.parametrize("der", ["", "06", "0600", "05012a", "06022a", "06012a00", "0602802a", "06022a80", "0681012a"])
def test_what_is_no_der(der: str) -> None:
    with pytest.raises(ValueError, match="object identifier"):
        decode_oid(bytes.fromhex(der))


@pytest.mark.requirement("IEC-2.1-02")
@pytest.mark.parametrize(
    ("text", "octets"),
    [
        (GOOSE, "0d060b2a8648ce5683e31a0801020000"),
        (GOOSE + "/0x0404e9fc0001", "0d060b2a8648ce5683e31a08010200060404e9fc0001"),
    ],
)
def test_a_selector_goes_both_ways(text: str, octets: str) -> None:
    selector = OidSelector.parse(text)
    assert selector.octets.hex() == octets
    assert OidSelector.of_octets(bytes.fromhex(octets)) == selector
    assert str(selector) == text


@pytest.mark.parametrize("text", ["1", GOOSE + "/", GOOSE + "/0x", GOOSE + "/0x1", GOOSE + "/00"])
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(ValueError, match="no OID with an OID-specific payload"):
        OidSelector.parse(text)


def test_a_payload_that_its_length_cannot_say() -> None:
    with pytest.raises(ValueError, match="65535 at most"):
        OidSelector(GOOSE, bytes(65536))
    with pytest.raises(ValueError, match="lengths do not fit"):
        OidSelector.of_octets(bytes.fromhex("0d060b2a8648ce5683e31a08010200060404e9fc00"))
