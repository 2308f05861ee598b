"""From a rekey message as it is kept to the GROUPKEY-PUSH: its SAs as they are now, with what is left of its delays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.gcks.kek import Kek, KekPolicy
from agent.gcks.policy import IecPolicy, Policy, TekPolicy
from agent.gcks.rekey_plan import Step
from agent.gcks.schedule import LONGEST_ATD_S, serves
from agent.gcks.tek import Tek
from agent.gdoi.push import PushContent, build_push, split
from agent.gdoi.push_signature import RekeySigner
from agent.gdoi.tolerances import Tolerances
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.sa import DataSA, Direction, RekeySA
from agent.secret import Secret
from agent.wire.endpoint import Endpoint

__all__ = ["Sealing", "content_of", "parts"]


@dataclass(frozen=True, slots=True)
class Sealing:
    """What a message goes under: a KEK with its policy, and the pair that signs."""

    kek: Kek
    policy: KekPolicy
    tolerances: Tolerances

    @property
    def _under(self) -> RekeySA:
        # Where it leads is of no matter here: SPI, KEK and IV are.
        return self.kek.rekey_sa(self.policy, Endpoint(self.policy.source, self.policy.port))

    @property
    def _signer(self) -> RekeySigner:
        return RekeySigner(Secret(self.kek.signing_key.reveal()), self.policy.signature)

    def datagram(self, content: PushContent, sequence: int, now: float) -> bytes:
        """The GROUPKEY-PUSH. Raises ValueError for what cannot be said."""
        return build_push(self._under, self._signer, sequence, content, now=now, tolerances=self.tolerances)

    def split(self, content: PushContent, now: float) -> tuple[PushContent, ...]:
        """The content in messages no longer than the policy allows. Raises ValueError for what does not part."""
        most = self.policy.delivery.largest_octets
        return split(content, most, self._under, self._signer, now=now, tolerances=self.tolerances)


def content_of(
    step: Step,
    lines: Mapping[str, Policy],
    teks: Sequence[Tek],
    rekey: RekeySA | None,
    now: float,
) -> PushContent | None:
    """What a message says now; None when nothing of it is left.

    `lines`: the group's policies by line; `teks`: all its TEKs that are held; `rekey`: the Rekey SA it carries, None
    when that has ended, too. ATD and DTD are what is left of them, so that all copies of a message tell one instant.
    """
    fresh = [tek for tek in teks if tek.spi in step.teks and tek.line in lines and serves(tek.span, now)]
    data, iecs = _sas(fresh, lines)
    if not (data or iecs or rekey is not None or step.deleted or step.deletes_rekey):
        return None
    has_teks = bool(fresh)
    return PushContent(
        deletes=step.deleted,
        deletes_rekey=step.deletes_rekey,
        data=data,
        iec61850=iecs,
        rekey=rekey,
        lkh_updates=step.updates if rekey is not None else (),
        activation_delay_s=_left(now, (tek.span.activates for tek in fresh)) if has_teks else None,
        deactivation_delay_s=_left(now, _ends(step, fresh, teks)) if has_teks or step.deleted else None,
    )


def parts(step: Step, contents: Sequence[PushContent], numbers: Iterable[int]) -> tuple[Step, ...]:
    """The message as several, each of which says one of the contents that it was split into (RFC 6407 4)."""
    return tuple(
        Step(
            number=number,
            group=step.group,
            cause=step.cause,
            under=step.under,
            kek=step.kek if content.rekey is not None else None,
            updates=content.lkh_updates,
            teks=tuple(spi for spi in step.teks if spi in _spis(content)),
            deleted=content.deletes,
            deletes_rekey=content.deletes_rekey,
        )
        for number, content in zip(numbers, contents, strict=False)
    )


def _spis(content: PushContent) -> set[int]:
    return {sa.spi for sa in content.data} | {sa.spi for sa in content.iec61850}


def _sas(teks: Iterable[Tek], lines: Mapping[str, Policy]) -> tuple[tuple[DataSA, ...], tuple[Iec61850SA, ...]]:
    data, iecs = [], []
    for tek in teks:
        match lines[tek.line]:
            case TekPolicy() as policy:
                # All that a message to several members can say (RFC 6407 5.5.1.1.2).
                data.append(tek.data_sa(policy, Direction.SYMMETRIC))
            case IecPolicy() as policy:
                iecs.append(tek.iec61850_sa(policy))
    return tuple(data), tuple(iecs)


def _ends(step: Step, fresh: Sequence[Tek], teks: Sequence[Tek]) -> list[float]:
    """When those end that are deleted, or are replaced as older TEKs of one line."""
    deleted = {each.spi for each in step.deleted}
    newer = {tek.line: tek.generation for tek in fresh}
    return [
        tek.span.expires
        for tek in teks
        if tek.spi in deleted or (tek.line in newer and tek.generation < newer[tek.line])
    ]


def _left(now: float, instants: Iterable[float]) -> int | None:
    """Whole seconds, rounded up, until the last of these; None when there is none to come."""
    coming = [instant - now for instant in instants if instant > now]
    return min(math.ceil(max(coming)), LONGEST_ATD_S) if coming else None
