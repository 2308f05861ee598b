"""agent.wire.endpoint: addresses with ports."""

from __future__ import annotations

import pytest
from netaddr import IPAddress

from agent.wire.endpoint import Datagram, Endpoint


@pytest.mark.parametrize(("address", "text"), [("192.0.2.1", "192.0.2.1:848"), ("2001:db8::1", "[2001:db8::1]:848")])
def test_text_form(address: str, text: str) -> None:
    assert str(Endpoint(IPAddress(address), 848)) == text


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_16_bits(port: int) -> None:
    with pytest.raises(ValueError, match="is not in 0 to 65535"):
        Endpoint(IPAddress("192.0.2.1"), port)


def test_a_datagram_does_not_show_its_payload() -> None:
    here = Endpoint(IPAddress("192.0.2.1"), 848)
    assert "secret" not in repr(Datagram(b"secret", here, here))
