"""The file of members: one line each, for as many as there are (CSV, RFC 4180).

::

    name,type,identity,address,psk,groups
    relay7,fqdn,relay7.example,192.0.2.17,0x5d1c...,1234:receiver 1235:both
    pump3,fqdn,pump3.example,,,1234:sender

The first line names the columns, in any order; `name`, `type`, `identity` and `groups` are there, `address` and `psk`
may be. A file with the column `psk` holds secrets and must be as private as a key file; no fault repeats what stands in
it, since a key may have come into another column, and a header may be missing.
"""

from __future__ import annotations

import csv
import io
import os
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


class _CellFault(ValueError):
    """What is wrong with a cell; `got`: what stands there, for a file without keys."""

    def __init__(self, message: str, got: str) -> None:
        super().__init__(message)
        self.got = got


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
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        message = f"{path} is no text in UTF-8: write one line a member"
        raise FileFault(message, exit_status=os.EX_CONFIG) from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = _columns(lines)
    except csv.Error as error:
        raise FileFault(f"{path}: line 1: {error}", exit_status=os.EX_CONFIG) from None
    _require_columns(path, columns)
    return _read_lines(lines, lambda: lines.line_num, columns)


def _columns(lines: Iterator[list[str]]) -> list[str]:
    return [name.strip() for name in next(lines, [])]


def _require_columns(path: Path, columns: list[str]) -> None:
    missing = [name for name in _WANTED if name not in columns]
    extra = [name for name in columns if name not in _ALLOWED or columns.count(name) > 1]
    if missing or extra:
        raise FileFault(
            f"{path}: line 1 names the columns, with commas between: {', '.join(_WANTED)}, and address and psk"
            " if there are any"
            + (f"; missing: {', '.join(missing)}" if missing else f"; not allowed: {', '.join(extra)}"),
            exit_status=os.EX_CONFIG,
        )


def _has_keys(content: bytes) -> bool:
    """Whether there is a column for keys. A file whose header cannot be read is refused after this, keys or none."""
    header = io.StringIO(content.decode("utf-8-sig", "replace"), newline="")
    try:
        return "psk" in _columns(csv.reader(header, strict=True))
    except csv.Error:
        return False


def _read_lines(lines: Iterator[list[str]], line: Callable[[], int], columns: list[str]) -> MembersFile:
    members, faults = list[tuple[int, ListedMember]](), list[LineFault]()
    with_keys = "psk" in columns
    try:
        for row in lines:
            if not any(cell.strip() for cell in row):
                continue
            try:
                if len(row) != len(columns):
                    raise ValueError(f"{len(columns)} columns, got {len(row)}")
                cells = {name: cell.strip() for name, cell in zip(columns, row, strict=True)}
                members.append((line(), _member(cells)))
            except _CellFault as fault:
                faults.append(LineFault(line(), str(fault) if with_keys else f"{fault}, got {fault.got}"))
            except ValueError as error:
                faults.append(LineFault(line(), str(error)))
    except csv.Error as error:
        faults.append(LineFault(line(), str(error)))
    return MembersFile(tuple(members), tuple(faults))


def _member(cells: Mapping[str, str]) -> ListedMember:
    if not cells["name"]:
        raise ValueError("name: a text, got none")
    address, psk = cells.get("address", ""), cells.get("psk", "")
    roles = [_role(text) for text in cells["groups"].split()]
    if len({group for group, _ in roles}) < len(roles):
        raise ValueError("groups: each group once, with one role")
    return ListedMember(
        name=cells["name"],
        identity=_identity(cells["type"], cells["identity"]),
        roles=dict(roles),
        address=_address(address) if address else None,
        psk=_psk(psk) if psk else None,
    )


def _identity(kind: str, value: str) -> Identity:
    try:
        known = IdentityKind(kind)
    except ValueError:
        raise _CellFault(f"type: one of {', '.join(each.value for each in IdentityKind)}", repr(kind)) from None
    try:
        return Identity.parse(known, value)
    except ValueError as error:
        raise _CellFault(f"identity: an identity of type {kind}", f"{value!r}: {error}") from None


def _address(text: str) -> IPAddress:
    try:
        return IPAddress(text, flags=0)
    except (AddrFormatError, ValueError):
        raise _CellFault("address: an IPv4 or IPv6 address", repr(text)) from None


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
        raise _CellFault(f"groups: GROUP:{roles}, with spaces between several", repr(text)) from None
