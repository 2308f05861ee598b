"""The configuration of gckd: who it is, whom it authenticates and how, the groups with their TEKs and members."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from netaddr import IPAddress
from pydantic import Field, model_validator

from agent.config.types import (
    Address,
    Fault,
    FilePath,
    FlowTable,
    GroupNumber,
    IdentityTable,
    LogFormatName,
    Name,
    Phase1SuiteName,
    Place,
    Port,
    PublicKeyFile,
    Seconds,
    SecretKeyFile,
    Table,
    TransformName,
    named,
    parsed,
    repeated,
    repeated_keys,
    rows,
)
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.role import Role
from agent.gsa.sa import AddressPreservation, Mode
from agent.logs import LogFormat

__all__ = [
    "DEFAULT_SOCKET",
    "DEFAULT_STORE",
    "AuthenticationTable",
    "GckdTable",
    "GroupMemberTable",
    "GroupTable",
    "KeyServerConfig",
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
    members may use gckctl.
    """

    listen: Annotated[tuple[Address, ...], Field(min_length=1)] = _ANY_ADDRESSES
    port: Port = 848
    control_socket: FilePath = DEFAULT_SOCKET
    control_group: Name | None = None
    store: FilePath = DEFAULT_STORE
    log_format: LogFormatName | None = None

    @property
    def log_form(self) -> LogFormat:
        """The form of log lines, systemd's journal asked when the file says nothing."""
        return self.log_format or LogFormat.default()


class AuthenticationTable(Table):
    """Phase 1: the suites accepted, and the certificate for members without a pre-shared key.

    `phase1`: none named: ours. `certificate`, `private_key`, `trust_anchors` (PEM) go together.
    """

    phase1: tuple[Phase1SuiteName, ...] = ()
    certificate: PublicKeyFile | None = None
    private_key: SecretKeyFile | None = None
    trust_anchors: PublicKeyFile | None = None

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """All three files or none."""
        files = ("certificate", "private_key", "trust_anchors")
        missing = [key for key in files if key not in raw]
        if missing and len(missing) < len(files):
            yield Fault((), f"{', '.join(files)} go together; missing: {', '.join(missing)}")


class MemberTable(Table):
    """One that may register: its Phase 1 identity and how it authenticates.

    With `psk_file` by pre-shared key, which Main Mode chooses by `address` (RFC 2409 5.4); without by certificate.
    """

    name: Name
    identity: IdentityTable
    address: Address | None = None
    psk_file: SecretKeyFile | None = None

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """A pre-shared key has an address."""
        if "psk_file" in raw and "address" not in raw:
            yield Fault((), "psk_file needs address: Main Mode chooses the key by the member's address alone")


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
        if not self.flow.flow.destination.ip.is_multicast():
            raise ValueError(f"the destination of a flow is multicast, got {self.flow.destination}")
        return self


class GroupTable(Table):
    """A group: its TEKs and who may have them, with which role.

    `allow_shared_counter_mode`: give counter-mode TEKs to several senders although senders on Linux cannot keep their
    Sender-ID out of each other's nonces.
    """

    id: GroupNumber
    name: Name
    teks: Annotated[tuple[TekTable, ...], Field(min_length=1)]
    members: tuple[GroupMemberTable, ...] = ()
    allow_shared_counter_mode: Annotated[bool, Field(strict=True)] = False


class KeyServerConfig(Table):
    """A whole gckd.toml."""

    gckd: GckdTable = GckdTable()
    identity: IdentityTable
    authentication: AuthenticationTable = AuthenticationTable()
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
        yield from _shared_flows(raw)
        yield from _shared_counter_modes(raw)


def _same_identity(raw: Mapping[str, Any]) -> Iterator[Fault]:
    members = [(place, parsed(IdentityTable, member.get("identity"))) for place, member in rows(raw, "members")]
    yield from repeated(((*place, "identity"), table.identity) for place, table in members if table is not None)


def _member_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    defined = [member.get("name") for _, member in rows(raw, "members")]
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
