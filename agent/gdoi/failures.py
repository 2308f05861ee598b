"""Why a Phase 1 or a registration failed: one word for programs, a cause and a next step for people, on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.gdoi.isakmp.constants import NotifyType
from agent.gdoi.isakmp.policy import Method

__all__ = ["CAUSES", "CauseText", "FailureCause", "Side", "explain", "phase_one_cause", "pull_cause", "sealed_cause"]


class FailureCause(Enum):
    """Causes of failure; the value is stable and goes into JSON."""

    NO_ANSWER = "no-answer"
    NO_PROPOSAL_CHOSEN = "no-proposal-chosen"
    WRONG_KEY = "wrong-key"
    UNKNOWN_PEER = "unknown-peer"
    UNKNOWN_IDENTITY = "unknown-identity"
    CERTIFICATE_REFUSED = "certificate-refused"
    SIGNATURE_WRONG = "signature-wrong"
    GCKS_NOT_IN_GPAD = "gcks-not-in-gpad"
    GROUP_NOT_IN_GPAD = "group-not-in-gpad"
    POLICY_OUTSIDE_GPAD = "policy-outside-gpad"
    POLICY_NOT_UNDERSTOOD = "policy-not-understood"
    NOT_A_MEMBER = "not-a-member"
    UNKNOWN_GROUP = "unknown-group"
    REFUSED = "refused"
    CLOSED = "closed"
    PEER_DEAD = "peer-dead"
    MODE_REFUSED = "mode-refused"
    LOCAL_FAULT = "local-fault"


class Side(Enum):
    """Whose operator reads a text."""

    MEMBER = "member"
    KEY_SERVER = "key server"


@dataclass(frozen=True, slots=True)
class CauseText:
    """What a cause means and what to do next: `cause` names it, `member` and `key_server` say the step on each side."""

    cause: str
    member: str
    key_server: str


CAUSES: Final[dict[FailureCause, CauseText]] = {
    FailureCause.NO_ANSWER: CauseText(
        "no answer",
        "check address, port and reachability of the GCKS, and its log for this member's address",
        "the member went away or its datagrams are lost: check the path from its address",
    ),
    FailureCause.NO_PROPOSAL_CHOSEN: CauseText(
        "no Phase 1 suite in common",
        "make one of the member's phase1 suites and its method equal to one of the GCKS",
        "make one of the phase1 suites and the method equal to one the member offers",
    ),
    FailureCause.WRONG_KEY: CauseText(
        "wrong pre-shared key?",
        "check that the pre-shared key is the same as the one the GCKS has for this member's address",
        "check that the pre-shared key of this address is the same as on the member",
    ),
    FailureCause.UNKNOWN_PEER: CauseText(
        "no credential for that peer address",
        "have the GCKS's operator enter this member's address with its pre-shared key",
        "enter the member's address, for Aggressive Mode its identity, with its pre-shared key, if it is to be one",
    ),
    FailureCause.UNKNOWN_IDENTITY: CauseText(
        "the identity is not one that the credential may assert",
        "make the identity configured equal to the one the GCKS has for this member's key",
        "make the identity of that member's entry equal to the one it asserts, if it is to be one",
    ),
    FailureCause.CERTIFICATE_REFUSED: CauseText(
        "certificate refused",
        "check both certificates: issuer among the trust anchors, validity, purpose, revocation lists, identity inside",
        "check both certificates: issuer among the trust anchors, validity, purpose, revocation lists, identity inside",
    ),
    FailureCause.SIGNATURE_WRONG: CauseText(
        "the Phase 1 signature does not hold",
        "check that private key and certificate belong together on the GCKS",
        "check that private key and certificate belong together on the member",
    ),
    FailureCause.GCKS_NOT_IN_GPAD: CauseText(
        "the GCKS's identity is not in the GPAD",
        "add that identity to the key servers of this member, if it may give keys",
        "the member does not list this GCKS's identity: check the identity here and the member's key servers",
    ),
    FailureCause.GROUP_NOT_IN_GPAD: CauseText(
        "the GPAD entry of this GCKS does not list the group",
        "add the group to that key server's groups, if it may give keys for it",
        "the member does not accept this group from this GCKS: check the groups of its key server entry",
    ),
    FailureCause.POLICY_OUTSIDE_GPAD: CauseText(
        "the GCKS's policy is outside the GPAD entry",
        "if the policy is right, widen transforms, lifetimes or flows of that key server's entry; where it has no flows"
        " of its own, widen the group's traffic",
        "make the group's policy fit what the member's key server entry permits",
    ),
    FailureCause.POLICY_NOT_UNDERSTOOD: CauseText(
        "the GCKS's policy or keys are not well-formed or not supported",
        "see the reason; ask the GCKS's operator for a policy this member supports",
        "see the member's reason; give the group a policy the member supports",
    ),
    FailureCause.NOT_A_MEMBER: CauseText(
        "not a member of the group",
        "have the GCKS's operator add this member's identity to the group",
        "add the identity to the group's members, if it is to be one",
    ),
    FailureCause.UNKNOWN_GROUP: CauseText(
        "the GCKS does not know the group",
        "check the group's id here and on the GCKS",
        "check the group's id here and on the member",
    ),
    FailureCause.REFUSED: CauseText(
        "refused",
        "see the reason and the GCKS's log",
        "see the reason and the member's log",
    ),
    FailureCause.CLOSED: CauseText(
        "the Phase 1 SA was deleted",
        "see the log of the GCKS for why it deleted the SA",
        "see the log of the member for why it deleted the SA",
    ),
    FailureCause.PEER_DEAD: CauseText(
        "the peer of a Phase 1 SA that stood no longer answers",
        "check that the GCKS runs and is reachable; it may have restarted",
        "the member went away or its datagrams are lost: check the path from its address",
    ),
    FailureCause.MODE_REFUSED: CauseText(
        "the Phase 1 mode is not accepted",
        "set the mode to main here, or have the GCKS's operator accept Aggressive Mode",
        "have the member use Main Mode, or accept Aggressive Mode and its risks here",
    ),
    FailureCause.LOCAL_FAULT: CauseText(
        "this host could not do its part",
        "see the reason: the private key of this host, most likely, cannot be used now",
        "see the reason: the private key of this host, most likely, cannot be used now",
    ),
}


def explain(cause: FailureCause, side: Side, detail: str = "") -> str:
    """One line for an operator: the cause, the detail, and the next step of that side."""
    text = CAUSES[cause]
    step = text.member if side is Side.MEMBER else text.key_server
    joint = " " if text.cause.endswith("?") else ": "
    return f"{text.cause}{joint}{detail}; {step}" if detail else f"{text.cause}; {step}"


_PHASE_ONE: Final[dict[int, FailureCause]] = {
    NotifyType.DOI_NOT_SUPPORTED: FailureCause.NO_PROPOSAL_CHOSEN,
    NotifyType.SITUATION_NOT_SUPPORTED: FailureCause.NO_PROPOSAL_CHOSEN,
    NotifyType.NO_PROPOSAL_CHOSEN: FailureCause.NO_PROPOSAL_CHOSEN,
    NotifyType.BAD_PROPOSAL_SYNTAX: FailureCause.NO_PROPOSAL_CHOSEN,
    NotifyType.INVALID_ID_INFORMATION: FailureCause.UNKNOWN_IDENTITY,
    NotifyType.INVALID_CERT_ENCODING: FailureCause.CERTIFICATE_REFUSED,
    NotifyType.INVALID_CERTIFICATE: FailureCause.CERTIFICATE_REFUSED,
    NotifyType.CERT_TYPE_UNSUPPORTED: FailureCause.CERTIFICATE_REFUSED,
    NotifyType.INVALID_CERT_AUTHORITY: FailureCause.CERTIFICATE_REFUSED,
    NotifyType.CERTIFICATE_UNAVAILABLE: FailureCause.CERTIFICATE_REFUSED,
    NotifyType.AUTHENTICATION_FAILED: FailureCause.WRONG_KEY,
    NotifyType.INVALID_SIGNATURE: FailureCause.SIGNATURE_WRONG,
    NotifyType.UNSUPPORTED_EXCHANGE_TYPE: FailureCause.MODE_REFUSED,
}

_PULL: Final[dict[int, FailureCause]] = {
    NotifyType.AUTHENTICATION_FAILED: FailureCause.NOT_A_MEMBER,
    NotifyType.INVALID_ID_INFORMATION: FailureCause.UNKNOWN_GROUP,
}


def phase_one_cause(notify: int, *, first_message: bool) -> FailureCause | None:
    """What a notify type means in Phase 1, ours or a peer's; None when it is no matter of policy or authentication.

    `first_message`: about message 1, where AUTHENTICATION-FAILED can only mean that there is no credential.
    """
    if first_message and notify == NotifyType.AUTHENTICATION_FAILED:
        return FailureCause.UNKNOWN_PEER
    return _PHASE_ONE.get(notify)


def pull_cause(notify: int) -> FailureCause:
    """What a protected notify means as the answer to a GROUPKEY-PULL."""
    return _PULL.get(notify, FailureCause.REFUSED)


def sealed_cause(method: Method | None) -> FailureCause:
    """What a protected Informational means that comes when we have proved ourselves and an SA was to come.

    The peer refuses our proof: with a pre-shared key under keys that we do not have. Anybody may have sent it.
    """
    return FailureCause.WRONG_KEY if method is Method.PRE_SHARED_KEY else FailureCause.CERTIFICATE_REFUSED
