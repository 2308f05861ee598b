"""What a member's Phase 1 SA needs while it stands: keepalives, R-U-THERE, a successor, and its end."""

from __future__ import annotations

from enum import Enum
from typing import Final

from agent.clock import Entropy
from agent.gdoi.isakmp.chain import Chain
from agent.gdoi.isakmp.dpd import acknowledges, ask, first_number
from agent.gdoi.isakmp.payloads import Notification
from agent.gdoi.session import Session
from agent.gdoi.settings import Keeping, MemberSettings

__all__ = ["Due", "Upkeep", "margin_s"]

_MARGIN_S: Final = 30.0
"""An SA so close to its end, or past half of a shorter life, begins no GROUPKEY-PULL: it might outlast it."""
_RENEWAL_SHARE: Final = 0.1
"""Of its life before its end an SA that is kept gets its successor, at a chance moment of that time."""
_RENEWAL_RETRY_S: Final = 60.0
"""Seconds until a successor is tried for again."""


class Due(Enum):
    """What is due; the value completes the sentence "the Phase 1 SA was closed: ..." where it is an end."""

    KEEPALIVE = "a NAT-keepalive is due"
    ASK = "R-U-THERE is due"
    RENEWAL = "a successor is due"
    EXPIRED = "at its end"
    IDLE = "idle"
    DEAD = "the GCKS does not answer R-U-THERE"


def margin_s(session: Session) -> float:
    """Seconds before its end from which an SA begins nothing new."""
    return min(_MARGIN_S, session.sa.lifetime_s / 2)


class Upkeep:
    """The clock of one Phase 1 SA. `due` names what is due, one thing at a time; whoever asks does it and tells so."""

    def __init__(self, session: Session, settings: MemberSettings, entropy: Entropy) -> None:
        self._session: Final = session
        self._settings: Final = settings
        self._entropy: Final = entropy
        self._kept: Final = settings.keeping is Keeping.KEEP
        early_s = max(session.sa.lifetime_s * _RENEWAL_SHARE, margin_s(session))
        chance = int.from_bytes(entropy.octets(2)) / 0xFFFF
        self._renewal = session.expires - early_s * (0.5 + chance / 2)
        self._numbers: list[int] = []
        self._asked = session.since

    def deadline(self) -> float:
        """When something is due next."""
        return min(moment for moment, _ in self._moments())

    def due(self, now: float) -> Due | None:
        """What is due by now, the gravest first."""
        found = [due for moment, due in self._moments() if now >= moment]
        return found[0] if found else None

    def _moments(self) -> list[tuple[float, Due]]:
        session, settings = self._session, self._settings
        moments = [(session.expires, Due.EXPIRED)]
        if not self._kept:
            moments.append((session.used + settings.idle_s, Due.IDLE))
        if self._kept and session.answers_dpd and settings.dpd_idle_s is not None:
            moments.append(self._question(settings.dpd_idle_s))
        if self._kept:
            moments.append((self._renewal, Due.RENEWAL))
        if session.nat is not None and session.nat.ours:
            moments.append((session.sent + settings.keepalive_s, Due.KEEPALIVE))
        return moments

    def _question(self, idle_s: float) -> tuple[float, Due]:
        if not self._numbers:
            return self._session.heard + idle_s, Due.ASK
        retry = self._settings.retry
        following = self._asked + retry.pause_s(len(self._numbers))
        return following, Due.DEAD if len(self._numbers) > retry.retries else Due.ASK

    def question(self, now: float) -> Notification:
        """The R-U-THERE to send now, with a number of its own (RFC 3706 6.2); asked again until `hear` is told."""
        number = self._numbers[-1] + 1 if self._numbers else first_number(self._entropy)
        self._numbers.append(number)
        self._asked = now
        return ask(self._session.cookies, number)

    def hear(self, chain: Chain) -> None:
        """A protected message of the peer: any R-U-THERE-ACK of ours in it ends the asking."""
        if any(acknowledges(chain, self._session.cookies, number) for number in self._numbers):
            self._numbers.clear()

    def silence(self) -> None:
        """Ask no more: a GROUPKEY-PULL under way tells as well whether the peer lives."""
        self._numbers.clear()

    def renewing(self, now: float) -> None:
        """A successor is being made; it is tried for again later, should it fail."""
        self._renewal = now + _RENEWAL_RETRY_S
