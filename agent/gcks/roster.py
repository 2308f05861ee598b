"""The members of a configuration, from its own tables and from its file of members: who, by which key, with which role.

Faults are collected, so that all of both files are told at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from netaddr import IPAddress

from agent.config.files import FileFault
from agent.config.gcks import KeyServerConfig
from agent.config.members_file import LineFault, ListedMember, read_members
from agent.errors import ConfigError
from agent.gdoi.isakmp.credentials import PeerKey
from agent.gsa.identity import GroupId, Identity
from agent.gsa.role import Role

__all__ = ["Roster", "read_roster"]


@dataclass(frozen=True, slots=True)
class Roster:
    """`names`: by identity, for people. `keys`, `identity_keys`: pre-shared ones. `roles`: of each group's members."""

    names: Mapping[Identity, str]
    keys: Mapping[IPAddress, PeerKey] = field(repr=False)
    identity_keys: Mapping[Identity, PeerKey] = field(repr=False)
    roles: Mapping[GroupId, Mapping[Identity, Role]]


def read_roster(path: Path, config: KeyServerConfig, owner: int | None) -> tuple[Roster, list[ConfigError]]:
    """All members of a configuration, which `path` is the file of, and the faults found. `owner`: that file's."""
    builder = _Builder(config)
    for index, table in enumerate(config.members):
        psk = table.psk_file.content if table.psk_file is not None else None
        builder.add(
            f"[members[{index}]]", ListedMember(table.name, table.identity.identity, {}, table.address, psk), None
        )
    builder.tell_on(str(path))
    for index, group in enumerate(config.groups):
        for place, member in enumerate(group.members):
            builder.grant(str(path), f"[groups[{index}].members[{place}]].name", group.id, member.name, member.role)
    listing = config.authorization.members_file
    if listing is not None:
        builder.read(listing, str(path), owner)
    return builder.roster(), builder.faults


class _Builder:
    def __init__(self, config: KeyServerConfig) -> None:
        self.faults: list[ConfigError] = []
        self._certified = config.authentication.certificate is not None
        self._aggressive = config.authentication.aggressive
        self._groups = frozenset(group.id for group in config.groups)
        self._identities: dict[str, Identity] = {}
        self._names: dict[Identity, str] = {}
        self._keys: dict[IPAddress, PeerKey] = {}
        self._identity_keys: dict[Identity, PeerKey] = {}
        self._roles: defaultdict[GroupId, dict[Identity, Role]] = defaultdict(dict)
        self._later: list[tuple[str, str, GroupId, str, Role]] = []
        self._path = ""

    def tell_on(self, path: str) -> None:
        """Faults that come are those of this file."""
        self._path = path

    def read(self, listing: Path, path: str, owner: int | None) -> None:
        """Take the file of members in."""
        try:
            read = read_members(listing, owner)
        except FileFault as fault:
            key = "[authorization].members_file"
            self.faults.append(ConfigError(path, key, str(fault), exit_status=fault.exit_status))
            return
        self.tell_on(str(listing))
        entries: list[tuple[int, ListedMember | LineFault]] = [
            *read.members,
            *((fault.line, fault) for fault in read.faults),
        ]
        for line, entry in sorted(entries, key=lambda numbered: numbered[0]):
            if isinstance(entry, LineFault):
                self.faults.append(ConfigError(str(listing), f"line {line}", entry.message))
            else:
                self.add(f"line {line}", entry, entry.roles)
        self._grant_later()

    def add(self, place: str, member: ListedMember, roles: Mapping[GroupId, Role] | None) -> None:
        """Take a member in, with the roles that its line gives; None for one of the configuration's own tables."""
        for message in self._contradictions(member, listed=roles is not None):
            self.faults.append(ConfigError(self._path, place, message))
        self._identities.setdefault(member.name, member.identity)
        self._names.setdefault(member.identity, member.name)
        if member.psk is not None:
            key = PeerKey(member.psk, frozenset({member.identity}))
            self._identity_keys[member.identity] = key
            if member.address is not None:
                self._keys[member.address] = key
        for group, role in (roles or {}).items():
            if group not in self._groups:
                self.faults.append(ConfigError(self._path, place, f"groups: {group} is no group of the configuration"))
            self._roles[group][member.identity] = role

    def _contradictions(self, member: ListedMember, *, listed: bool) -> Iterator[str]:
        if not listed:
            return  # of these the schema tells
        if member.name in self._identities:
            yield f"name: {member.name} is used before"
        if member.identity in self._names:
            yield f"identity: {member.identity} is used before, by {self._names[member.identity]}"
        if member.psk is None and not self._certified:
            yield "psk with address, or a certificate of the key server in [authentication]"
        if member.psk is not None and member.address is None and not self._aggressive:
            yield "psk needs address: Main Mode chooses the key by the member's address alone"
        if member.psk is not None and member.address is not None and member.address in self._keys:
            yield f"address: {member.address} is used before"

    def grant(self, path: str, place: str, group: GroupId, name: str, role: Role) -> None:
        """Give a role to a member by its name, which may stand in the file of members."""
        identity = self._identities.get(name)
        if identity is not None:
            self._roles[group][identity] = role
        else:
            self._later.append((path, place, group, name, role))

    def _grant_later(self) -> None:
        for path, place, group, name, role in self._later:
            identity = self._identities.get(name)
            if identity is None:
                self.faults.append(ConfigError(path, place, f"one of the members, or of the members file, got {name}"))
            else:
                self._roles[group][identity] = role

    def roster(self) -> Roster:
        """What was taken in."""
        return Roster(self._names, self._keys, self._identity_keys, self._roles)
