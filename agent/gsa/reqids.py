"""Reqids of groups: what ties a policy's template to the SAs of its group, and nothing else, in a kernel's SAD."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from agent.gsa.databases import OWN_REQIDS
from agent.gsa.identity import GroupId, GroupIdKind

__all__ = ["reqids_of"]


def reqids_of(groups: Iterable[GroupId]) -> dict[GroupId, int]:
    """A reqid each: a hash, so that it survives a restart and a reload; groups that fall together take the next free.

    A host's reqids are its own affair: nothing goes wrong when somebody chooses group identifiers that fall together.
    Raises ValueError when a group appears twice.
    """
    groups = list(groups)
    reqids: dict[GroupId, int] = {}
    taken: set[int] = set()
    for group in sorted(groups):
        if group in reqids:
            raise ValueError(f"group {group} is configured twice")
        name = group.octets if group.kind is GroupIdKind.KEY_ID else str(group).encode()
        offset = int.from_bytes(sha256(name).digest()[:4])
        reqid = OWN_REQIDS[offset % len(OWN_REQIDS)]
        while reqid in taken:
            offset += 1
            reqid = OWN_REQIDS[offset % len(OWN_REQIDS)]
        taken.add(reqid)
        reqids[group] = reqid
    return reqids
