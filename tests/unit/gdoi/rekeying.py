"""A key server that pushes and a member that listens, without shells: what tests of GROUPKEY-PUSH begin with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from netaddr import IPAddress

from agent.gdoi.isakmp.chain import build_frames
from agent.gdoi.isakmp.constants import PayloadType
from agent.gdoi.push import PushContent, build_push
from agent.gdoi.push_cipher import encrypted
from agent.gdoi.push_open import SIGNED_PREFIX, open_push
from agent.gdoi.push_signature import RekeySigner
from agent.gdoi.rekey_events import Rekeyed, RekeyEvent
from agent.gdoi.rekey_member import RekeyMember
from agent.gdoi.tolerances import Tolerances
from agent.gsa.gpad import GpadEntry
from agent.gsa.rekey import KEK_CIPHERS, REKEY_SIGNATURES, LkhKey, RekeySignature
from agent.gsa.sa import DataSA, GroupSA, RekeySA
from agent.gsa.update import GsaUpdate
from agent.secret import Secret
from agent.wire.endpoint import Endpoint
from tests.unit.gdoi.pair import GCKS_NAME, GROUP, Counted, gpad
from tests.unit.gsa.support import rekey_sa

KEY_SERVER = Endpoint(IPAddress("192.0.2.1"), 848)
MULTICAST = Endpoint(IPAddress("239.1.1.1"), 848)
OWN = IPAddress("192.0.2.10")
ENTRY: GpadEntry = gpad().entries[0]
E = TypeVar("E", bound=RekeyEvent)


@cache
def signing_key(algorithm: str, seed: int) -> Secret:
    curves: dict[str, ec.EllipticCurve] = {
        "ecdsa-256": ec.SECP256R1(),
        "ecdsa-384": ec.SECP384R1(),
        "ecdsa-521": ec.SECP521R1(),
    }
    pair: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if algorithm == "rsa":
        pair = rsa.generate_private_key(65537, 2048)
    else:
        pair = ec.derive_private_key(seed, curves[algorithm])
    return Secret(pair.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def verify_key(pair: Secret) -> bytes:
    public = load_der_private_key(pair.reveal(), None).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def octets(seed: str, count: int) -> bytes:
    return hashlib.shake_256(seed.encode()).digest(count)


def a_rekey(seed: str = "first", signature: str = "ecdsa-256", cipher: str = "aes-cbc-128", **more: Any) -> RekeySA:
    """A Rekey SA whose SPI, key and IV follow from `seed`."""
    facts, named = KEK_CIPHERS[cipher], REKEY_SIGNATURES[signature]
    fields: dict[str, Any] = {
        "spi": octets(f"{seed} spi", 16),
        "key_algorithm": cipher,
        "key": Secret(octets(f"{seed} key", facts.key_octets)),
        "iv": octets(f"{seed} iv", facts.block_octets),
        "signature_algorithm": named.algorithm,
        "signature_hash": named.hash,
        "verify_key": verify_key(signing_key(named.algorithm, 7)),
        "expires": 10_000.0,
    }
    return rekey_sa(**(fields | more))


def lkh_key(node: int, handle: int = 1, seed: str = "") -> LkhKey:
    material = octets(f"{seed} node {node} handle {handle}", 32)
    return LkhKey(node, handle, material[:16], Secret(material[16:]))


def signer_of(signature: RekeySignature, seed: int = 7) -> RekeySigner:
    return RekeySigner(signing_key(signature.algorithm, seed), signature)


class KeyServer:
    """Numbers its messages under each Rekey SA; `push` with a new Rekey SA goes over to that one."""

    def __init__(self, rekey: RekeySA | None = None, tolerances: Tolerances | None = None) -> None:
        self.rekey = rekey or a_rekey()
        self.sequence = self.rekey.sequence
        self.tolerances = tolerances

    def push(self, content: PushContent, now: float = 100.0, *, follow: bool = True) -> bytes:
        self.sequence += 1
        signer = signer_of(self.rekey.signature)
        datagram = build_push(self.rekey, signer, self.sequence, content, now=now, tolerances=self.tolerances)
        if follow and content.rekey is not None:
            self.rekey, self.sequence = content.rekey, 0
        return datagram


class Listener:
    """A member's engine with one group watched."""

    def __init__(self, rekey: RekeySA | None, *, address: IPAddress | None = OWN, **settings: Any) -> None:
        self.engine = RekeyMember(Counted("rekeys"), **settings)
        self.watch(rekey, address=address)

    def watch(
        self,
        rekey: RekeySA | None,
        *,
        data: Sequence[DataSA] = (),
        address: IPAddress | None = OWN,
        entry: GpadEntry = ENTRY,
        now: float = 0.0,
    ) -> None:
        group_sa = GroupSA(GROUP, GCKS_NAME, tuple(data), now, rekey=rekey)
        self.engine.watch(group_sa, entry=entry, address=address, now=now)

    def hear(
        self, *datagrams: bytes, now: float = 100.0, peer: Endpoint = KEY_SERVER, local: Endpoint = MULTICAST
    ) -> list[RekeyEvent]:
        for datagram in datagrams:
            self.engine.receive(datagram, peer, local, now)
        return self.engine.events()

    def rekeyed(self, datagram: bytes, now: float = 100.0, **where: Endpoint) -> GsaUpdate:
        """What a message that is taken says."""
        (event,) = self.hear(datagram, now=now, **where)
        assert isinstance(event, Rekeyed), event
        return event.update


def resealed(
    datagram: bytes,
    rekey: RekeySA,
    changed: Callable[[bytes], bytes],
    *,
    seed: int | None = None,
    header: Callable[[bytes], bytes] = bytes,
) -> bytes:
    """A message as one who has the KEK may write it: its clear payloads changed, encrypted again.

    `changed`: from clear octets before SIG to others; `seed`: of the key that signs, None to keep the signature.
    """
    opened = open_push(datagram, rekey, Tolerances())
    clear = changed(opened.frames.octets[: opened.frames[-1].offset])
    signer = signer_of(rekey.signature, 7 if seed is None else seed)
    body = len(clear) + 4 + signer.octets
    body += -body % KEK_CIPHERS[rekey.key_algorithm].block_octets
    head = header(datagram[:24] + (28 + body).to_bytes(4))
    signature = opened.signature if seed is None else signer.sign(SIGNED_PREFIX + head + clear)
    sealed = encrypted(rekey.key_algorithm, rekey.key, rekey.iv, clear + build_frames([(PayloadType.SIG, signature)]))
    return head + sealed


def only(events: Sequence[RekeyEvent], kind: type[E]) -> E:
    """The only event, which is of that kind."""
    (event,) = events
    assert isinstance(event, kind), event
    return event
