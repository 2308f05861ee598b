"""The configuration of gckd: who it is, whom it authenticates and how, the groups with their TEKs and members."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from netaddr import IPAddress
from pydantic import Field, model_validator

from agent.config.gpad import IecTransformName, TolerancesTable
from agent.config.kek import KekTable, LkhTable
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
    Place,
    Port,
    Seconds,
    SecretKeyFile,
    Table,
    TransformName,
    named,
    parsed,
    repeated,
    repeated_keys,
    rows,
    text_of,
)
from agent.gsa.algorithms import Transform
from agent.gsa.expansion import may_protect
from agent.gsa.flow import Flow
from agent.gsa.oid import OidSelector
from agent.gsa.role import Role
from agent.gsa.sa import AddressPreservation, Mode
from agent.logs import LogFormat

__all__ = [
    "DEFAULT_SOCKET",
    "DEFAULT_STORE",
    "AuthenticationTable",
    "AuthorizationTable",
    "CertifiedTable",
    "GckdTable",
    "GroupMemberTable",
    "GroupTable",
    "Iec61850Table",
    "KekTable",
    "KeyServerConfig",
    "LkhTable",
    "MemberTable",
    "TekTable",
]

DEFAULT_SOCKET: Final = Path("/run/mcastsec/gckd.sock")
"""Where gckd answers gckctl when nothing else is configured."""
DEFAULT_STORE: Final = Path("/var/lib/mcastsec/gckd.db")
"""Where gckd keeps keys, SPIs, SIDs and registrations when nothing else is configured."""
_ANY_ADDRESSES: Final = (IPAddress("0.0.0.0"), IPAddress("::"))  # noqa: S104  # a key server is there to be asked


class GckdTable(Table):
    """The daemon itself.

    `listen`: addresses; an unspecified one is every address of its family. `port`: 848 (RFC 6407 2.2).
    `store`: the SQLite file, in a folder that only gckd's user may enter. `control_group`: the UNIX group whose
    members may use gckctl. `nat_traversal`: serve members behind a NAT, on `nat_traversal_port` besides.
    `audit_days`, `audit_rows`: how long the audit log keeps a row, and how many of registrations and of all else.
    `wait_for_disk`: let every registration wait until the disk has it; those that give Sender-IDs do anyway.
    """

    listen: Annotated[tuple[Address, ...], Field(min_length=1)] = _ANY_ADDRESSES
    port: Port = 848
    control_socket: FilePath = DEFAULT_SOCKET
    control_group: Name | None = None
    store: FilePath = DEFAULT_STORE
    nat_traversal: Annotated[bool, Field(strict=True)] = True
    nat_traversal_port: Port = 4500
    audit_days: Annotated[int, Field(strict=True, ge=1, le=36_500)] = 365
    audit_rows: Annotated[int, Field(strict=True, ge=100, le=100_000_000)] = 1_000_000
    wait_for_disk: Annotated[bool, Field(strict=True)] = False
    log_format: LogFormatName | None = None

    @property
    def log_form(self) -> LogFormat:
        """The form of log lines, systemd's journal asked when the file says nothing."""
        return self.log_format or LogFormat.default()


class AuthenticationTable(PhaseOneTable):
    """Phase 1 with all members: what is accepted, and the certificate for those without a pre-shared key.

    `phase1_idle_s`: a Phase 1 SA unused so long is deleted. `phase1_lifetime_s`: the longest one accepted.
    """

    phase1_idle_s: Seconds = 600

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """All three files or none."""
        files = ("certificate", "private_key", "trust_anchors")
        missing = [key for key in files if key not in raw]
        if missing and len(missing) < len(files):
            yield Fault((), f"{', '.join(files)} go together; missing: {', '.join(missing)}")
        for key in ("intermediates", "crls"):
            if key in raw and "trust_anchors" not in raw:
                yield Fault((key,), "is for members with certificates: name trust_anchors, too")


class AuthorizationTable(Table):
    """Who may register, in a file of its own. `members_file`: CSV, see `agent.config.members_file`."""

    members_file: FilePath | None = None


class CertifiedTable(Table):
    """Gives `role` to every member whose certificate has all that is named.

    `subject`: attributes by the names of RFC 4514 with their values; `issuer`: the issuing authority's whole name, as
    RFC 4514 has it; `dns`, `email`: an alternative name, `*.example` and `*@example` for any one there; `network`: the
    prefix of an alternative name that is an address.
    """

    role: Annotated[Role, named(Role)]
    subject: dict[str, str] = Field(default_factory=dict)
    issuer: Annotated[str, Field(strict=True, min_length=1)] | None = None
    dns: Annotated[str, Field(strict=True, min_length=1)] | None = None
    email: Annotated[str, Field(strict=True, min_length=1)] | None = None
    network: Annotated[str, Field(strict=True, min_length=1)] | None = None


class MemberTable(Table):
    """One that may register: its Phase 1 identity and how it authenticates.

    With `psk_file` by pre-shared key, which Main Mode chooses by `address` (RFC 2409 5.4) and Aggressive Mode by
    `identity`; without by certificate.
    """

    name: Name
    identity: IdentityTable
    address: Address | None = None
    psk_file: SecretKeyFile | None = None


class GroupMemberTable(Table):
    """A member of a group: its `name` among `members`, and its `role`."""

    name: Name
    role: Annotated[Role, named(Role)]


class TekTable(Table):
    """A line of TEKs: what it protects, how, and how long each lasts.

    `renewal_lead_s`: half the time by which the next TEK is made before one ends; members register again in between.
    By default 60 s or 5 % of the lifetime, at most a quarter. `activation_delay_s`: from the making of a TEK to its
    first use by senders (RFC 5374 4.2.1), by default one and a half leads.
    """

    flow: FlowTable
    transform: TransformName
    lifetime_s: Annotated[Seconds, Field(ge=8)] = 3600
    mode: Annotated[Mode, named(Mode)] = Mode.TRANSPORT
    address_preservation: Annotated[AddressPreservation, named(AddressPreservation)] = AddressPreservation.BOTH
    renewal_lead_s: Seconds | None = None
    activation_delay_s: Seconds | None = None

    @model_validator(mode="after")
    def _to_a_group(self) -> TekTable:
        if not may_protect(self.flow.flow.destination):
            raise ValueError(
                "the destination of a flow is multicast, or unicast and reaches into no multicast, loopback or"
                f" link-local addresses, got {self.flow.destination}"
            )
        return self


class Iec61850Table(Table):
    """A line of TEKs for traffic of IEC 61850 (RFC 8052), as `TekTable`.

    `oid`: the traffic, an object identifier or `OID/0x...`. `key_delivery_assurance`: percent of the subscribers that
    are said to hold each TEK; none said when left out.
    """

    oid: Annotated[OidSelector, text_of(OidSelector.parse, "an object identifier")]
    transform: IecTransformName
    lifetime_s: Annotated[Seconds, Field(ge=8)] = 3600
    renewal_lead_s: Seconds | None = None
    activation_delay_s: Seconds | None = None
    key_delivery_assurance: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None


_MOST_LINES: Final = 128
"""Of a group: each gives two SAs at a handover, and members take 256 in one message."""


class GroupTable(Table):
    """A group: its TEKs and who may have them, with which role.

    `teks`, `iec61850`: its lines of TEKs, one at least. `members`: by name; `certified`: by what a certificate says.
    `kek`: its Rekey SA. `sender_id_bits`: width of the Sender-IDs, 8, 12 or 16.
    `allow_shared_counter_mode`: give counter-mode TEKs to several senders although senders on Linux cannot keep their
    Sender-ID out of each other's nonces.
    """

    id: GroupNumber
    name: Name
    teks: tuple[TekTable, ...] = ()
    iec61850: tuple[Iec61850Table, ...] = ()
    members: tuple[GroupMemberTable, ...] = ()
    certified: tuple[CertifiedTable, ...] = ()
    kek: KekTable | None = None
    sender_id_bits: Literal[8, 12, 16] = 16
    allow_shared_counter_mode: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _something_to_give(self) -> GroupTable:
        if not self.teks and not self.iec61850:
            raise ValueError("a group has teks or iec61850, or there is nothing to give")
        if len(self.teks) + len(self.iec61850) > _MOST_LINES:
            raise ValueError(f"at most {_MOST_LINES} teks and iec61850 together, got more: make it several groups")
        return self


class KeyServerConfig(Table):
    """A whole gckd.toml."""

    gckd: GckdTable = GckdTable()
    identity: IdentityTable
    authentication: AuthenticationTable = AuthenticationTable()
    authorization: AuthorizationTable = AuthorizationTable()
    tolerances: TolerancesTable = TolerancesTable()
    members: tuple[MemberTable, ...] = ()
    groups: tuple[GroupTable, ...] = ()

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """What is given twice, members that are none or cannot authenticate, shared flows, shared counter modes."""
        yield from repeated_keys(raw, "members", "name", "address")
        yield from _same_identity(raw)
        yield from repeated_keys(raw, "groups", "id", "name")
        yield from _member_faults(raw)
        yield from _no_credential(raw)
        yield from _key_without_address(raw)
        yield from _shared_flows(raw)
        yield from _shared_counter_modes(raw)


def _same_identity(raw: Mapping[str, Any]) -> Iterator[Fault]:
    members = [(place, parsed(IdentityTable, member.get("identity"))) for place, member in rows(raw, "members")]
    yield from repeated(((*place, "identity"), table.identity) for place, table in members if table is not None)


def _member_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    authorization = raw.get("authorization")
    if isinstance(authorization, dict) and "members_file" in authorization:
        return  # who is named there is known when that file is read
    defined = dict.fromkeys(str(member.get("name")) for _, member in rows(raw, "members"))
    for group_place, group in rows(raw, "groups"):
        listed: list[tuple[Place, Hashable]] = []
        for place, member in rows(group, "members"):
            name, key = member.get("name"), (*group_place, *place, "name")
            if not isinstance(name, str):
                continue  # the schema tells
            if name in defined:
                listed.append((key, name))
            else:
                yield Fault(key, f"one of the members {', '.join(map(str, defined)) or '(none)'}, got {name}")
        yield from repeated(listed)


def _no_credential(raw: Mapping[str, Any]) -> Iterator[Fault]:
    authentication = raw.get("authentication")
    if isinstance(authentication, dict) and "certificate" in authentication:
        return
    for place, member in rows(raw, "members"):
        if "psk_file" not in member:
            yield Fault(place, "psk_file with address, or a certificate of the key server in [authentication]")


def _key_without_address(raw: Mapping[str, Any]) -> Iterator[Fault]:
    authentication = raw.get("authentication")
    if isinstance(authentication, dict) and authentication.get("aggressive") is True:
        return
    for place, member in rows(raw, "members"):
        if "psk_file" in member and "address" not in member:
            yield Fault(place, "psk_file needs address: Main Mode chooses the key by the member's address alone")


def _shared_flows(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Flows that share packets: nothing could say under which TEK those go."""
    seen: list[tuple[str, Flow]] = []
    for place, tek in rows(raw, "groups", "teks"):
        table = parsed(FlowTable, tek.get("flow"))
        if table is None:
            continue
        where = f"groups[{place[1]}].teks[{place[3]}]"
        clash = next((other for other in seen if table.flow.overlaps(other[1])), None)
        if clash is not None:
            yield Fault((*place, "flow"), f"overlaps the flow {clash[1]} of {clash[0]}; each packet has one TEK")
        seen.append((where, table.flow))


def _shared_counter_modes(raw: Mapping[str, Any]) -> Iterator[Fault]:
    for group_place, group in rows(raw, "groups"):
        senders = [str(member.get("name")) for _, member in rows(group, "members") if _sends(member.get("role"))]
        senders += ["any with a certificate" for _, rule in rows(group, "certified") if _sends(rule.get("role"))] * 2
        if len(senders) < 2 or group.get("allow_shared_counter_mode") is True:
            continue
        for place, tek in rows(group, "teks"):
            table = parsed(FlowTable, tek.get("flow"))
            try:
                transform = Transform.parse(str(tek.get("transform")))
            except ValueError:
                continue  # the schema tells
            if table is not None and transform.counter_mode and not table.flow.single_source:
                yield Fault(
                    (*group_place, *place, "transform"),
                    f"{transform} is a counter mode and {len(senders)} members may send ({', '.join(senders)}), but "
                    "Linux draws nonces at random, with no Sender-ID in them (RFC 6054): take an aes-cbc transform, "
                    "one TEK for each source, or set allow_shared_counter_mode = true to accept that",
                )


def _sends(role: object) -> bool:
    return role in (Role.SENDER.value, Role.BOTH.value)
