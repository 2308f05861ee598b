"""A key server with valid keys sends what it likes: the member raises nothing, takes only what its GPAD permits, ends.

A step is a message under the Phase 1 SA, its HASH right: GROUPKEY-PULL message 2 or 4, an Informational; or one in
clear, a fragment, one sent again, time that passes. Bodies are a payload type and a chain.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from agent.gdoi.events import PullRequested, Registered, RegistrationFailed
from agent.gdoi.isakmp.chain import Payload, build_chain
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags, NotifyType
from agent.gdoi.isakmp.fragment import split
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.informational import delete_phase_one, notify_of
from agent.gdoi.isakmp.payloads import Nonce
from agent.gdoi.offer import GroupOffer
from agent.gdoi.settings import Keeping
from agent.gdoi.tolerances import Tolerances
from agent.gdoi.translate import kd_of, sa_of
from agent.gsa.algorithms import TRANSFORMS
from agent.gsa.flow import Flow
from agent.gsa.gpad import Gpad, GpadEntry, OidRule
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.pad import PadId
from agent.gsa.role import Role
from agent.gsa.sa import GroupSA
from scripts.lib.fuzz.mutate import ISAKMP
from tests.fuzz.engines import COOKIES, at_rest, copied, keyed_sa, protected, quick_dh, require_bounded, require_quiet
from tests.fuzz.steps import Step, built, steps
from tests.unit.gdoi.pair import GCKS, GCKS_NAME, GM, GROUP, OTHER_GROUP, Pair, pair
from tests.vectors.pull_offers import OFFERS

FORMS: Final = ISAKMP
WORDS: Final = (COOKIES, b"\x80\1\0\1", b"\0\2\0\4\0\0\x0e\x10", b"\x10\0", b"\x16\0\0\x08", b"\x12\0\0\x08\0\0\0\1")
PULL, INFORMATIONAL = ExchangeType.GROUPKEY_PULL, ExchangeType.INFORMATIONAL
OID: Final = "1.2.840.10070.61850.8.1.2"
"""A GPAD entry that lets nearly everything pass, so that what lies behind it is reached."""
WIDE: Final = Gpad(
    (
        GpadEntry(
            name="wide",
            identities=(PadId.of(GCKS_NAME),),
            groups=frozenset({GROUP, OTHER_GROUP}),
            flows=(Flow.parse("0.0.0.0/0"), Flow.parse("::/0")),
            transforms=frozenset(TRANSFORMS),
            selectors=(OidRule(OID),),
        ),
    )
)
GSPD: Final = Gspd([GroupPolicy(GROUP, Role.BOTH, (Flow.parse("239.1.1.1"),), ())])


@dataclass
class Talk:
    """The key server's side."""

    one: Pair
    cookies: bytes
    latest: bytes = b""
    message_id: int = 0x100

    def send(self, datagram: bytes) -> None:
        self.latest = datagram
        member = self.one.member
        member.receive(datagram, GCKS, GM, self.one.now)
        self.settle()

    def settle(self) -> None:
        events = self.one.member.events()
        require_quiet(events)
        for event in events:
            if isinstance(event, Registered):
                require_permitted(event.group_sa)
            elif isinstance(event, RegistrationFailed):
                assert event.text
        require_bounded(self.one.member.outgoing())

    def sealed(self, exchange: int, step: Step) -> bytes | None:
        """A message of the key server, None when the SA is gone."""
        standing, pull = self.one.member._standings.current, self.one.member._pull
        if standing is None or (exchange == PULL and pull is None):
            return None
        body = step.body.replace(COOKIES, self.cookies) or b"\0"
        carried, message_id = b"", self.message_id
        if exchange == PULL and pull is not None:
            carried, message_id = pull._exchange._carried, pull._message_id
            # HASH(2) is over Nr and SA behind Ni; HASH(4) over both nonces.
        datagram = protected(standing.session.channel, exchange, message_id, carried, body[0], body[1:])
        commit = HeaderFlags.COMMIT if step.kind & 0x80 else 0
        return datagram[:19] + bytes([datagram[19] | commit]) + datagram[20:]


def require_permitted(group_sa: GroupSA) -> None:
    """What was taken is what the GPAD permits, and becomes databases without fault."""
    entry = WIDE.lookup(GCKS_NAME)
    assert entry is not None
    assert entry.refusals(group_sa) == ()
    assert all(len(sa.cipher_key) == sa.transform.cipher_key_octets for sa in group_sa.data)
    GSPD.desired({GROUP: group_sa}, 0.0)


def pull(talk: Talk, step: Step) -> None:
    datagram = talk.sealed(PULL, step)
    if datagram is not None:
        talk.send(datagram)


def informational(talk: Talk, step: Step) -> None:
    talk.message_id += 0 if step.kind & 0x40 else 1
    datagram = talk.sealed(INFORMATIONAL, step)
    if datagram is not None:
        talk.send(datagram)


def fragmented(talk: Talk, step: Step) -> None:
    datagram = talk.sealed(PULL, step)
    for piece in split(datagram, 100) if datagram is not None else ():
        talk.send(piece)


def in_clear(talk: Talk, step: Step) -> None:
    exchange = (INFORMATIONAL, PULL, ExchangeType.IDENTITY_PROTECTION, ExchangeType.AGGRESSIVE)[step.kind >> 4 & 3]
    flags = HeaderFlags.ENCRYPTION if step.kind & 0x40 else HeaderFlags.NONE
    body = step.body.replace(COOKIES, talk.cookies) or b"\0"
    cookies, message_id = talk.cookies, talk.message_id if step.kind & 0x80 else 0
    header = Header(cookies[:8], cookies[8:], body[0], exchange, flags, message_id, HEADER.size + len(body) - 1)
    talk.send(header.build() + body[1:])


def again(talk: Talk, step: Step) -> None:
    talk.send(talk.latest)


def pass_time(talk: Talk, step: Step) -> None:
    talk.one.now += (0.5, 5.0, 700.0, 90_000.0)[step.kind >> 4 & 3]
    talk.one.member.fire(talk.one.now)
    talk.settle()


def ask_more(talk: Talk, step: Step) -> None:
    talk.one.member.register(OTHER_GROUP if step.kind & 8 else GROUP, talk.one.now, sids_wanted=step.kind >> 4)
    talk.settle()


ACTS: Final[tuple[Callable[[Talk, Step], None], ...]] = (
    *(pull, pull, informational, again, pass_time, ask_more, in_clear, fragmented),
)


@cache
def after_phase1(options: int) -> Pair:
    """The two with a Phase 1 SA between them, and a GROUPKEY-PULL begun."""
    tolerances = Tolerances(ignore_private_attributes=bool(options & 1), rfc3547=bool(options & 2))
    keeping = (Keeping.IDLE, Keeping.DROP, Keeping.KEEP, Keeping.IDLE)[options >> 2 & 3]
    one = pair(allowed=WIDE, tolerances=tolerances, keeping=keeping)
    one.shell = lambda event: isinstance(event, PullRequested)  # answered by the steps
    one.member.register(GROUP, 0.0, sids_wanted=options >> 4)
    one.run(0.5)
    return one


def one_input(data: bytes) -> None:
    with quick_dh():
        made = after_phase1(data[0] & 0x1F if data else 0)
        one = copied(made, made.key_server, made.member._settings, made.member._gpad, made.member._credentials)
        talk = Talk(one, one.session.cookies)
        for step in steps(data[1:]):
            ACTS[step.kind & 7](talk, step)
        one.member.close(one.now)
        talk.settle()
        at_rest(one.member, one.now)


def body_of(*payloads: Payload) -> bytes:
    """A body of those payloads."""
    first, chain = build_chain(list(payloads))
    return bytes([first]) + chain


def seeds() -> Iterator[tuple[str, bytes]]:
    offers = {
        "one": GroupOffer((keyed_sa(),)),
        "delays": GroupOffer((keyed_sa(), keyed_sa(0xC0FFEE07)), activation_delay_s=3, sender_id_bits=8),
        **OFFERS,
    }
    for name, offer in offers.items():
        seq, kd = kd_of(offer, (5, 6) if offer.sender_id_bits else ())
        keys = body_of(*([seq] if seq is not None else []), kd)
        policy = body_of(Nonce(b"r" * 16), sa_of(offer, 0.0))
        name = name.replace(" ", "-").replace(",", "").replace(".", "")
        yield name, b"\0" + built(Step(0, policy), Step(0, keys))
    vectors = Path(__file__).parents[2] / "vectors/gdoi-pull.toml"
    for number, vector in enumerate(tomllib.loads(vectors.read_text())["vector"]):
        messages = [bytes.fromhex(message) for message in vector["messages"]]
        said = [message[:1] + message[36:] for message in (messages[1], messages[3])]
        yield f"recorded-{number}", bytes([16 + number % 4 * 4]) + built(*(Step(0, body) for body in said))
    no = body_of(notify_of(COOKIES, NotifyType.INVALID_ID_INFORMATION, "no such group"))
    gone = body_of(delete_phase_one(COOKIES))
    alive = bytes.fromhex("0b 00000020 00000002 01 10 8d28") + COOKIES + b"\0\0\0\7"
    for number, body in enumerate((no, gone, alive)):
        yield f"informational-{number}", b"\0" + built(Step(2, body), Step(5, b""), Step(4, b""), Step(6, body))
    commit = body_of(notify_of(COOKIES, NotifyType.CONNECTED, ""))
    seq, kd = kd_of(offers["one"])
    policy, keys = body_of(Nonce(b"r" * 16), sa_of(offers["one"], 0.0)), body_of(kd)
    yield "commit", b"\0" + built(Step(0, policy), Step(0x80, keys), Step(2, commit))
    yield "commit-late", b"\4" + built(Step(0, policy), Step(0x80, keys), Step(0x14, b""), Step(0x14, b""))
    yield "fragments", b"\x08" + built(Step(7, policy), Step(7, keys), Step(3, b""), Step(0x24, b""), Step(0x34, b""))
