"""A Phase 1 under way at a member: sent again when unanswered, moved to port 4500 on a NAT, its troubles remembered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from agent.clock import Entropy
from agent.errors import LocalError, NotAuthorized, PeerError, Unexpected
from agent.gdoi.engine import Outbox, digest_of
from agent.gdoi.events import MemberEvent, PeerSaid
from agent.gdoi.failures import FailureCause, Side, explain, phase_one_cause, sealed_cause
from agent.gdoi.isakmp.chain import parse_chain
from agent.gdoi.isakmp.constants import ExchangeType
from agent.gdoi.isakmp.credentials import Credentials
from agent.gdoi.isakmp.header import HEADER, NO_COOKIE, Header
from agent.gdoi.isakmp.informational import clear_notify, said
from agent.gdoi.isakmp.natt import Nat, Path
from agent.gdoi.isakmp.payloads import INFORMATIONAL
from agent.gdoi.isakmp.phase1_modes import MODES
from agent.gdoi.isakmp.phase1_state import PhaseOneSA
from agent.gdoi.isakmp.vendor import Capability
from agent.gdoi.retransmit import Retransmission
from agent.gdoi.settings import MemberSettings
from agent.gdoi.traversal import Traversal
from agent.gsa.identity import Identity

__all__ = ["Initiator", "PhaseOneRefused"]

_MAX_REMEMBERED: Final = 64
"""Messages of one exchange that are recognised when they come again; an exchange has three."""


class PhaseOneRefused(Exception):  # it carries what PhaseOneFailed says
    """The end of a Phase 1 that came to nothing: `cause` and `detail` for the operator."""

    def __init__(self, cause: FailureCause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


class Initiator:
    """One Phase 1 exchange of a member.

    `farewell`: the last message of ours, None when the key server has answered it: in Aggressive Mode it has none.
    Raises PhaseOneRefused when there is no credential, or none that works.
    """

    def __init__(
        self,
        settings: MemberSettings,
        credentials: Credentials,
        cookie: bytes,
        entropy: Entropy,
        utc: Callable[[], datetime],
        out: Outbox[MemberEvent],
        now: float,
        *,
        initial_contact: bool,
    ) -> None:
        self._settings: Final = settings
        self._entropy: Final = entropy
        self._out: Final = out
        self._path = _first_path(settings)
        self._traversal = Traversal(
            self._path, discover=settings.local_natt is not None, initial_contact=initial_contact
        )
        self._mode: Final = MODES[_exchange(settings)](
            initiator=True,
            policy=settings.policy,
            credentials=credentials,
            peer=settings.key_server,
            cookies=cookie + NO_COOKIE,
            entropy=entropy,
            utc=utc,
            extension=self._traversal,
        )
        self._seen: set[bytes] = set()
        self._heard: set[int] = set()
        self._trouble: tuple[FailureCause, str] | None = None
        self._told = False
        self.farewell: bytes | None = None
        try:
            first = self._mode.start()
        except (NotAuthorized, LocalError) as error:
            self._mode.wipe()
            cause = FailureCause.LOCAL_FAULT if isinstance(error, LocalError) else FailureCause.UNKNOWN_PEER
            raise PhaseOneRefused(cause, str(error)) from error
        self._flight = self._launch(first, now)

    @property
    def deadline(self) -> float:
        """When `fire` wants to be called."""
        return self._flight.deadline

    @property
    def path(self) -> Path:
        """Where the key server is now."""
        return self._path

    @property
    def nat(self) -> Nat | None:
        """What NAT discovery found."""
        return self._traversal.nat

    @property
    def asserted(self) -> Identity | None:
        """The identity that the key server named, authenticated or not."""
        return self._mode.asserted

    def has(self, header: Header) -> bool:
        """Whether a message is of this exchange."""
        return self._mode.cookies in (header.cookies, header.initiator_cookie + NO_COOKIE)

    def take(self, header: Header, message: bytes, path: Path, now: float) -> PhaseOneSA | None:
        """Take a message; the SA once it stands. Raises PeerError, and PhaseOneRefused when we cannot go on."""
        digest = digest_of(message)
        if digest in self._seen:
            return None
        if path.peer != self._path.peer:
            raise Unexpected(f"from {path.peer}, but Phase 1 is under way with {self._path.peer}", notify=0)
        # The host chose the address that the answer came to: that is the one to look for in NAT-D payloads.
        self._traversal.path = Path(path.peer, path.local, path.marked)
        try:
            reply = self._mode.receive(header, message)
        except PeerError as error:
            self._note_trouble(error)
            raise
        except LocalError as error:
            raise PhaseOneRefused(FailureCause.LOCAL_FAULT, str(error)) from error
        finally:
            if len(self._seen) < _MAX_REMEMBERED:
                self._seen.add(digest)
        self._move_behind_nat()
        if reply is not None:
            self._flight = self._launch(reply, now)
        if self._mode.established is not None:
            self.farewell = reply
        return self._mode.established

    def prepare(self) -> None:
        """Compute what the next message will want, while the key server has ours."""
        self._mode.prepare()

    def hear(self, header: Header, message: bytes) -> None:
        """Take a clear notify. It changes nothing: it is for the operator, and for the words of a failure, if any."""
        for word in said(parse_chain(header.next_payload, message[HEADER.size :], INFORMATIONAL)):
            if word.notify in self._heard or len(self._heard) >= _MAX_REMEMBERED:
                continue
            self._heard.add(word.notify)
            text = f"GCKS says {word} (unauthenticated)"
            cause = phase_one_cause(word.notify, first_message=self._mode.cookies.endswith(NO_COOKIE))
            if cause is not None:
                self._trouble = (cause, text)
                text = explain(cause, Side.MEMBER, text)
            self._out.tell(PeerSaid(self._settings.key_server, word.notify, text, authenticated=False))

    def hear_sealed(self) -> None:
        """Take a protected message that is none of Phase 1's. It changes nothing but the words of a failure, if any."""
        if self._mode.proving and self._trouble is None:
            detail = f"{self._path.peer} answered our proof of identity with a protected message (unauthenticated)"
            self._trouble = (sealed_cause(self._mode.method), detail)

    def fire(self, now: float) -> None:
        """Send again what is due. Raises PhaseOneRefused when the retries are used up."""
        if not self._flight.due(now):
            return
        again = self._flight.again(now)
        if again is not None:
            self._send(again)
            return
        # It answered so far: peers discard without a word what does not hold (RFC 2408 5.11).
        hint = "; it may refuse our key, certificate or identity" if self._mode.proving else ""
        detail = f"{self._path.peer} is silent after {self._mode.stage.value}{hint}"
        raise PhaseOneRefused(*(self._trouble or (FailureCause.NO_ANSWER, detail)))

    def wipe(self) -> None:
        """Overwrite what was derived, unless an SA stands on it."""
        self._mode.wipe()

    def _move_behind_nat(self) -> None:
        """On a NAT, go on at port 4500 at both ends (RFC 3947 4)."""
        nat, natt, local = self.nat, self._settings.natt, self._settings.local_natt
        if nat is not None and nat.present and natt is not None and local is not None and not self._path.marked:
            self._path = Path(natt, local, marked=True)

    def _note_trouble(self, error: PeerError) -> None:
        """Note why a message was refused; tell the key server's operator once when it failed to authenticate."""
        cause = phase_one_cause(error.notify, first_message=False)
        if cause is None:
            return
        self._trouble = (cause, str(error))
        if self._mode.proving and not self._told:
            self._told = True
            notify = clear_notify(self._mode.cookies, int.from_bytes(self._entropy.octets(4)), error.notify)
            self._send(notify)

    def _launch(self, message: bytes, now: float) -> Retransmission:
        self._send(message)
        return Retransmission(message, self._settings.retry, now)

    def _send(self, message: bytes) -> None:
        fragments = self._settings.fragmentation and Capability.FRAGMENTATION in self._mode.capabilities
        self._out.send(message, self._path, fragments=fragments)


def _exchange(settings: MemberSettings) -> ExchangeType:
    return ExchangeType.AGGRESSIVE if settings.aggressive else ExchangeType.IDENTITY_PROTECTION


def _first_path(settings: MemberSettings) -> Path:
    """A key server on the NAT traversal port is spoken to as there from the start (RFC 3947 4)."""
    if settings.local_natt is not None and settings.key_server == settings.natt:
        return Path(settings.key_server, settings.local_natt, marked=True)
    return Path(settings.key_server, settings.local)
