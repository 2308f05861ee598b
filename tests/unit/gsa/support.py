"""SAs that several tests begin with."""

from __future__ import annotations

from typing import Any

from netaddr import IPAddress

from agent.gsa.sa import RekeySA
from agent.secret import Secret


def rekey_sa(**more: Any) -> RekeySA:
    """A Rekey SA to 239.1.1.1 with AES and ECDSA; `more`: fields that differ."""
    fields: dict[str, Any] = {
        "spi": bytes(range(16)),
        "source": IPAddress("192.0.2.1"),
        "destination": IPAddress("239.1.1.1"),
        "source_port": 848,
        "destination_port": 848,
        "key_algorithm": "aes-cbc-128",
        "key": Secret(b"k" * 16),
        "iv": b"v" * 16,
        "signature_algorithm": "ecdsa-256",
        "signature_hash": None,
        "verify_key": b"",
    }
    return RekeySA(**(fields | more))
