import pytest

from agent.gsa.iec61850 import IEC_TRANSFORMS, Iec61850SA, IecAuthentication, IecConfidentiality, IecTransform
from agent.gsa.oid import OidSelector
from agent.secret import Secret

SELECTOR = OidSelector("1.2.840.10070.61850.8.1.2")


@pytest.mark.requirement("IEC-2.2.3-01", "IEC-2.2.3-02", "IEC-2.2.3-03", "IEC-3-01", "IEC-3-02")
def test_the_legal_pairs_and_their_names() -> None:
    assert [str(transform) for transform in IEC_TRANSFORMS] == [
        "none",
        "hmac-sha256-128",
        "hmac-sha256",
        "aes-gmac-128",
        "aes-gmac-256",
        *(
            f"aes-cbc-{bits}+{mac}"
            for bits in (128, 256)
            for mac in ("hmac-sha256-128", "hmac-sha256", "aes-gmac-128", "aes-gmac-256")
        ),
        "aes-gcm-128",
        "aes-gcm-256",
    ]
    assert [IecTransform.parse(str(transform)) for transform in IEC_TRANSFORMS] == list(IEC_TRANSFORMS)
    assert [str(transform) for transform in IEC_TRANSFORMS if not transform.authenticates] == ["none"]
    with pytest.raises(ValueError, match="is none of none, hmac-sha256-128"):
        IecTransform.parse("aes-cbc-128")
    with pytest.raises(ValueError, match="forbidden"):
        IecTransform(IecAuthentication.NONE, IecConfidentiality.AES_CBC_256)


@pytest.mark.requirement("IEC-2.3-03", "IEC-2.3-04")
@pytest.mark.parametrize(
    ("name", "confidentiality", "authentication", "counter_mode"),
    [
        ("none", 0, 0, False),
        ("hmac-sha256-128", 0, 32, False),
        ("hmac-sha256", 0, 32, False),
        ("aes-gmac-128", 0, 20, True),
        ("aes-gmac-256", 0, 36, True),
        ("aes-cbc-128+hmac-sha256", 16, 32, False),
        ("aes-cbc-256+aes-gmac-128", 32, 20, True),
        ("aes-gcm-128", 20, 0, True),
        ("aes-gcm-256", 36, 0, True),
    ],
)
def test_key_lengths_are_those_of_the_standard(
    name: str, confidentiality: int, authentication: int, counter_mode: bool
) -> None:
    transform = IecTransform.parse(name)
    assert (transform.confidentiality_key_octets, transform.authentication_key_octets) == (
        confidentiality,
        authentication,
    )
    assert transform.counter_mode is counter_mode
    sa = Iec61850SA(1, SELECTOR, transform, Secret(bytes(confidentiality)), Secret(bytes(authentication)))
    assert "\\x00" not in repr(sa)
    with pytest.raises(ValueError, match="takes a confidentiality key"):
        Iec61850SA(1, SELECTOR, transform, Secret(bytes(confidentiality + 1)), Secret(bytes(authentication)))
    with pytest.raises(ValueError, match="takes an authentication key"):
        Iec61850SA(1, SELECTOR, transform, Secret(bytes(confidentiality)), Secret(bytes(authentication + 1)))


@pytest.mark.requirement("IEC-2.2.4.2-01", "IEC-2.2.5-01")
def test_numbers_that_no_field_holds() -> None:
    none = IecTransform.parse("none")
    for spi in (0, 1 << 32):
        with pytest.raises(ValueError, match="out of range"):
            Iec61850SA(spi, SELECTOR, none, Secret(b""), Secret(b""))
    for percent in (-1, 101):
        with pytest.raises(ValueError, match="percent"):
            Iec61850SA(1, SELECTOR, none, Secret(b""), Secret(b""), key_delivery_assurance=percent)
