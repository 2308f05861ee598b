"""agent.gdoi.offer: what an offer holds."""

from __future__ import annotations

import dataclasses

import pytest

from agent.gdoi.offer import GroupOffer
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.iec61850 import Iec61850SA, IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.sa import DataSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret

SA = DataSA(
    SecurityProtocol.ESP,
    Spi(256),
    Flow.parse("239.1.1.1"),
    Mode.TUNNEL,
    Transform.parse("aes-gcm-16-128"),
    Secret(b"kkkkkkkkkkkkkkkkkkkk"),
    Secret(b""),
)


OTHER_FLOW = dataclasses.replace(SA, flow=Flow.parse("239.1.1.2"))
IEC = Iec61850SA(1, OidSelector("1.2.3"), IecTransform.parse("hmac-sha256"), Secret(b""), Secret(b"k" * 32))


def test_an_offer_shows_no_key() -> None:
    assert "kkkk" not in repr(GroupOffer((SA, OTHER_FLOW), iec61850=(IEC,)))
    assert GroupOffer((), iec61850=(IEC,)).data == ()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": ()}, "at least one"),
        ({"data": (SA, dataclasses.replace(SA, mode=Mode.TRANSPORT))}, "one SPI"),
        ({"data": (SA, SA, SA)}, "one SPI"),
        ({"data": (SA, OTHER_FLOW, dataclasses.replace(OTHER_FLOW, cipher_key=Secret(bytes(20))))}, "one SPI"),
        ({"iec61850": (IEC, IEC)}, "one SPI"),
        ({"iec61850": (dataclasses.replace(IEC, spi=256),)}, "one SPI"),
        ({"activation_delay_s": 65536}, "does not fit 16 bits"),
        ({"deactivation_delay_s": -1}, "does not fit 16 bits"),
        ({"sender_id_bits": 33}, "SIDs of 33 bits"),
    ],
)
def test_what_no_message_could_carry_is_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(GroupOffer((SA,)), **changes)  # type: ignore[arg-type]  # a table of fields
