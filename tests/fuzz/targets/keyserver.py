"""A member with valid keys sends what it likes: the key server raises nothing, tells no key, stays bounded, ends.

A step is a message under the Phase 1 SA, its HASH right: GROUPKEY-PULL message 1 or 3, an Informational; or one in
clear, a fragment, one sent again, time that passes, another answer of the shell. Bodies are a payload type and a chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from netaddr import IPAddress

from agent.gdoi.events import KeyServerEvent, MemberRegistered, PullProven, PullRequested
from agent.gdoi.isakmp.chain import build_chain
from agent.gdoi.isakmp.constants import ExchangeType, HeaderFlags
from agent.gdoi.isakmp.fragment import split
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gdoi.isakmp.informational import delete_phase_one, notify_of
from agent.gdoi.offer import GroupOffer
from agent.gdoi.settings import KeyServerSettings, Refusal
from agent.wire.endpoint import Endpoint
from scripts.lib.fuzz.mutate import ISAKMP
from tests.fuzz.engines import COOKIES, at_rest, copied, keyed_sa, protected, quick_dh, require_bounded, require_quiet
from tests.fuzz.steps import Step, built, steps
from tests.unit.gdoi.pair import GCKS, GCKS_NAME, GM, GROUP, QUICK, Pair, pair

FORMS: Final = ISAKMP
WORDS: Final = (
    COOKIES,
    b"\x80\3\0\1",
    b"\x16\0\0\x08",
    b"\x0b\0\0\x0c",
    bytes.fromhex("0000000201108d28"),
    b"\0\0\4\xd2",
)
PULL, INFORMATIONAL = ExchangeType.GROUPKEY_PULL, ExchangeType.INFORMATIONAL
OTHER: Final = Endpoint(IPAddress("192.0.2.66"), 848)
FIRST_MESSAGE_ID: Final = 0x100
ANSWERS: Final = (
    GroupOffer((keyed_sa(),), sender_id_bits=8),
    Refusal.NOT_A_MEMBER,
    None,
    GroupOffer((keyed_sa(), keyed_sa(0xC0FFEE07))),
)
SIDS: Final = ((), (5,), (5, 6, 255))


@dataclass
class Talk:
    """The member's side. `asked`, `proven`: requests, so that none is delivered that was not proven."""

    one: Pair
    answer: int = 0
    latest: bytes = b""
    message_id: int = FIRST_MESSAGE_ID
    proven: set[int] = field(default_factory=set)
    cookies: bytes = b""

    def __post_init__(self) -> None:
        self.cookies = self.one.session.cookies

    def shell(self, event: KeyServerEvent) -> bool:
        """gckd's part, as a step chose it."""
        server, chosen = self.one.key_server, ANSWERS[self.answer & 3]
        if isinstance(event, PullRequested):
            if isinstance(chosen, GroupOffer):
                server.offer(event.request, chosen, self.one.now)
            elif chosen is not None:
                server.refuse(event.request, chosen, self.one.now)
        elif isinstance(event, PullProven):
            self.proven.add(event.request)
            assert 0 <= event.sids_wanted <= 0xFFFF
            if self.answer & 8:
                server.refuse(event.request, Refusal.NO_POLICY, self.one.now)
            elif not self.answer & 4:
                server.deliver(event.request, SIDS[self.answer >> 4 & 1], self.one.now)
        elif isinstance(event, MemberRegistered):
            assert event.request in self.proven, "keys for one that proved nothing"
        return True

    def send(self, datagram: bytes, source: Endpoint = GM) -> None:
        self.latest = datagram
        server = self.one.key_server
        server.receive(datagram, source, GCKS, self.one.now)
        while events := server.events():
            require_quiet(events)
            for event in events:
                self.shell(event)
        require_bounded(server.outgoing())

    def sealed(self, exchange: int, message_id: int, body: bytes) -> bytes | None:
        """A message of the member, None when the SA is gone."""
        members = list(self.one.key_server._members)
        if not members:
            return None
        body = body.replace(COOKIES, members[0].session.cookies)
        pull = members[0].pulls.get(message_id)
        carried = pull.exchange._carried if pull is not None else b""
        return protected(members[0].session.channel, exchange, message_id, carried, body[0] if body else 0, body[1:])


def request(talk: Talk, step: Step) -> None:
    talk.message_id += 1
    _send(talk, PULL, talk.message_id, step)


def proof(talk: Talk, step: Step) -> None:
    _send(talk, PULL, talk.message_id, step)


def informational(talk: Talk, step: Step) -> None:
    talk.message_id += 1
    _send(talk, INFORMATIONAL, talk.message_id, step)
    talk.message_id -= 1 if step.kind & 0x80 else 0


def _send(talk: Talk, exchange: int, message_id: int, step: Step) -> None:
    datagram = talk.sealed(exchange, message_id, step.body)
    if datagram is not None:
        talk.send(datagram, OTHER if step.kind & 0x40 else GM)


def fragmented(talk: Talk, step: Step) -> None:
    talk.message_id += 1
    datagram = talk.sealed(PULL, talk.message_id, step.body)
    for piece in split(datagram, 100) if datagram is not None else ():
        talk.send(piece)


def in_clear(talk: Talk, step: Step) -> None:
    cookies = talk.cookies
    exchange = (INFORMATIONAL, PULL, ExchangeType.IDENTITY_PROTECTION, ExchangeType.AGGRESSIVE)[step.kind >> 4 & 3]
    flags = HeaderFlags.ENCRYPTION if step.kind & 0x40 else HeaderFlags.NONE
    body = step.body.replace(COOKIES, talk.cookies) or b"\0"
    message_id = talk.message_id if step.kind & 0x80 else 0
    header = Header(cookies[:8], cookies[8:], body[0], exchange, flags, message_id, HEADER.size + len(body) - 1)
    talk.send(header.build() + body[1:])


def again(talk: Talk, step: Step) -> None:
    talk.send(talk.latest, OTHER if step.kind & 0x40 else GM)


def pass_time(talk: Talk, step: Step) -> None:
    talk.one.now += (0.5, 5.0, 700.0, 90_000.0)[step.kind >> 4 & 3]
    talk.one.key_server.fire(talk.one.now)
    require_bounded(talk.one.key_server.outgoing())


def answer_so(talk: Talk, step: Step) -> None:
    talk.answer = step.kind >> 3


ACTS: Final[tuple[Callable[[Talk, Step], None], ...]] = (
    *(request, proof, informational, again, pass_time, answer_so, in_clear, fragmented),
)


@cache
def after_phase1() -> Pair:
    """The two with a Phase 1 SA between them, after a GROUPKEY-PULL that was refused."""
    one = pair(limits=KeyServerSettings(GCKS_NAME, QUICK, natt_port=4500, aggressive=True))
    one.answers = {}
    one.member.register(GROUP, 0.0)
    one.run(0.5)
    return one


def one_input(data: bytes) -> None:
    with quick_dh():
        made = after_phase1()
        server = made.key_server
        one = copied(made, made.member, server._settings, server._admission._settings, server._admission._credentials)
        talk = Talk(one)
        for step in steps(data):
            ACTS[step.kind & 7](talk, step)
            assert len(one.key_server._requests) <= 64, "requests without bound"
        one.key_server.close(one.now)
        require_quiet(one.key_server.events())
        at_rest(one.key_server, one.now)


def seeds() -> Iterator[tuple[str, bytes]]:
    ask = bytes.fromhex("0a 05000014") + b"n" * 16 + bytes.fromhex("0000000c 0b000000 000004d2")
    sids = bytes.fromhex("16 00000008 80030002")
    yield "registration", built(Step(0, ask), Step(1, b"\0"))
    yield "with-sids", built(Step(0, ask), Step(1, sids), Step(3, b""))
    yield "late-answer", built(Step(5 | 4 << 3, b""), Step(0, ask), Step(1, sids), Step(4 | 0x20, b""))
    yield "refused", built(Step(5 | 1 << 3, b""), Step(0, ask), Step(1, sids))
    yield "no-sid", built(Step(5 | 8 << 3, b""), Step(0, ask), Step(1, sids), Step(1, sids))
    yield "many", built(*[Step(0, ask)] * 12)
    yield "fragments", built(Step(7, ask), Step(1, sids))
    said: tuple[Any, ...] = (notify_of(COOKIES, 14, "no"), delete_phase_one(COOKIES))
    for number, payload in enumerate(said):
        first, chain = build_chain([payload])
        yield f"informational-{number}", built(Step(2, bytes([first]) + chain), Step(0, ask))
        yield f"clear-{number}", built(Step(6, bytes([first]) + chain), Step(0x46, bytes([first]) + chain))
    alive = bytes.fromhex("0b 00000020 00000002 01 10 8d28") + COOKIES + b"\0\0\0\7"
    yield "dpd", built(Step(2, alive), Step(0x42, alive), Step(4, b""))
    oid = bytes.fromhex("0a 05000014") + b"n" * 16 + bytes.fromhex("00000017 0d000000 06072b0601040182370404e9fc0001")
    yield "oid", built(Step(0, oid), Step(1, b"\0"))
