"""The SA of Phase 1 in both modes: offering suites, choosing among a peer's, taking the peer's choice (RFC 2409 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.errors import Malformed, NotAuthorized
from agent.gdoi.isakmp.constants import NotifyType
from agent.gdoi.isakmp.payloads import SecurityAssociation
from agent.gdoi.isakmp.phase1_state import PhaseOnePolicy
from agent.gdoi.isakmp.policy import Method, Offer, Offered, offered_in, read_transform, same_attributes
from agent.gdoi.isakmp.proposal import Transform

__all__ = ["choose", "chosen_by_peer"]


def choose(
    sa: SecurityAssociation,
    policy: PhaseOnePolicy,
    methods: Sequence[Method],
    who: str,
    fits: Callable[[Offer], bool] = lambda _: True,
) -> tuple[Offered, Offer]:
    """The first transform whose suite and method are ours, in the peer's order.

    `who`: the peer, in words. `fits`: what a transform must do besides. Raises Malformed; NotAuthorized: 24 when
    nothing but a pre-shared key is missing, else 14.
    """
    read = [(each, read_transform(each.transform)) for each in offered_in(sa, policy.dois)]
    understood = [(each, found) for each, found in read if found is not None]
    for each, found in understood:
        if found.suite in policy.suites and found.method in methods and fits(found):
            return each, found
    wanted = {found.method for _, found in understood if found.suite in policy.suites}
    if Method.PRE_SHARED_KEY in wanted and Method.PRE_SHARED_KEY not in methods:
        raise NotAuthorized(f"no pre-shared key for {who}")
    offers = ", ".join(sorted({f"{found.method.value} {found.suite}" for _, found in understood})) or "nothing known"
    here = ", ".join(f"{method.value} {suite}" for suite in policy.suites for method in methods) or "nothing"
    raise NotAuthorized(f"offered: {offers}; accepted: {here}", notify=NotifyType.NO_PROPOSAL_CHOSEN)


def chosen_by_peer(sa: SecurityAssociation, offered: Sequence[Transform], dois: frozenset[int]) -> Offer:
    """What the responder chose of our offer. Raises Malformed, 15, when it is none of it, or altered."""
    answered = [each.transform for each in offered_in(sa, dois)]
    ours = [mine for mine in offered for theirs in answered if same_attributes(mine, theirs)]
    understood = read_transform(ours[0]) if ours else None
    if len(answered) != 1 or understood is None:
        raise Malformed("the answer is none of the transforms offered", notify=NotifyType.BAD_PROPOSAL_SYNTAX)
    return understood
