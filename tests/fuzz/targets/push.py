"""Messages to a rekey group, from anyone, a member or its key server: only the last change what the GPAD lets them.

A step is a datagram as it is; a chain that a member seals, who has the KEK and no signing key; a chain that the key
server signs and seals; or time, an acknowledgement, another registration. Chains stand behind a SEQ of the next number:
a payload type and what follows, whose last Next Payload is SIG's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

from agent.gdoi.isakmp.constants import PayloadType
from agent.gdoi.isakmp.header import HEADER
from agent.gdoi.push import PushContent, build_push
from agent.gdoi.push_cipher import encrypted, padded_octets
from agent.gdoi.push_open import SIGNED_PREFIX, open_push
from agent.gdoi.push_signature import RekeySigner
from agent.gdoi.rekey_events import RekeyDropped, Rekeyed
from agent.gdoi.tolerances import Tolerances
from agent.gsa.gpad import GpadEntry, OidRule
from agent.gsa.rekey import Acknowledgement, LkhKey, LkhUpdate
from agent.gsa.rollover import rolled
from agent.gsa.sa import GroupSA, RekeySA, SecurityProtocol, Spi
from agent.gsa.update import EVERY_SPI, DeletedSA
from scripts.lib.fuzz.mutate import ISAKMP
from tests.fuzz.engines import at_rest, require_bounded
from tests.fuzz.steps import Step, built, steps
from tests.fuzz.targets.member import OID, WIDE
from tests.fuzz.targets.payloads import tells
from tests.unit.gdoi.pair import GCKS_NAME, GROUP, an_sa
from tests.unit.gdoi.rekeying import KEY_SERVER, MULTICAST, OWN, Listener, a_rekey, lkh_key, signer_of
from tests.unit.gdoi.test_iec61850 import HMAC

FORMS: Final = ISAKMP
WORDS: Final = (b"\x12\0\0\x08\0\0\0\1", b"\x0c\0\0\x10", b"\x80\1\0\1", b"\0\0\0\2\1\4\0\1", b"\x09\0\0\x08")
STANDARD: Final = Tolerances()
DATAGRAM, MEMBER, SERVER, TIME = range(4)
LONG_SEQUENCE: Final = 0x40
"""In a step's kind: the number of the body's first four octets."""


def _root(rekey: RekeySA, handle: int) -> LkhKey:
    return LkhKey(1, handle, rekey.iv, rekey.key)


@cache
def start() -> RekeySA:
    rekey = a_rekey(acknowledgement=Acknowledgement.LKH_SHA256)
    return replace(rekey, lkh=(lkh_key(9), lkh_key(5), _root(rekey, 1)))


@cache
def signer() -> RekeySigner:
    return signer_of(start().signature)


def entry() -> GpadEntry:
    return replace(WIDE.entries[0], selectors=(OidRule(OID), OidRule(HMAC.selector.oid)))


def _secret_octets() -> bytes:
    rekey = start()
    keys = [rekey.key, *(key.key for key in rekey.lkh), a_rekey("second").key, an_sa().cipher_key]
    return b"".join(key.reveal() for key in keys)


@dataclass
class Talk:
    """A member with a group, and the state of it that a forgery must not touch."""

    listener: Listener = field(default_factory=lambda: Listener(start()))
    held: GroupSA = field(default_factory=lambda: GroupSA(GROUP, GCKS_NAME, (an_sa(0x900),), 0.0, rekey=start()))
    now: float = 100.0
    sequence: int = 0

    def state(self) -> object:
        group = self.listener.engine._groups.get(GROUP)
        if group is None:
            return None
        return group.present, {spi: (held.last, held.until) for spi, held in group.held.items()}, dict(group.missed)

    def hear(self, datagram: bytes, *, authentic: bool) -> None:
        before = self.state()
        engine = self.listener.engine
        engine.receive(datagram, KEY_SERVER, MULTICAST, self.now)
        events = engine.events()
        require_bounded(engine.outgoing())
        assert events, "a datagram without a word"
        for event in events:
            assert not tells(f"{event!r}", _secret_octets()), "a key in an event"
            if isinstance(event, RekeyDropped):
                assert "\n" not in event.reason
            if isinstance(event, Rekeyed):
                self.take(event)
        if not authentic:
            assert all(isinstance(event, RekeyDropped) for event in events), "a forgery was taken"
            assert self.state() == before, "a forgery changed the state"

    def take(self, event: Rekeyed) -> None:
        update = event.update
        proposed = replace(self.held, data=update.data, rekey=update.rekey, iec61850=update.iec61850, received=self.now)
        assert entry().refusals(proposed) == ()
        assert update.rekey is None or not update.deletes_rekey
        self.held = rolled(self.held, update, self.now)

    def sealed(self, step: Step, *, signed: bool) -> bytes:
        rekey = start()
        self.sequence += 1
        number, body = self.sequence, step.body or b"\0"
        if step.kind & LONG_SEQUENCE:
            number, body = int.from_bytes(body[:4]), body[4:] or b"\0"
        clear = bytes([body[0]]) + b"\0\0\x08" + (number & 0xFFFFFFFF).to_bytes(4) + body[1:]
        octets = HEADER.size + padded_octets(rekey.key_algorithm, len(clear) + 4 + signer().octets)
        head = rekey.spi + bytes([PayloadType.SEQ, 0x10, 33, 1]) + bytes(4) + octets.to_bytes(4)
        signature = signer().sign(SIGNED_PREFIX + head + clear) if signed else bytes(signer().octets)
        tail = bytes([0, 0]) + (4 + len(signature)).to_bytes(2) + signature
        return head + encrypted(rekey.key_algorithm, rekey.key, rekey.iv, clear + tail)


def one_input(data: bytes) -> None:
    talk = Talk()
    talk.listener.watch(start(), entry=entry())
    for step in steps(data):
        match step.kind & 3:
            case 0:
                talk.hear(step.body, authentic=False)
            case 1:
                talk.hear(talk.sealed(step, signed=False), authentic=False)
            case 2:
                talk.hear(talk.sealed(step, signed=True), authentic=True)
            case _:
                talk.now += len(step.body)
                talk.listener.engine.acknowledge(GROUP, step.kind >> 2, talk.now)
                talk.listener.engine.fire(talk.now)
                if step.kind & 0x80:
                    group_sa = replace(talk.held, rekey=start())
                    talk.listener.engine.watch(group_sa, entry=entry(), address=OWN, now=talk.now)
    at_rest(talk.listener.engine, talk.now)


def chain_of(content: PushContent, tolerances: Tolerances | None = None) -> bytes:
    """What stands behind the SEQ, as a step has it."""
    datagram = build_push(start(), signer(), 1, content, now=0.0, tolerances=tolerances)
    frames = open_push(datagram, start(), STANDARD).frames
    clear = frames.octets[: frames[-1].offset]
    return clear[:1] + clear[8:]


def seeds() -> Iterator[tuple[str, bytes]]:
    second = a_rekey("second")
    esp, everything = DeletedSA(SecurityProtocol.ESP, Spi(0x900)), DeletedSA(None, EVERY_SPI)
    updates = (LkhUpdate(lkh_key(5), (_root(second, 2),)), LkhUpdate(lkh_key(6), (lkh_key(4, 2), _root(second, 2))))
    contents = {
        "tek": PushContent(data=(an_sa(),), activation_delay_s=3, deactivation_delay_s=9),
        "iec": PushContent(iec61850=(HMAC,)),
        "kek": PushContent(rekey=second),
        "lkh": PushContent(rekey=second, lkh_updates=updates),
        "excluded": PushContent(rekey=second, lkh_updates=updates[1:]),
        "deletes": PushContent((esp, everything), True),
        "all": PushContent((esp,), True, (an_sa(),), (HMAC,), second, updates, 1, 2),
    }
    chains = {name: chain_of(content) for name, content in contents.items()}
    for name, chain in chains.items():
        yield f"signed-{name}", built(Step(SERVER, chain), Step(SERVER, chain), Step(TIME | 4, b"12345678901"))
        yield f"forged-{name}", built(Step(MEMBER, chain), Step(SERVER, chain))
    datagram = build_push(start(), signer(), 1, contents["tek"], now=0.0)
    yield "stranger", built(Step(DATAGRAM, datagram[:28] + bytes(len(datagram) - 28)), Step(DATAGRAM, b""))
    long = Step(SERVER | LONG_SEQUENCE, b"\xff\xff\xff\xff" + chains["tek"])
    yield "numbers", built(long, Step(SERVER, chains["tek"]), Step(TIME | 0x80, b""), Step(SERVER, chains["kek"]))
