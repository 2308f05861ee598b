"""The Phase 1 SAs of a member with one key server: the current one, and one before it that is still in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.clock import Entropy
from agent.errors import Unexpected
from agent.gdoi.engine import Outbox, digest_of
from agent.gdoi.events import MemberEvent, PhaseOneClosed
from agent.gdoi.failures import FailureCause
from agent.gdoi.initiator import Initiator
from agent.gdoi.isakmp.chain import Payload
from agent.gdoi.isakmp.constants import NotifyType
from agent.gdoi.isakmp.header import Header
from agent.gdoi.isakmp.informational import delete_phase_one, notify_of
from agent.gdoi.isakmp.natt import Path
from agent.gdoi.isakmp.phase1_state import PhaseOneSA
from agent.gdoi.session import Session
from agent.gdoi.settings import MemberSettings
from agent.gdoi.upkeep import Upkeep

__all__ = ["Ending", "Standing", "Standings"]


@dataclass(slots=True, eq=False)
class Standing:
    """A Phase 1 SA that stands.

    `farewell`: our last Phase 1 message where nothing answers it, as in Aggressive Mode: it is sent again with what
    follows, until the key server is heard, and each time `answered`, the digest of what it answers, comes again.
    """

    session: Session
    upkeep: Upkeep
    farewell: bytes | None = None
    answered: bytes = b""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a Phase 1 SA ends. `notify`, `text`: told to the key server; `cause`: set where it is a failure."""

    reason: str
    notify: int = 0
    text: str = ""
    cause: FailureCause | None = None


class Standings:
    """`current`: the SA that new exchanges begin on, None when there is none."""

    def __init__(self, settings: MemberSettings, entropy: Entropy, out: Outbox[MemberEvent]) -> None:
        self.current: Standing | None = None
        self._settings: Final = settings
        self._entropy: Final = entropy
        self._out: Final = out
        self._all: dict[bytes, Standing] = {}

    def __contains__(self, header: Header) -> bool:
        """Whether a message has the cookies of one."""
        return header.cookies in self._all

    def add(self, sa: PhaseOneSA, made_by: Initiator, answered: bytes, now: float) -> Standing:
        """Take an SA in; it is the current one. `answered`: digest of the message that completed it."""
        session = Session(sa, made_by.path, now, made_by.nat)
        standing = Standing(session, Upkeep(session, self._settings, self._entropy), made_by.farewell, answered)
        self.current = self._all[session.cookies] = standing
        return standing

    def of(self, header: Header, path: Path) -> Standing:
        """The SA that a protected message belongs to. Raises Unexpected."""
        standing = self._all.get(header.cookies)
        if standing is None or path.peer != standing.session.peer:
            raise Unexpected("no Phase 1 SA of those cookies", notify=NotifyType.INVALID_COOKIE)
        standing.session.require(header)
        return standing

    def hear(self, standing: Standing, now: float) -> None:
        """Note that an authenticated message came: the key server has the SA, too."""
        standing.session.heard = now
        standing.farewell = None

    def send(self, standing: Standing, message: bytes, now: float) -> None:
        """Send a message under an SA."""
        session = standing.session
        session.sent = now
        self._out.send(message, session.path, fragments=session.fragments and self._settings.fragmentation)

    def inform(self, standing: Standing, payloads: Sequence[Payload], now: float) -> None:
        """Send a protected Informational."""
        self.send(standing, standing.session.inform(payloads, self._entropy), now)

    def keep_alive(self, standing: Standing, now: float) -> None:
        """Send a NAT-keepalive."""
        standing.session.sent = now
        self._out.keep_alive(standing.session.path)

    def repeat_farewell(self, header: Header, message: bytes, now: float) -> None:
        """Aggressive Mode: the key server repeats message 2 when message 3 was lost."""
        standing = self._all[header.cookies]
        if standing.farewell is not None and digest_of(message) == standing.answered:
            self.send(standing, standing.farewell, now)

    def end(self, standing: Standing, ending: Ending, now: float, *, delete: bool = True) -> None:
        """Forget an SA; `delete`: tell the peer, with a Notify before the Delete.

        In one message, as two could change places on their way and the Notify be lost with its keys.
        """
        session = standing.session
        del self._all[session.cookies]
        if self.current is standing:
            self.current = None
        if delete:
            words = [notify_of(session.cookies, ending.notify, ending.text)] if ending.notify else []
            self.inform(standing, [*words, delete_phase_one(session.cookies)], now)
        session.channel.wipe()
        self._out.tell(PhaseOneClosed(session.peer, session.identity, ending.reason, ending.cause))
