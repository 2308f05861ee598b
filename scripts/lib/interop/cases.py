"""The Phase 1 cases that charon and our engines are put through: settings chosen pairwise, then one case a feature.

Pairwise: any two settings of any two factors meet in some case, which is what breaks in practice, at a tenth of the
cases of the whole product.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.gdoi.failures import FailureCause

__all__ = ["CASES", "FACTORS", "NOT_POSSIBLE", "Case", "Role", "Then", "Twist", "pairs_of", "pairwise"]


class Role(Enum):
    """What charon is."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class Then(Enum):
    """What happens once Phase 1 stands; the value completes the sentence "Phase 1, then ..."."""

    NOTHING = ""
    CHARON_ASKS = "charon sends R-U-THERE"
    WE_ASK = "we send R-U-THERE"
    CHARON_DIES = "charon falls silent: declared dead"
    CHARON_REKEYS = "charon makes a new SA"
    WE_REKEY = "we make a new SA"
    CHARON_DELETES = "charon deletes the SA"
    WE_DELETE = "we delete the SA"
    WE_PULL = "we send a GROUPKEY-PULL: refused by a protected Notify, as charon knows none"


class Twist(Enum):
    """What is not as usual on the way to Phase 1."""

    NONE = ""
    NAT = "NAT traversal: both go on at port 4500 behind the marker"
    FRAGMENTS = "IKE fragmentation, both ways"
    NAT_AND_FRAGMENTS = "NAT traversal and IKE fragmentation together"
    INTERMEDIATE = "our certificate by way of an intermediate CA that is sent along"
    SECOND_SUITE = "the first suite offered is not the peer's, the second is"
    WRONG_KEY = "another pre-shared key"
    UNKNOWN_CA_OURS = "charon does not know our CA"
    UNKNOWN_CA_THEIRS = "we do not know charon's CA"
    EXPIRED = "charon's certificate has expired"
    NO_SUITE = "no suite in common"
    OTHER_READING = "we sign SHA-2(HASH), the other reading of RFC 4754"
    NO_AGGRESSIVE = "Aggressive Mode where it is off"


@dataclass(frozen=True, slots=True)
class Case:
    """One run. `charon`: its role; `cipher`, `hash`, `group`: of the suite; `method`: as in events.

    `cause`: of the refusal that must come, None where Phase 1 must stand.
    """

    charon: Role
    mode: str = "main"
    method: str = "psk"
    cipher: str = "aes-cbc-256"
    hash: str = "sha2-256"
    group: str = "ecp-256"
    twist: Twist = Twist.NONE
    then: Then = Then.NOTHING
    cause: FailureCause | None = None

    @property
    def suite(self) -> str:
        """The suite by its name in configuration files."""
        return f"{self.cipher}/{self.hash}/{self.group}"

    @property
    def extra(self) -> str:
        """What sets the case apart besides its settings; empty for one of the pairwise table."""
        return "; ".join(text for text in (self.twist.value, self.then.value) if text)

    @property
    def name(self) -> str:
        """The case's id in the suite and on the page."""
        return f"charon {self.charon.value}, {self.mode} mode, {self.method}, {self.suite}" + (
            f": {self.extra}" if self.extra else ""
        )


FACTORS: Final[dict[str, Sequence[str]]] = {
    "group": (
        "ecp-256",
        "ecp-384",
        "ecp-521",
        "modp-2048",
        "modp-3072",
        "modp-4096",
        "modp-6144",
        "modp-8192",
    ),
    "method": ("psk", "rsa", "ecdsa-256", "ecdsa-384", "ecdsa-521"),
    "cipher": ("aes-cbc-128", "aes-cbc-192", "aes-cbc-256"),
    "hash": ("sha2-256", "sha2-384", "sha2-512"),
    "charon": ("initiator", "responder"),
    "mode": ("main", "aggressive"),
}

_Pair = tuple[tuple[str, str], tuple[str, str]]


def pairs_of(row: Mapping[str, str]) -> set[_Pair]:
    """The pairs of settings that meet in a row."""
    first_and_second = itertools.combinations(row.items(), 2)
    return {(one, other) for one, other in first_and_second}


def pairwise(factors: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Rows in which any two settings of any two factors meet; always the same ones for the same factors."""
    missing = {
        ((one, this), (other, that))
        for one, other in itertools.combinations(factors, 2)
        for this in factors[one]
        for that in factors[other]
    }
    rows = []
    while missing:
        row = dict(min(missing))
        for name, settings in factors.items():
            if name not in row:
                row[name] = max(settings, key=lambda setting: _gain(row | {name: setting}, factors, missing))
        row = {name: row[name] for name in factors}
        missing -= pairs_of(row)
        rows.append(row)
    return rows


def _gain(row: Mapping[str, str], factors: Iterable[str], missing: set[_Pair]) -> int:
    return len(pairs_of({name: row[name] for name in factors if name in row}) & missing)


def _settings(rows: Iterable[Mapping[str, str]]) -> list[Case]:
    return [Case(**{**row, "charon": Role(row["charon"])}) for row in rows]  # type: ignore[arg-type]


_INITIATOR, _RESPONDER = Role.INITIATOR, Role.RESPONDER

_FEATURES: Final = [
    *(Case(role, twist=Twist.NAT) for role in Role),
    *(Case(role, method="ecdsa-256", twist=Twist.NAT) for role in Role),
    *(Case(role, mode="aggressive", twist=Twist.NAT) for role in Role),
    *(Case(role, method="rsa", twist=Twist.FRAGMENTS) for role in Role),
    *(Case(role, mode="aggressive", method="rsa", twist=Twist.FRAGMENTS) for role in Role),
    *(Case(role, method="rsa", twist=Twist.NAT_AND_FRAGMENTS) for role in Role),
    *(Case(role, method="ecdsa-256", twist=Twist.INTERMEDIATE) for role in Role),
    *(Case(role, twist=Twist.SECOND_SUITE) for role in Role),
    *(Case(role, then=Then.CHARON_ASKS) for role in Role),
    Case(_RESPONDER, then=Then.WE_ASK),
    Case(_RESPONDER, then=Then.CHARON_DIES),
    Case(_INITIATOR, then=Then.CHARON_REKEYS),
    Case(_RESPONDER, then=Then.WE_REKEY),
    *(Case(role, then=Then.CHARON_DELETES) for role in Role),
    *(Case(role, then=Then.WE_DELETE) for role in Role),
    Case(_RESPONDER, then=Then.WE_PULL),
]

_REFUSALS: Final = [
    Case(_INITIATOR, twist=Twist.WRONG_KEY, cause=FailureCause.WRONG_KEY),
    Case(_RESPONDER, twist=Twist.WRONG_KEY, cause=FailureCause.WRONG_KEY),
    *(Case(role, mode="aggressive", twist=Twist.WRONG_KEY, cause=FailureCause.WRONG_KEY) for role in Role),
    *(
        Case(role, method=method, twist=Twist.UNKNOWN_CA_THEIRS, cause=FailureCause.CERTIFICATE_REFUSED)
        for role, method in ((_INITIATOR, "rsa"), (_RESPONDER, "ecdsa-256"))
    ),
    Case(_RESPONDER, method="rsa", twist=Twist.UNKNOWN_CA_OURS, cause=FailureCause.CERTIFICATE_REFUSED),
    Case(_INITIATOR, method="ecdsa-384", twist=Twist.EXPIRED, cause=FailureCause.CERTIFICATE_REFUSED),
    *(Case(role, twist=Twist.NO_SUITE, cause=FailureCause.NO_PROPOSAL_CHOSEN) for role in Role),
    Case(_RESPONDER, method="ecdsa-256", twist=Twist.OTHER_READING, cause=FailureCause.CERTIFICATE_REFUSED),
    Case(_INITIATOR, mode="aggressive", twist=Twist.NO_AGGRESSIVE, cause=FailureCause.MODE_REFUSED),
]

CASES: Final[tuple[Case, ...]] = (*_settings(pairwise(FACTORS)), *_FEATURES, *_REFUSALS)
"""All of them: the pairwise table, then features, then refusals."""

NOT_POSSIBLE: Final[dict[str, str]] = {
    "GROUPKEY-PULL": "charon has no GDOI: exchange 32 is IKE's Quick Mode to it, and it refuses the payloads",
    "DOI 2 in charon's answer": "charon takes any DOI in Phase 1 and answers with 1, which our side is told to take",
    "clear notifies": "charon ignores those we send when Phase 1 fails, and goes on sending its message again",
    "ECDSA over SHA-2(HASH) (RFC 4754)": "charon verifies those over HASH itself only; a case above shows it",
}
"""What cannot be shown with this peer, with the reason."""
