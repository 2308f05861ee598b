"""The configuration of gmd: who we are, the key servers and what they may give (the GPAD), the groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from agent.config.clear import ClearTable
from agent.config.gpad import (
    FlowRuleTable,
    IecTransformName,
    OidRuleName,
    PadIdTable,
    RekeyTable,
    TolerancesTable,
    lifetimes,
)
from agent.config.gspd import EntryTable, faults_of_entries, traffic_of
from agent.config.member_faults import shared_endpoints, shared_traffic, traffic_at, unserved
from agent.config.phase1 import PhaseOneTable
from agent.config.types import (
    Address,
    Fault,
    FilePath,
    FlowTable,
    GroupNumber,
    IdentityTable,
    LogFormatName,
    Name,
    Port,
    Seconds,
    SecretKeyFile,
    Span,
    Table,
    TransformName,
    named,
    repeated_keys,
    rows,
)
from agent.gsa.control_traffic import always_passes
from agent.gsa.expansion import may_protect
from agent.gsa.flow import Flow
from agent.gsa.gpad import Covering, PeerMethod
from agent.gsa.group_policy import DEFAULT_REPLAY_WINDOW, REPLAY_WINDOWS
from agent.gsa.gspd_entry import GspdEntry
from agent.gsa.iec61850 import AUTHENTICATING_IEC_TRANSFORMS
from agent.gsa.role import Role
from agent.gsa.sa import Mode
from agent.gsa.sequence import FirstSequence, high_half_known_s
from agent.logs import LogFormat

__all__ = [
    "DEFAULT_SOCKET",
    "Esn",
    "GmdTable",
    "GroupTable",
    "KeyServerTable",
    "Leave",
    "MemberConfig",
    "OnStop",
    "Register",
]

DEFAULT_SOCKET: Final = Path("/run/mcastsec/gmd.sock")
"""Where gmd answers gmctl when nothing else is configured."""


class OnStop(Enum):
    """What a clean stop leaves of a group: its SAs, till they end, and policies; its traffic blocked; nothing."""

    KEEP = "keep"
    BLOCK = "block"
    REMOVE = "remove"


class Register(Enum):
    """What starts a group's registration (RFC 5374 4.1.1): nothing else than its being configured, the first packet
    that a program sends to it, or a program's membership as well."""

    ALWAYS = "always"
    FIRST_PACKET = "first-packet"
    JOIN = "join"


class Leave(Enum):
    """What becomes of a group's SAs when nobody on this host uses it any more."""

    KEEP = "keep"
    DEREGISTER = "deregister"


class Esn(Enum):
    """SAs with extended sequence numbers (RFC 4303 2.2.1): refused, or taken where they live so short that their high
    half stays 0, for no key server tells it."""

    REFUSE = "refuse"
    YOUNG = "young"


class GmdTable(Table):
    """The daemon itself.

    `port`: the local UDP port, 0 lets the kernel choose one above 1023, which needs no capability; a GCKS answers to
    the port it sees. `control_group`: the UNIX group whose members may use gmctl.
    `nat_traversal`: find a NAT and go around it; `nat_traversal_port`: the local UDP port then, 0 as above;
    `keepalive_s`: between keepalives for the NAT. `keys_group`: the UNIX group whose members may have the keys of IEC
    61850 SAs, besides root and the daemon's user.
    `retry_first_s`, `retry_most_s`: shortest and longest wait after no key server served a group.
    `start_spread_s`: after a start the first attempt is made at a moment by chance within so long.
    `return_s`: while another key server serves, the preferred one is tried so often; 0 for at each renewal only.
    `adopt_s`: how long at most SAs that a gmd before this one left serve on, with no answer of a key server; 0: not.
    """

    control_socket: FilePath = DEFAULT_SOCKET
    control_group: Name | None = None
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 0
    nat_traversal: Annotated[bool, Field(strict=True)] = True
    nat_traversal_port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 0
    keepalive_s: Seconds = 20
    keys_group: Name | None = None
    log_format: LogFormatName | None = None
    retry_first_s: Seconds = 2
    retry_most_s: Seconds = 300
    start_spread_s: Span = 0.25
    return_s: Annotated[int, Field(strict=True, ge=0, le=86_400)] = 300
    adopt_s: Annotated[int, Field(strict=True, ge=0, le=86_400)] = 3600

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """The waits are in order."""
        first_s, most_s = (raw.get(key, cls.model_fields[key].default) for key in ("retry_first_s", "retry_most_s"))
        if isinstance(first_s, int) and isinstance(most_s, int) and first_s > most_s:
            yield Fault((), f"retry_first_s is at most retry_most_s, {most_s}, got {first_s}")

    @property
    def log_form(self) -> LogFormat:
        """The form of log lines, systemd's journal asked when the file says nothing."""
        return self.log_format or LogFormat.default()


class KeyServerTable(PhaseOneTable):
    """A GCKS: where it is, how Phase 1 authenticates it, and what it may give: its GPAD entry (RFC 5374 4.1.3).

    `identity`: the one it must prove, or whom it may be among. `psk_file` goes with the method `psk`; `certificate`,
    `private_key` and `trust_anchors` with `rsa` and `ecdsa`. `nat_traversal_port`: where it is behind a NAT.
    `aggressive_encrypted`: message 3 of Aggressive Mode goes encrypted, as deployed peers have it. `initial_contact`:
    have it forget earlier Phase 1 SAs of ours. `keep_phase1`: the SA goes after the registrations (`drop`), when unused
    for `phase1_idle_s` (`idle`), or is kept, renewed, and its peer asked for a sign of life when silent for
    `dpd_idle_s`, 0 for never (`keep`). `retransmissions`: of each message until there is "no answer".
    `groups`: the identifiers it may serve. `flows`: each SA must lie within one of them; none named: the traffic of
    those groups. `transforms`, `modes`: the ones accepted; `min_lifetime_s`, `max_lifetime_s`: the lifetimes accepted.
    `iec61850`: the IEC 61850 traffic it may give SAs for; `iec61850_transforms`: by which algorithms.
    `rekey`: what its Rekey SA may be. `tolerances`: where it differs from the letter of RFC 6407.
    """

    name: Name
    address: Address
    port: Port = 848
    identity: PadIdTable
    method: Annotated[PeerMethod, named(PeerMethod)] = PeerMethod.PRE_SHARED_KEY
    psk_file: SecretKeyFile | None = None
    nat_traversal_port: Port = 4500
    aggressive_encrypted: Annotated[bool, Field(strict=True)] = True
    initial_contact: Annotated[bool, Field(strict=True)] = True
    keep_phase1: Literal["drop", "idle", "keep"] = "idle"
    phase1_idle_s: Seconds = 120
    dpd_idle_s: Annotated[int, Field(strict=True, ge=0, le=86_400)] = 60
    retransmissions: Annotated[int, Field(strict=True, ge=1, le=12)] = 5
    groups: Annotated[tuple[GroupNumber, ...], Field(min_length=1)]
    flows: tuple[FlowRuleTable, ...] = ()
    transforms: Annotated[tuple[TransformName, ...], Field(min_length=1)]
    modes: Annotated[tuple[Annotated[Mode, named(Mode)], ...], Field(min_length=1)] = tuple(Mode)
    min_lifetime_s: Seconds | None = None
    max_lifetime_s: Seconds | None = None
    iec61850: tuple[OidRuleName, ...] = ()
    iec61850_transforms: Annotated[tuple[IecTransformName, ...], Field(min_length=1)] = AUTHENTICATING_IEC_TRANSFORMS
    rekey: RekeyTable = RekeyTable()
    tolerances: TolerancesTable = TolerancesTable()

    @model_validator(mode="after")
    def _lifetimes(self) -> KeyServerTable:
        lifetimes(self.min_lifetime_s, self.max_lifetime_s)
        return self

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """The files are those of the method."""
        method = raw.get("method", PeerMethod.PRE_SHARED_KEY.value)
        if method not in [known.value for known in PeerMethod]:
            return  # the schema tells
        certified = ("certificate", "private_key", "trust_anchors")
        wanted = ("psk_file",) if method == PeerMethod.PRE_SHARED_KEY.value else certified
        besides = () if method == PeerMethod.PRE_SHARED_KEY.value else ("intermediates", "crls")
        missing = [key for key in wanted if key not in raw]
        known = ("psk_file", *certified, "intermediates", "crls")
        extra = [key for key in known if key in raw and key not in (*wanted, *besides)]
        if missing or extra:
            yield Fault(
                (),
                f'method "{method}" takes {", ".join(wanted)}'
                + (f"; missing: {', '.join(missing)}" if missing else "")
                + (f"; not allowed: {', '.join(extra)}" if extra else ""),
            )


def _window(packets: int) -> int:
    if packets and packets not in REPLAY_WINDOWS:
        raise ValueError(f"0 or {REPLAY_WINDOWS.start} to {REPLAY_WINDOWS.stop - 1} packets, got {packets}")
    return packets


def _protectable(table: FlowTable) -> FlowTable:
    if not may_protect(table.flow.destination):
        raise ValueError(
            "destination is multicast, or unicast and reaches into no multicast, loopback or link-local addresses,"
            f" got {table.destination}"
        )
    if always_passes(table.flow):
        raise ValueError(f"a group protects other traffic than GDOI, IGMP, MLD and ND, got {table.flow}")
    return table


class GroupTable(Table):
    """A group: its traffic is blocked in clear from the moment it stands here.

    `key_servers`: names, asked in this order. `role`: what this host does in it. `traffic`: its flows, none
    for a group that has SAs of IEC 61850 alone; or instead `entries`: its part of the GSPD, in order, of which the
    traffic is what they protect.
    `interface`: where its packets come and go; needed by `join`, by tunnel mode, where the host
    has several, and where sources with one SPI are told apart.
    `join`: gmd holds the IGMP or MLD membership. `on_stop`: what a clean stop leaves.
    `clear`: what of its traffic may be in clear all the same.
    `rekey_interface`: where its rekeys come; None: `interface`, or else the one that leads to the key server.
    `resume_sequence`: a sender of a single-source group that came back counts on where it was, by a map of rates that
    `resume_rate_factor` multiplies.
    `replay_window`: packets, of SAs with a single source; 0: no anti-replay service. `esn`: SAs with extended sequence
    numbers.
    `register`: what starts the registration; `leave`: what becomes of the SAs when nothing was sent or received and no
    program was a member for `idle_s`, which is also how long an SA to one destination of a range is kept unused.
    `renewal_lead_s`: SAs are asked for anew one and a half to one and three quarters of it before they end; None: as
    long as their lifetimes say, 60 s or 5 % and the key server's own lead.
    """

    id: GroupNumber
    name: Name
    key_servers: Annotated[tuple[Name, ...], Field(min_length=1)]
    interface: Annotated[str, Field(strict=True, min_length=1, max_length=15)] | None = None
    role: Annotated[Role, named(Role)]
    traffic: tuple[Annotated[FlowTable, AfterValidator(_protectable)], ...] = ()
    entries: tuple[EntryTable, ...] = ()
    join: Annotated[bool, Field(strict=True)] = False
    on_stop: Annotated[OnStop, named(OnStop)] = OnStop.BLOCK
    clear: ClearTable = ClearTable()
    renewal_lead_s: Seconds | None = None
    rekey_interface: Annotated[str, Field(strict=True, min_length=1, max_length=15)] | None = None
    resume_sequence: Annotated[bool, Field(strict=True)] = True
    resume_rate_factor: Annotated[float, Field(strict=True, ge=0.001, le=1000)] = 1.0
    replay_window: Annotated[int, Field(strict=True), AfterValidator(_window)] = DEFAULT_REPLAY_WINDOW
    esn: Annotated[Esn, named(Esn)] = Esn.REFUSE
    registers: Annotated[Register, named(Register)] = Field(Register.ALWAYS, alias="register")
    leave: Annotated[Leave, named(Leave)] = Leave.KEEP
    idle_s: Seconds = 300

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """What a membership, and a registration that waits, need."""
        if "traffic" not in raw and "entries" not in raw:
            yield Fault(("traffic",), "is missing")
        yield from faults_of_entries(raw)
        yield from _on_demand(raw)
        if raw.get("join") is not True:
            return
        if "interface" not in raw:
            yield Fault((), "join = true needs interface")
        if raw.get("role") == Role.SENDER.value:
            yield Fault((), "join = true is for a receiver; role is sender")
        groups = [flow for _, flow in traffic_at(raw) if flow.destination.is_multicast()]
        if not groups or any(flow.destination.size != 1 for flow in groups):
            yield Fault((), "join = true needs traffic to groups with one address each, not prefixes")

    @property
    def flows(self) -> tuple[Flow, ...]:
        """The flows of its traffic."""
        return (*(table.flow for table in self.traffic), *traffic_of(self.gspd_entries))

    @property
    def gspd_entries(self) -> tuple[GspdEntry, ...]:
        """Its own entries of the GSPD, in order; none where its traffic is protected as it is."""
        return tuple(table.entry for table in self.entries)

    @property
    def resume(self) -> FirstSequence | None:
        """Where a sender that came back counts on; None: from 1."""
        return FirstSequence(self.resume_rate_factor) if self.resume_sequence else None

    @property
    def esn_lifetime_s(self) -> int | None:
        """How long an SA with extended sequence numbers may live; None: such are refused."""
        return high_half_known_s(self.resume_rate_factor) if self.esn is Esn.YOUNG else None


class MemberConfig(Table):
    """A whole gmd.toml."""

    gmd: GmdTable = GmdTable()
    identity: IdentityTable
    key_servers: Annotated[tuple[KeyServerTable, ...], Field(min_length=1)]
    groups: tuple[GroupTable, ...] = ()

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """What is used twice, key servers that are none, groups they may not serve, traffic of two groups."""
        yield from repeated_keys(raw, "key_servers", "name")
        yield from shared_endpoints(raw)
        yield from repeated_keys(raw, "groups", "name", "id")
        yield from unserved(raw)
        yield from _esn(raw)
        yield from shared_traffic(raw)

    def key_server(self, name: str) -> KeyServerTable:
        """The key server of that name; the loader has seen to it that there is one."""
        return next(table for table in self.key_servers if table.name == name)

    def gpad_flows(self, server: KeyServerTable) -> tuple[Covering, ...]:
        """The flows a key server may give: its own list, or else the traffic of the groups it may serve."""
        if server.flows:
            return tuple(table.rule for table in server.flows)
        return tuple(flow for group in self.groups if group.id in server.groups for flow in group.flows)


def _on_demand(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """What goes with `register` and `leave`."""
    register, role = raw.get("register", Register.ALWAYS.value), raw.get("role")
    if register == Register.FIRST_PACKET.value and role == Role.RECEIVER.value:
        yield Fault(("register",), 'is "always" or "join" for a receiver, which sends no first packet')
    if register == Register.JOIN.value and role == Role.SENDER.value:
        yield Fault(("register",), 'is "always" or "first-packet" for a sender, which is no member')
    if register == Register.JOIN.value and raw.get("join") is True:
        yield Fault(("register",), '"join" waits for a program to join, but join = true does so at once: take one')
    if register != Register.ALWAYS.value and not (raw.get("traffic") or raw.get("entries")):
        yield Fault(("register",), f'"{register}" waits for traffic, and the group has none')
    if register == Register.ALWAYS.value and raw.get("leave") == Leave.DEREGISTER.value:
        yield Fault(
            ("leave",), '"deregister" goes with register = "first-packet" or "join": nothing else registers again'
        )


def _esn(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """TEKs with extended sequence numbers live no longer than their high half is known, whoever gives them.

    What a TEK has left to live when it is got says nothing of that, so each key server has a limit.
    """
    most_s = {str(table.get("name")): table.get("max_lifetime_s") for _, table in rows(raw, "key_servers")}
    for place, group in rows(raw, "groups"):
        factor, names = group.get("resume_rate_factor", 1.0), group.get("key_servers")
        if group.get("esn") != Esn.YOUNG.value or not isinstance(factor, int | float) or factor <= 0:
            continue
        known_s = high_half_known_s(factor)
        for name in names if isinstance(names, list) else ():
            limit = most_s.get(str(name), 0)
            if not isinstance(limit, int) or limit > known_s:
                message = f'"young" needs max_lifetime_s of at most {known_s} in key server {name}'
                yield Fault((*place, "esn"), message)
