from dataclasses import replace

import pytest
from netaddr import IPAddress

from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.rekey import LkhKey
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.unit.gsa.support import rekey_sa

GCM = Transform.parse("aes-gcm-16-128")
CBC = Transform.parse("aes-cbc-128+hmac-sha2-256")


def data_sa(transform: Transform = GCM) -> DataSA:
    return DataSA(
        protocol=SecurityProtocol.ESP,
        spi=Spi(0x1000),
        flow=Flow.parse("239.1.1.1"),
        mode=Mode.TRANSPORT,
        transform=transform,
        cipher_key=Secret(b"\x5a" * transform.cipher_key_octets),
        integrity_key=Secret(b"\xa5" * transform.integrity_key_octets),
    )


@pytest.mark.requirement("ESP-2.1-02")
@pytest.mark.parametrize("spi", [0, 1, 255, 2**32])
def test_reserved_spis_are_no_sas(spi: int) -> None:
    with pytest.raises(ValueError, match="reserved or out of range"):
        replace(data_sa(), spi=Spi(spi))
    assert replace(data_sa(), spi=Spi(256)).spi == 256


def test_keys_have_the_transforms_length() -> None:
    with pytest.raises(ValueError, match="cipher key of 20 octets, not 16"):
        replace(data_sa(), cipher_key=Secret(bytes(16)))
    with pytest.raises(ValueError, match="integrity key of 32 octets, not 20"):
        replace(data_sa(CBC), integrity_key=Secret(bytes(20)))


def test_ah_has_no_cipher_and_esp_has_one() -> None:
    with pytest.raises(ValueError, match="does not belong to ah"):
        replace(data_sa(), protocol=SecurityProtocol.AH)
    with pytest.raises(ValueError, match="does not belong to esp"):
        replace(data_sa(), transform=Transform.parse("hmac-sha2-256"))


REKEY = rekey_sa()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"key_algorithm": "aes-cbc-100"}, "none of aes-cbc-128"),
        ({"key_algorithm": "des-cbc"}, "none of aes-cbc-128"),
        ({"key_algorithm": "aes-cbc-256"}, "a key of 32 octets and an IV of 16, not 16 and 16"),
        ({"key_algorithm": "3des-cbc", "key": Secret(bytes(24))}, "a key of 24 octets and an IV of 8, not 24 and 16"),
        ({"signature_algorithm": "dss"}, "dss are none of rsa"),
        ({"signature_algorithm": "rsa"}, "rsa are none of rsa"),
        ({"signature_hash": "sha2-256"}, r"ecdsa-256\+sha2-256 are none of"),
        ({"lkh": (LkhKey(1, 1, b"v" * 16, Secret(b"x" * 16)),)}, "not the KEK"),
        ({"lkh": (LkhKey(1, 1, b"w" * 16, Secret(b"k" * 16)),)}, "not the KEK"),
    ],
)
def test_a_rekey_sa_is_made_of_what_there_is(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(REKEY, **changes)  # type: ignore[arg-type]  # a table of fields
    assert str(REKEY.signature) == "ecdsa-256"
    assert "kkk" not in repr(replace(REKEY, lkh=(LkhKey(1, 1, b"v" * 16, Secret(b"k" * 16)),)))


def test_an_sa_that_the_data_path_ended_expires_and_stays_part_of_the_gsa() -> None:
    first, second = data_sa(), replace(data_sa(), spi=Spi(0x1001), expires=500.0)
    whole = GroupSA(GroupId.of_number(1), Identity.parse(IdentityKind.FQDN, "ks"), (first, second), received=0.0)
    ended = whole.ended(IPAddress("239.1.1.1"), Spi(0x1001), SecurityProtocol.ESP, 42.0)
    assert ended.data == (first, replace(second, expires=42.0))
    assert whole.ended(IPAddress("239.1.1.2"), Spi(0x1001), SecurityProtocol.ESP, 42.0) == whole


def test_keys_do_not_show() -> None:
    text = repr(data_sa(CBC))
    assert "5a5a" not in text
    assert "\\x5a" not in text
    assert "ZZZZ" not in text
