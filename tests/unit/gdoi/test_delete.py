"""agent.gdoi.delete: Delete payloads of a GROUPKEY-PUSH to what they mean and back."""

from __future__ import annotations

import pytest

from agent.errors import Malformed
from agent.gdoi.delete import ANY_REKEY_SPI, Deletions, deletes_of, deletions_of
from agent.gdoi.isakmp.payloads import Delete
from agent.gsa.sa import SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA

REKEY_SPI = bytes(range(16))
ESP_1, ESP_2 = (DeletedSA(SecurityProtocol.ESP, Spi(spi)) for spi in (0x101, 0x102))
AH_1, IEC_1 = DeletedSA(SecurityProtocol.AH, Spi(0x101)), DeletedSA(None, Spi(1))
EVERYTHING = tuple(DeletedSA(protocol, EVERY_SPI) for protocol in (SecurityProtocol.ESP, SecurityProtocol.AH, None))


@pytest.mark.requirement("GDOI-5.9-03", "GDOI-5.9-04", "GDOI-5.9-05")
def test_each_protocol_has_a_payload_of_its_own() -> None:
    payloads = deletes_of((ESP_1, AH_1, ESP_2, IEC_1), (REKEY_SPI,))
    assert [payload.build().hex() for payload in payloads] == [
        "00000002010400020000010100000102",
        "000000020204000100000101",
        "000000020304000100000001",
        "0000000200100001" + REKEY_SPI.hex(),
    ]
    assert deletions_of(payloads) == Deletions((ESP_1, ESP_2, AH_1, IEC_1), (REKEY_SPI,))


@pytest.mark.requirement("GDOI-5.9-06", "GDOI-5.9-07")
def test_a_clean_slate() -> None:
    payloads = deletes_of(EVERYTHING, (ANY_REKEY_SPI,))
    found = deletions_of(payloads)
    assert found.all_data
    assert found.rekey_spis == (ANY_REKEY_SPI,)
    assert not deletions_of(payloads[:2]).all_data
    assert not Deletions((ESP_1, AH_1, IEC_1)).all_data


def test_zero_for_the_rekey_sa_may_be_as_short_as_a_teks() -> None:
    assert deletions_of([Delete(2, 0, 4, (bytes(4),))]).rekey_spis == (ANY_REKEY_SPI,)


@pytest.mark.parametrize(
    "payload",
    [
        Delete(1, 1, 4, (bytes(4),)),
        Delete(2, 4, 4, (bytes(4),)),
        Delete(2, 1, 8, (bytes(8),)),
        Delete(2, 0, 4, (b"\0\0\0\1",)),
        Delete(2, 0, 8, (bytes(8),)),
    ],
    ids=["DOI", "protocol", "size of a TEK's SPI", "short SPI of a Rekey SA", "size of a Rekey SA's SPI"],
)
def test_what_is_no_delete_of_gdoi_is_refused(payload: Delete) -> None:
    with pytest.raises(Malformed):
        deletions_of([payload])


def test_nothing_deletes_nothing() -> None:
    assert deletes_of(()) == ()
    assert deletions_of([]) == Deletions()
