from typing import Any

import pytest

from agent.gsa.identity import GroupId
from agent.gsa.sa import SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA, GsaUpdate

ESP, AH = SecurityProtocol.ESP, SecurityProtocol.AH


def update(**more: Any) -> GsaUpdate:
    return GsaUpdate(GroupId.of_number(1), 1, 0.0, **more)


@pytest.mark.requirement("GDOI-5.9-07")
@pytest.mark.parametrize(
    ("deleted", "gone"),
    [
        ((), set()),
        ((DeletedSA(ESP, Spi(256)),), {(ESP, 256)}),
        ((DeletedSA(ESP, EVERY_SPI),), {(ESP, 256), (ESP, 257)}),
        ((DeletedSA(None, EVERY_SPI),), {(None, 257)}),
        ((DeletedSA(AH, EVERY_SPI), DeletedSA(ESP, Spi(257))), {(AH, 256), (ESP, 257)}),
    ],
)
def test_a_delete_takes_the_sas_of_its_protocol_and_spi(
    deleted: tuple[DeletedSA, ...], gone: set[tuple[SecurityProtocol | None, int]]
) -> None:
    held = [(ESP, 256), (ESP, 257), (AH, 256), (None, 257)]
    assert {sa for sa in held if update(deleted=deleted).deletes(*sa)} == gone
    assert all(update(deleted=deleted, deletes_all_data=True).deletes(*sa) for sa in held)
