"""A whole registration between our two engines over loopback, kept as what was on the wire and in clear."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from netaddr import IPAddress

from agent.clock import SystemClock, SystemEntropy
from agent.crypto.ciphers import CBC_CIPHERS, CbcKey
from agent.crypto.ikev1 import phase2_iv
from agent.gdoi.contexts import PHASE_1, PULL
from agent.gdoi.events import Registered
from agent.gdoi.isakmp.chain import Chain, parse_chain
from agent.gdoi.isakmp.channel import ChannelKeys, decrypt_message
from agent.gdoi.isakmp.constants import Doi, ExchangeType, HeaderFlags
from agent.gdoi.isakmp.credentials import PeerKey, StaticCredentials
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.policy import Suite
from agent.gdoi.keyserver import KeyServerEngine
from agent.gdoi.member import MemberEngine
from agent.gdoi.offer import GroupOffer
from agent.gdoi.settings import Keeping, KeyServerSettings, MemberSettings
from agent.gdoi.tolerances import Tolerances
from agent.gsa.algorithms import TRANSFORMS
from agent.gsa.flow import Flow
from agent.gsa.gpad import Gpad, GpadEntry, OidRule
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.pad import PadId
from agent.secret import Secret
from agent.wire.endpoint import Datagram, Endpoint
from scripts.lib.interop.drive import Running

__all__ = ["Message", "Registration", "register"]

GCKS, MEMBER = IPAddress("127.0.0.1"), IPAddress("127.0.0.2")
"""Two addresses: with one for both ends tshark decrypts nothing."""
SUITE: Final = Suite.parse("aes-cbc-128/sha2-256/ecp-256")
_KEY: Final = Secret(b"of this run alone")
_PHASE_ONE: Final = (ExchangeType.IDENTITY_PROTECTION, ExchangeType.AGGRESSIVE)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as our codecs read it. `chain`: its payloads; None where it is protected by Phase 1's own IVs."""

    header: Header
    chain: Chain | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Registration:
    """What a registration left. `cipher_key`: Ka, by which all of it can be decrypted; of no use afterwards."""

    datagrams: tuple[Datagram, ...] = field(repr=False)
    keys: ChannelKeys = field(repr=False)
    cipher_key: bytes = field(repr=False)
    messages: tuple[Message, ...]

    @property
    def port(self) -> int:
        """The key server's UDP port."""
        return next(datagram.to.port for datagram in self.datagrams if datagram.to.address == GCKS)

    def pcap(self) -> bytes:
        """A capture of raw IPv4 packets, in which Phase 1 has DOI 1.

        Under DOI 2 tshark takes Phase 1 for another exchange and decrypts nothing; no key depends on it.
        """
        head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, _LINKTYPE_RAW)
        return head + b"".join(_packets(self.datagrams))


_LINKTYPE_RAW: Final = 101
_DOI_AT: Final = HEADER.size + 4
"""Where the DOI stands in a message that begins with an SA payload."""


def _packets(datagrams: Sequence[Datagram]) -> Iterator[bytes]:
    for number, datagram in enumerate(datagrams):
        payload = datagram.payload
        if Header.parse(payload).next_payload == 1 and payload[_DOI_AT : _DOI_AT + 4] == Doi.GDOI.to_bytes(4):
            payload = payload[:_DOI_AT] + Doi.IPSEC.to_bytes(4) + payload[_DOI_AT + 4 :]
        udp = struct.pack(">HHHH", datagram.source.port, datagram.to.port, 8 + len(payload), 0) + payload
        addresses = datagram.source.address.packed + datagram.to.address.packed
        packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0) + addresses + udp
        yield struct.pack("<IIII", 1, number, len(packet), len(packet)) + packet


def register(
    offer: GroupOffer, group: str, sids: Sequence[int] = (), tolerances: Tolerances | None = None
) -> Registration:
    """Register with that policy, over UDP. `tolerances`: of both ends. Raises TimeoutError when it fails."""
    return asyncio.run(_register(offer, GroupId.parse(group), sids, tolerances or Tolerances()))


async def _register(offer: GroupOffer, group: GroupId, sids: Sequence[int], tolerances: Tolerances) -> Registration:
    entropy, utc = SystemEntropy(), SystemClock().utc
    name = Identity.parse(IdentityKind.IPV4, str(GCKS))
    settings = KeyServerSettings(name, (SUITE,), tolerances=tolerances)
    gcks = KeyServerEngine(settings, StaticCredentials({MEMBER: PeerKey(_KEY)}), entropy, utc)
    async with Running(gcks, None, (Endpoint(GCKS, 0),), offer, sids) as server:
        key_server = server.bound[0]
        own = Identity.parse(IdentityKind.IPV4, str(MEMBER))
        member_settings = MemberSettings(
            key_server, Endpoint(MEMBER, 0), own, (SUITE,), keeping=Keeping.KEEP, dpd_idle_s=None
        )
        credentials = StaticCredentials({GCKS: PeerKey(_KEY)})
        engine = MemberEngine(member_settings, credentials, _gpad(name, group, offer), entropy, utc)
        async with Running(engine, None, (Endpoint(MEMBER, 0),)) as member:
            member.register(sids=len(sids), group=group)
            await member.saw(Registered)
            standing = engine._standings.current  # the only place where this key is: no engine hands it out
            if standing is None:
                raise TimeoutError("the Phase 1 SA did not stay")
            keys = standing.session.channel._keys
            cipher_key = keys.key.reveal()
            datagrams = tuple(server.wire)
            return Registration(datagrams, keys, cipher_key, tuple(_messages(datagrams, keys)))


def _gpad(gcks: Identity, group: GroupId, offer: GroupOffer) -> Gpad:
    """All may be: what is compared here is how it is written."""
    flows = (Flow.parse("0.0.0.0/0"), Flow.parse("::/0"))
    selectors = tuple(OidRule(sa.selector.oid) for sa in offer.iec61850)
    transforms = frozenset(TRANSFORMS)
    entry = GpadEntry("all", (PadId.of(gcks),), frozenset({group}), flows, transforms, selectors=selectors)
    return Gpad((entry,))


def _messages(datagrams: Sequence[Datagram], keys: ChannelKeys) -> Iterator[Message]:
    block = CBC_CIPHERS[keys.cipher].block_octets
    ivs: dict[int, bytes] = {}
    for datagram in datagrams:
        header = Header.parse(datagram.payload)
        if not header.flags & HeaderFlags.ENCRYPTION:
            yield Message(header, parse_chain(header.next_payload, datagram.payload[HEADER.size :], PHASE_1))
        elif header.exchange in _PHASE_ONE:
            yield Message(header, None)
        else:
            iv = ivs.get(header.message_id) or phase2_iv(keys.hash, keys.last_block, header.message_id, block)
            plain = decrypt_message(datagram.payload, CbcKey(keys.cipher, keys.key), iv)
            ivs[header.message_id] = datagram.payload[-block:]
            yield Message(header, parse_chain(header.next_payload, plain, PULL, block_octets=block))
