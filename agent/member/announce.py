"""What gmd tells subscribers of its control socket: registrations with their policy, refusals, how Phase 1 goes.

Each event is a value of JSON's types; the schema is in gmctl(8). SAs of IEC 61850 have their keys in the form for those
who may have them, since the application that uses the SAs is among the subscribers; no other key is in any form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agent.gdoi.events import MemberEvent, PhaseOneClosed, PhaseOneEstablished, PhaseOneFailed, RegistrationFailed
from agent.gsa.gpad import GpadRefusal
from agent.gsa.identity import GroupId
from agent.gsa.iec61850 import Iec61850SA
from agent.gsa.rollover import every_sa, name_of
from agent.gsa.sa import DataSA, GroupSA
from agent.gsa.update import EVERY_SPI, DeletedSA, GsaUpdate
from agent.member.needs import Need
from agent.member.status import Instants, rekey_row
from agent.secret import Secret
from agent.service.broadcast import Broadcast, Event, Subscription

__all__ = ["Announcer"]


class Announcer:
    """`instants` gives the clocks as of now; `name_of` the operator's name of a group."""

    def __init__(self, instants: Callable[[], Instants], name_of: Callable[[GroupId], str | None]) -> None:
        self._instants = instants
        self._name_of = name_of
        self._source = Broadcast()
        self._problems: tuple[str, ...] = ()

    def subscribe(self, held: Iterable[tuple[str | None, GroupSA]], *, keys: bool) -> Subscription:
        """A subscription that begins with what is `held`: key servers and their GSAs."""
        subscription = self._source.subscribe(private=keys)
        for server, group_sa in held:
            subscription.put(self._gsa("held", server, group_sa, keys=keys))
        return subscription

    def withdraw_keys(self) -> None:
        """Who may have keys has changed: end the subscriptions with keys."""
        self._source.end_private()

    def registered(self, server: str, group_sa: GroupSA, elapsed_s: float) -> None:
        """A group is registered. `group_sa`: what the key server gave."""
        more = {"registration_ms": round(elapsed_s * 1000, 1)}
        self._source.publish(
            {**self._gsa("registered", server, group_sa, keys=False), **more},
            lambda: {**self._gsa("registered", server, group_sa, keys=True), **more},
        )

    def rekeyed(self, server: str | None, update: GsaUpdate, before: GroupSA, after: GroupSA) -> None:
        """A rekey was taken, which left `after`; of a rekey that is repeated, a copy brings no SA."""
        instants = self._instants()
        known = {name_of(sa) for sa in every_sa(before)}
        facts = {
            **self._group(update.group),
            "key_server": server,
            "sequence": update.sequence,
            "sas": [_sa(sa, instants) for sa in after.data if name_of(sa) not in known],
            "deleted": [_deleted(each) for each in update.deleted],
            "deletes_all": update.deletes_all_data,
            "rekey": rekey_row(after.rekey, instants),
        }

        def event(keys: bool) -> Event:
            fresh = (sa for sa in after.iec61850 if name_of(sa) not in known)
            return self._event("rekeyed", {**facts, "iec61850": [_iec61850(sa, instants, keys=keys) for sa in fresh]})

        self._source.publish(event(False), lambda: event(True))

    def rekey_installed(self, group: GroupId, sequence: int, switch_s: float) -> None:
        """The data path holds what a rekey brought, so long after its datagram came."""
        self._say("rekey-installed", **self._group(group), sequence=sequence, switch_ms=round(switch_s * 1000, 3))

    def rekey_refused(self, group: GroupId, text: str, refusals: Iterable[GpadRefusal]) -> None:
        """An authentic rekey was not taken."""
        self._say("rekey-refused", **self._group(group), text=text, refusals=[_refusal(each) for each in refusals])

    def need(self, group: GroupId, need: Need) -> None:
        """A rekey, or one that did not come, makes the group register out of turn."""
        self._say("rekey-missed", **self._group(group), cause=need.name.lower().replace("_", "-"), text=need.value)

    def told(self, server: str, event: MemberEvent) -> None:
        """What else an engine told, if it is news to a subscriber."""
        match event:
            case RegistrationFailed(group=group, cause=cause, text=text, refusals=refusals):
                self._say(
                    "registration-failed",
                    **self._group(group),
                    key_server=server,
                    cause=cause.value,
                    text=text,
                    refusals=[_refusal(refusal) for refusal in refusals],
                )
            case PhaseOneEstablished(identity=identity, method=method, suite=suite):
                self._say("phase1-established", key_server=server, identity=str(identity), method=method, suite=suite)
            case PhaseOneFailed(cause=cause, text=text, final=final):
                self._say("phase1-failed", key_server=server, cause=cause.value, text=text, final=final)
            case PhaseOneClosed(reason=reason, cause=end):
                value = end.value if end is not None else None
                self._say("phase1-closed", key_server=server, cause=value, text=reason)
            case _:
                pass

    def problems(self, found: tuple[str, ...]) -> None:
        """What the data path, or this host, does not carry out of what is held; told when it changes."""
        if found != self._problems:
            self._problems = found
            self._say("data-path", problems=list(found))

    def _say(self, kind: str, **facts: Any) -> None:
        self._source.publish(self._event(kind, facts))

    def _event(self, kind: str, facts: Mapping[str, Any]) -> Event:
        instants = self._instants()
        return {"event": kind, "at": instants.utc(instants.now), **facts}

    def _group(self, group: GroupId) -> dict[str, Any]:
        return {"group": str(group), "name": self._name_of(group)}

    def _gsa(self, kind: str, server: str | None, group_sa: GroupSA, *, keys: bool) -> Event:
        instants = self._instants()
        facts = {
            **self._group(group_sa.group),
            "key_server": server,
            "gcks": str(group_sa.gcks),
            "sas": [_sa(sa, instants) for sa in group_sa.data],
            "iec61850": [_iec61850(sa, instants, keys=keys) for sa in group_sa.iec61850],
            "sender_ids": list(group_sa.sender_ids),
            "sender_id_bits": group_sa.sender_id_bits,
            "rekey": rekey_row(group_sa.rekey, instants),
        }
        return self._event(kind, facts)


def _deleted(deleted: DeletedSA) -> dict[str, Any]:
    protocol = "iec61850" if deleted.protocol is None else deleted.protocol.value
    return {"protocol": protocol, "spi": "any" if deleted.spi == EVERY_SPI else f"0x{deleted.spi:08x}"}


def _refusal(refusal: GpadRefusal) -> dict[str, Any]:
    return {
        "rule": refusal.rule.value,
        "entry": refusal.entry,
        "subject": refusal.subject or None,
        "reason": refusal.reason,
    }


def _sa(sa: DataSA, instants: Instants) -> dict[str, Any]:
    return {
        "spi": f"0x{sa.spi:08x}",
        "protocol": sa.protocol.value,
        "mode": sa.mode.value,
        "flow": str(sa.flow),
        "transform": str(sa.transform),
        "direction": sa.direction.value,
        "send_in_s": instants.left_s(max(sa.send_from, instants.now)),
        "remaining_s": instants.left_s(sa.expires),
    }


def _iec61850(sa: Iec61850SA, instants: Instants, *, keys: bool) -> dict[str, Any]:
    row = {
        "spi": f"0x{sa.spi:08x}",
        "oid": sa.selector.oid,
        "specific": f"0x{sa.selector.specific.hex()}" if sa.selector.specific else None,
        "transform": str(sa.transform),
        "active_in_s": instants.left_s(max(sa.activates, instants.now)),
        "send_in_s": instants.left_s(max(sa.send_from, instants.now)),
        "remaining_s": instants.left_s(sa.expires),
        "key_delivery_assurance": sa.key_delivery_assurance,
    }
    if keys:
        row |= {
            "confidentiality_key": _hex(sa.confidentiality_key),
            "authentication_key": _hex(sa.authentication_key),
        }
    return row


def _hex(key: Secret) -> str:
    # On purpose: the application that was let in by its UNIX user is the one that encrypts with it (RFC 8052 2).
    return "0x" + key.reveal().hex()
