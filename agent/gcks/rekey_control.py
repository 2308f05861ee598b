"""What an operator asks about rekeys, and has done: the commands of `gckctl` that are about GROUPKEY-PUSH.

An answer has values of JSON's types alone; the schemas are stable, as those of `agent.gcks.views`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from agent.clock import Clock
from agent.errors import LocalError
from agent.gcks import listeners, views
from agent.gcks.acks import AckLedger
from agent.gcks.kek import KekPolicy
from agent.gcks.listeners import Listener
from agent.gcks.rekey_plan import RekeyCause
from agent.gcks.rekey_record import RekeyRecord
from agent.gcks.rekey_sender import RekeySender
from agent.gcks.setup import Setup
from agent.gcks.store import Store
from agent.gsa.identity import GroupId, Identity

__all__ = ["RekeyControl", "Rekeying", "Report", "State"]

_MOST_ROWS: Final = 20
"""Rekeys of a group that are shown unless asked for more."""
_MOST_NAMED: Final = 100
"""Members that one row names."""


class Report(Protocol):
    """What a command did: the messages by what they carry, when senders use the new keys, and all that as a text."""

    @property
    def cause(self) -> RekeyCause:
        """Why the group was rekeyed."""

    @property
    def pushes(self) -> Sequence[str]:
        """What each message carries."""

    @property
    def effective_in_s(self) -> float:
        """Seconds until no sender uses an old key any more."""

    @property
    def text(self) -> str:
        """What happened, for the operator."""


class State(Protocol):
    """How the KEK of a group stands. `expires`: monotonic."""

    @property
    def kek_spi(self) -> bytes:
        """The cookies of its messages."""

    @property
    def sequence(self) -> int:
        """The last number used."""

    @property
    def expires(self) -> float:
        """Its end."""


class Rekeying(Protocol):
    """What makes the rekeys. All but `banned` and `state` raise LocalError with the next step, and StoreError."""

    async def rekey(self, group: GroupId, *, kek: bool = False) -> Report:
        """Replace the TEKs, with `kek` the KEK too."""

    async def evict(self, group: GroupId, identity: Identity) -> Report:
        """Shut a member out, from keys to come and from registering."""

    async def admit(self, group: GroupId, identity: Identity) -> bool:
        """Let one that was evicted register again; whether it was evicted."""

    async def replace_policy(self, group: GroupId) -> Report:
        """Replace every SA, as the configuration now has them."""

    def banned(self, group: GroupId) -> Collection[Identity]:
        """Who was evicted and not admitted since."""

    def state(self, group: GroupId) -> State | None:
        """How its KEK stands; None without one."""


class RekeyControl:
    """Answers `gckctl`. `current`: the configuration as it is served."""

    def __init__(
        self,
        rekeying: Rekeying,
        sender: RekeySender,
        ledger: AckLedger,
        store: Store,
        clock: Clock,
        current: Callable[[], Setup],
    ) -> None:
        self._rekeying: Final = rekeying
        self._sender: Final = sender
        self._ledger: Final = ledger
        self._store: Final = store
        self._clock: Final = clock
        self._current: Final = current

    def commands(self) -> dict[str, Callable[[Mapping[str, Any]], Coroutine[Any, Any, Any]]]:
        """The commands by name."""
        return {
            "rekey": self.rekey,
            "evict": self.evict,
            "admit": self.admit,
            "replace-policy": self.replace_policy,
            "rekeys": self.rekeys,
        }

    @property
    def counts(self) -> dict[str, int]:
        """For `gckctl status`, since the start."""
        sent: Counter[str] = self._sender.counts
        return {
            "rekeys": sent["rekeys"],
            "datagrams": sent["datagrams"],
            "unsent": sent["unsent"],
            "resends": sent["resends"],
            "acknowledgements": self._ledger.counts["acknowledged"],
            "acknowledgements_missing": sent["missing"],
            "acknowledgements_refused": self._ledger.counts["refused"],
        }

    async def rekey(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to `gckctl rekey`. Raises LocalError."""
        group = self._group(arguments)
        return await self._reported(group, self._rekeying.rekey(group, kek=arguments.get("kek") is True))

    async def evict(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to `gckctl evict`. Raises LocalError."""
        group, identity = self._group(arguments), self._member(arguments)
        return await self._reported(group, self._rekeying.evict(group, identity))

    async def replace_policy(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to `gckctl replace-policy`. Raises LocalError."""
        group = self._group(arguments)
        return await self._reported(group, self._rekeying.replace_policy(group))

    async def admit(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to `gckctl admit`. Raises LocalError for one that was not evicted."""
        group, identity = self._group(arguments), self._member(arguments)
        if not await self._rekeying.admit(group, identity):
            raise LocalError(
                f"{identity} is not evicted from group {group}: gckctl rekeys names who is", exit_status=os.EX_DATAERR
            )
        return {"group": str(group), "identity": str(identity), "text": f"{identity} may register again"}

    async def rekeys(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The answer to `gckctl rekeys`: of one group or all, rekeys after number `after`, the last `limit`."""
        groups = self._current().groups
        asked = [self._group(arguments)] if "group" in arguments else [each for each in groups if groups[each].kek]
        utc = self._clock.utc().timestamp()
        heard: dict[GroupId, list[Listener]] = {}
        for group, listener in await self._store.run(listeners.listeners, utc):
            heard.setdefault(group, []).append(listener)
        after, limit = _whole(arguments, "after", 0), _whole(arguments, "limit", _MOST_ROWS)
        return [self._row(group, heard.get(group, ()), after, limit) for group in asked]

    async def _reported(self, group: GroupId, work: Coroutine[Any, Any, Report]) -> dict[str, Any]:
        before = self._sender.latest
        report = await work
        return {
            "group": str(group),
            "cause": report.cause.value,
            "pushes": list(report.pushes),
            "effective_in_s": round(report.effective_in_s, 1),
            "text": report.text,
            "after": before,
        }

    def _row(self, group: GroupId, heard: Sequence[Listener], after: int, limit: int) -> dict[str, Any]:
        policy, state = self._current().groups[group], self._rekeying.state(group)
        records = [record for record in self._sender.records(group) if record.number > after]
        return {
            "group": str(group),
            "name": policy.name,
            **_target(policy.kek),
            "kek_spi": None if state is None else f"0x{state.kek_spi.hex()}",
            "sequence": None if state is None else state.sequence,
            "remaining_s": None if state is None else max(0, round(state.expires - self._clock.monotonic())),
            "listening": sum(not listener.dropped for listener in heard),
            "dropped": self._named(listener.identity for listener in heard if listener.dropped),
            "evicted": self._named(self._rekeying.banned(group)),
            "rekeys": [self._rekey(record) for record in records[-limit:]],
        }

    def _rekey(self, record: RekeyRecord) -> dict[str, Any]:
        return {
            "number": record.number,
            "at": views.instant(record.at_utc),
            "kek_spi": f"0x{record.kek_spi.hex()}",
            "sequences": list(record.sequences),
            "cause": record.cause,
            "carries": record.carries,
            "octets": record.octets,
            "copies": record.copies,
            "datagrams": record.datagrams,
            "expected": record.expected,
            "acknowledged": record.acknowledged,
            "missing": self._named(record.missing),
            "state": record.phase.value,
        }

    def _named(self, identities: Any) -> list[str]:
        names = self._current().names
        return sorted(names.get(identity, str(identity)) for identity in identities)[:_MOST_NAMED]

    def _group(self, arguments: Mapping[str, Any]) -> GroupId:
        """The group that is meant, by identifier or by name. Raises LocalError."""
        text, groups = str(arguments.get("group", "")), self._current().groups
        for group, policy in groups.items():
            if text in (str(group), policy.name):
                return group
        known = ", ".join(f"{group} ({policy.name})" for group, policy in groups.items())
        raise LocalError(f"{text!r} is no group served: {known or 'none is configured'}", exit_status=os.EX_USAGE)

    def _member(self, arguments: Mapping[str, Any]) -> Identity:
        try:
            return views.identity_of(str(arguments.get("member", "")), self._current().names)
        except ValueError as error:
            raise LocalError(str(error), exit_status=os.EX_USAGE) from None


def _target(kek: KekPolicy | None) -> dict[str, Any]:
    if kek is None:
        return {"transport": None, "destination": None, "acknowledgement": None, "hierarchy": None}
    return {
        "transport": "unicast" if kek.destination is None else "multicast",
        "destination": None if kek.destination is None else str(kek.destination),
        "acknowledgement": None if kek.acknowledgement is None else kek.acknowledgement.value,
        "hierarchy": None if kek.hierarchy is None else kek.hierarchy.degree,
    }


def _whole(arguments: Mapping[str, Any], key: str, otherwise: int) -> int:
    value = arguments.get(key, otherwise)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise LocalError(f"{key}: a whole number, got {value!r}", exit_status=os.EX_USAGE)
    return value
