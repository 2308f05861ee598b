"""GSAs, a data path in memory, and configurations for gmd's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from agent.datapath.port import (
    AddPolicy,
    AddSa,
    Capabilities,
    DataPathEvent,
    DeletePolicy,
    DeleteSa,
    Operation,
    Outcome,
    RemarkSa,
    ReplaceSa,
    SetMarks,
    UpdatePolicy,
)
from agent.errors import KernelError, LocalError
from agent.gsa.algorithms import Transform
from agent.gsa.databases import Databases, SadEntry, SadKey, SaUsage, SpdEntry, SpdKey
from agent.gsa.flow import Flow
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.marks import MarkRule
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret

GROUP = GroupId.of_number(1234)
GCKS = Identity.parse(IdentityKind.FQDN, "ks1.example")
GCM = Transform.parse("aes-gcm-16-128")


def data_sa(spi: int, *, expires: float | None = None, to: str = "239.1.1.1") -> DataSA:
    """A TEK for a flow, its key made of its SPI."""
    return DataSA(
        protocol=SecurityProtocol.ESP,
        spi=Spi(spi),
        flow=Flow.parse(to),
        mode=Mode.TRANSPORT,
        transform=GCM,
        cipher_key=Secret(spi.to_bytes(20)),
        integrity_key=Secret(b""),
        expires=expires,
    )


def group_sa(*data: DataSA, received: float = 0.0, group: GroupId = GROUP) -> GroupSA:
    """A GSA of these TEKs, with a Sender-ID."""
    return GroupSA(group, GCKS, data, received, sender_ids=(1,), sender_id_bits=8)


class FakeDataPath:
    """A data path in memory. `refuses`: words of operations that it refuses; `broken`: it cannot be reached.

    `stands`: answers to whether the rules stand, None for a kernel that is not reached; then they do.
    """

    def __init__(self) -> None:
        self.sad: dict[SadKey, SadEntry] = {}
        self.spd: dict[SpdKey, SpdEntry] = {}
        self.marks: tuple[MarkRule, ...] = ()
        self.stands: list[bool | None] = []
        self.applied: list[str] = []
        self.refuses: tuple[str, ...] = ()
        self.broken = False
        self.queue: asyncio.Queue[DataPathEvent] = asyncio.Queue()

    async def probe(self) -> Capabilities:
        self._reach()
        return Capabilities(frozenset({4, 6}), frozenset({GCM}))

    async def current(self) -> Databases:
        self._reach()
        return Databases.of(self.sad.values(), self.spd.values(), marks=self.marks)

    async def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        self._reach()
        return [self._apply(operation) for operation in operations]

    async def marks_stand(self) -> bool:
        answer = self.stands.pop(0) if self.stands else True
        if answer is None:
            raise LocalError("the data path is gone: wait")
        return answer

    async def events(self) -> AsyncIterator[DataPathEvent]:
        while True:
            yield await self.queue.get()

    def _reach(self) -> None:
        if self.broken:
            raise LocalError("the data path is gone: wait")

    def _apply(self, operation: Operation) -> Outcome:
        self.applied.append(str(operation))
        if any(words in str(operation) for words in self.refuses):
            return Outcome(operation, KernelError("File exists", errno=17))
        match operation:
            case AddSa(entry=sa) | ReplaceSa(entry=sa):
                # As a kernel does: with keys of its own, which outlive the owner's.
                keys = (Secret(sa.cipher_key.reveal()), Secret(sa.integrity_key.reveal()))
                self.sad[sa.key] = replace(sa, cipher_key=keys[0], integrity_key=keys[1], usage=SaUsage(120, 2))
            case RemarkSa(entry=sa, old=old):
                usage = self.sad.pop(old).usage if old in self.sad else None
                self.sad[sa.key] = replace(sa, usage=usage)
            case SetMarks(rules=rules):
                self.marks = rules
            case DeleteSa(key=sa_key):
                self.sad.pop(sa_key, None)
            case AddPolicy(entry=policy) | UpdatePolicy(entry=policy):
                self.spd[policy.key] = policy
            case DeletePolicy(key=policy_key):
                self.spd.pop(policy_key, None)
        return Outcome(operation)


def configuration(folder: Path, *, port: int = 848, groups: str | None = None, extra: str = "") -> Path:
    """A gmd.toml with one key server on the loopback address and, unless told otherwise, one group."""
    psk = folder / "ks1.psk"
    psk.write_text("open sesame, and stay open\n")
    psk.chmod(0o600)
    path = folder / "gmd.toml"
    path.write_text(
        f"""
[gmd]
control_socket = "gmd.sock"
retry_first_s = 1
{extra}
[identity]
type = "fqdn"
value = "gm.example"
[[key_servers]]
name = "ks1"
address = "127.0.0.1"
port = {port}
identity = {{ type = "fqdn", value = "ks1.example" }}
psk_file = "ks1.psk"
groups = [1234, 1235]
transforms = ["aes-gcm-16-128"]
{group_table(1234, "239.1.1.1") if groups is None else groups}
"""
    )
    return path


def group_table(number: int, address: str, *, role: str = "both", extra: str = "") -> str:
    """One [[groups]] table."""
    return f"""
[[groups]]
id = {number}
name = "group-{number}"
key_servers = ["ks1"]
role = "{role}"
traffic = [{{ destination = "{address}" }}]
{extra}
"""
