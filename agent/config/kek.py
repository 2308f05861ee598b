"""The Rekey SA of a group in gckd.toml: its KEK, how GROUPKEY-PUSH goes out, its key hierarchy (RFC 6407 4, 5.3)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from agent.config.gpad import KekCipherName, RekeySignatureName
from agent.config.types import Address, GroupAddress, Port, Seconds, SecretKeyFile, Span, Table, named
from agent.gsa.rekey import Acknowledgement

__all__ = ["LEAST_ACK_WAIT_S", "KekTable", "LkhTable"]

LEAST_ACK_WAIT_S = 10.0
"""No acknowledgement should count as missing before (RFC 8263 6)."""


class LkhTable(Table):
    """The Logical Key Hierarchy of a group (RFC 2627 5.4); there is one exactly if this table is there.

    `degree`: children of a node. `backward_secrecy`: whoever joins gets keys that were never used before.
    `batch_s`: evictions and joins within that time share one rekey; 0 for one each.
    """

    degree: Annotated[int, Field(strict=True, ge=2, le=8)] = 2
    backward_secrecy: Annotated[bool, Field(strict=True)] = False
    batch_s: Annotated[Span, Field(le=3600)] = 0.0


class KekTable(Table):
    """The Rekey SA of a group (RFC 6407 5.3): members get it with a registration, and GROUPKEY-PUSH goes under it.

    `cipher`, `signature`: by name; `signature_key`: the pair to sign with (PEM), made by gckd when left out.
    `lifetime_s`: of each KEK; `source`, `destination`, `port`: of GROUPKEY-PUSH datagrams; `acknowledgement`: the one
    that members are asked for (RFC 8263), none when left out.
    `transport`: to a multicast `destination`, with `ttl` and out of `interface`, or unicast to each member.
    `copies`, `copy_pause_s`, `copies_sequence`: how often each goes out, with which pause, and whether a copy has a
    sequence number of its own or is the same datagram. `ack_wait_s`: after which an acknowledgement is missing.
    `largest_octets`: a longer GROUPKEY-PUSH is split. `lkh`: the key hierarchy.
    """

    cipher: KekCipherName = "aes-cbc-256"
    signature: RekeySignatureName = "ecdsa-256"
    signature_key: SecretKeyFile | None = None
    lifetime_s: Annotated[Seconds, Field(ge=16)] = 86_400
    source: Address
    destination: GroupAddress | None = None
    port: Port = 848
    acknowledgement: Annotated[Acknowledgement, named(Acknowledgement)] | None = None
    transport: Literal["multicast", "unicast"] = "multicast"
    ttl: Annotated[int, Field(strict=True, ge=1, le=255)] = 64
    interface: Annotated[str, Field(strict=True, min_length=1, max_length=15)] | None = None
    copies: Annotated[int, Field(strict=True, ge=1, le=10)] = 3
    copy_pause_s: Annotated[Span, Field(ge=0.05, le=600)] = 2.0
    copies_sequence: Literal["new", "same"] = "new"
    ack_wait_s: Annotated[Span, Field(ge=1, le=600)] = LEAST_ACK_WAIT_S
    largest_octets: Annotated[int, Field(strict=True, ge=1200, le=65_000)] = 1400
    lkh: LkhTable | None = None

    @property
    def copies_last_s(self) -> float:
        """From the first copy of a rekey to its last."""
        return (self.copies - 1) * self.copy_pause_s

    @model_validator(mode="after")
    def _agrees(self) -> KekTable:
        if self.transport == "unicast":
            given = [key for key in ("destination", "ttl", "interface") if key in self.model_fields_set]
            if given:
                raise ValueError(f'{", ".join(given)}: for transport = "multicast" alone, leave it out')
        elif self.destination is None:
            raise ValueError('destination: a multicast address, or transport = "unicast"')
        elif self.source.version != self.destination.version:
            raise ValueError(f"source {self.source} and destination {self.destination} differ in family")
        if self.acknowledgement in _OF_A_LEAF and self.lkh is None:
            raise ValueError(
                f"acknowledgement {self.acknowledgement.value}: its key is a member's leaf of the key hierarchy, so it "
                "takes a table [groups.kek.lkh]; kek-sha2-256 and kek-sha2-512 do without"
            )
        return self


_OF_A_LEAF = (Acknowledgement.LKH_SHA256, Acknowledgement.LKH_SHA512)
