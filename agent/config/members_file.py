"""The file of members: one line each, for as many as there are (CSV, RFC 4180).

::

    name,type,identity,address,psk,groups
    relay7,fqdn,relay7.example,192.0.2.17,0x5d1c...,1234:receiver 1235:both
    pump3,fqdn,pump3.example,,,1234:sender

The first line names the columns, in any order; `name`, `type`, `identity` and `groups` are there, `address` and `psk`
may be. A file with the column `psk` holds secrets and must be as private as a key file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from netaddr import AddrFormatError, IPAddress

from agent.config.files import FileFault, read_listing, secret_of
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.role import Role
from agent.secret import Secret

__all__ = ["LineFault", "ListedMember", "MembersFile", "read_members"]

_WANTED: Final = ("name", "type", "identity", "groups")
_ALLOWED: Final = (*_WANTED, "address", "psk")


@dataclass(frozen=True, slots=True)
class ListedMember:
    """One line: who it is, how it authenticates, what it may have. `psk`: None for one with a certificate."""

    name: str
    identity: Identity
    roles: Mapping[GroupId, Role]
    address: IPAddress | None = None
    psk: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LineFault:
    """What is wrong with a line, counted from 1."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class MembersFile:
    """A file as read. `members`: with the number of the line each stands in; `faults`: of all its lines."""

    members: tuple[tuple[int, ListedMember], ...]
    faults: tuple[LineFault, ...]


def read_members(path: Path, owner: int | None = None) -> MembersFile:
    """Read a file of members whole. Raises FileFault when it cannot be read as one at all, or others may read keys."""
    content = read_listing(path, owner, _has_keys)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise FileFault(f"{path} is no text in UTF-8: write one line a member") from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip() for name in next(lines, [])]
    except csv.Error as error:
        raise FileFault(f"{path}: line 1: {error}") from None
    missing = [name for name in _WANTED if name not in columns]
    extra = [name for name in columns if name not in _ALLOWED or columns.count(name) > 1]
    if missing or extra:
        raise FileFault(
            f"{path}: line 1 names the columns {', '.join(_WANTED)}, and address and psk if there are any"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; not allowed: {', '.join(extra)}" if extra else "")
        )
    return _read_lines(lines, lambda: lines.line_num, columns)


def _has_keys(content: bytes) -> bool:
    header = content.partition(b"\n")[0].decode("utf-8", "replace")
    return any(name.strip().strip('"').strip() == "psk" for name in header.split(","))


def _read_lines(lines: Iterator[list[str]], line: Callable[[], int], columns: list[str]) -> MembersFile:
    members, faults = list[tuple[int, ListedMember]](), list[LineFault]()
    try:
        for row in lines:
            if not any(cell.strip() for cell in row):
                continue
            try:
                if len(row) != len(columns):
                    raise ValueError(f"{len(columns)} columns, got {len(row)}")
                cells = {name: cell.strip() for name, cell in zip(columns, row, strict=True)}
                members.append((line(), _member(cells)))
            except ValueError as error:
                faults.append(LineFault(line(), str(error)))
    except csv.Error as error:
        faults.append(LineFault(line(), str(error)))
    return MembersFile(tuple(members), tuple(faults))


def _member(cells: Mapping[str, str]) -> ListedMember:
    if not cells["name"]:
        raise ValueError("name: a text, got none")
    address, psk = cells.get("address", ""), cells.get("psk", "")
    return ListedMember(
        name=cells["name"],
        identity=_identity(cells["type"], cells["identity"]),
        roles=dict(map(_role, cells["groups"].split())),
        address=_address(address) if address else None,
        psk=_psk(psk) if psk else None,
    )


def _identity(kind: str, value: str) -> Identity:
    try:
        known = IdentityKind(kind)
    except ValueError:
        raise ValueError(f"type: one of {', '.join(each.value for each in IdentityKind)}, got {kind!r}") from None
    try:
        return Identity.parse(known, value)
    except ValueError as error:
        raise ValueError(f"identity: {value!r} is no {kind}: {error}") from None


def _address(text: str) -> IPAddress:
    try:
        return IPAddress(text, flags=0)
    except (AddrFormatError, ValueError):
        raise ValueError(f"address: an IPv4 or IPv6 address, got {text!r}") from None


def _psk(text: str) -> Secret:
    try:
        return secret_of(text.encode())
    except ValueError as error:
        raise ValueError(f"psk: {error}") from None


def _role(text: str) -> tuple[GroupId, Role]:
    group, _, role = text.rpartition(":")
    try:
        return GroupId.parse(group), Role(role)
    except ValueError:
        roles = "|".join(each.value for each in Role)
        raise ValueError(f"groups: GROUP:{roles}, with spaces between several, got {text!r}") from None
