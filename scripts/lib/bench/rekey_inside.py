"""The rekey benchmark's half inside the kernel: `python -m scripts.lib.bench.rekey_inside FILE ROUNDS`.

A group of so many flows, each with an SA, is rekeyed again and again: every flow gets a new TEK, the old ones stay
until DTD. What a daemon's shell does with a GROUPKEY-PUSH is done here by the same parts, with a stopwatch on each.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import selectors
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from netaddr import IPAddress

from agent.clock import SystemClock, SystemEntropy
from agent.datapath.kernel import KernelDataPath
from agent.datapath.plan import plan
from agent.gcks.kek import verify_key_of
from agent.gdoi import push_open
from agent.gdoi.push import PushContent, build_push, split
from agent.gdoi.push_cipher import decrypted
from agent.gdoi.push_signature import RekeySigner, RekeyVerifier
from agent.gdoi.rekey_events import Rekeyed
from agent.gdoi.rekey_member import RekeyMember
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.gpad import GpadEntry
from agent.gsa.gspd import GroupPolicy, Gspd
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.pad import PadId
from agent.gsa.rekey import REKEY_SIGNATURES
from agent.gsa.role import Role
from agent.gsa.rollover import rolled
from agent.gsa.sa import DataSA, GroupSA, Mode, RekeySA, SecurityProtocol, Spi
from agent.secret import Secret
from agent.wire.endpoint import Endpoint
from scripts.lib.bench.kernel import leave, tell

__all__ = ["COUNTS", "PARTS", "main"]

COUNTS: Final = (1, 10, 100, 1000)
"""TEKs in a rekey."""
PARTS: Final = ("crypto", "parse", "plan", "netlink", "kernel")
"""What a rekey's time goes to, in this order: `netlink` is our half of the conversation, `kernel` its system calls."""

_SYSTEM_CALLS: Final = (
    (selectors.EpollSelector, "select"),
    *((socket.socket, name) for name in ("send", "sendto", "sendmsg", "recv", "recvfrom", "recvfrom_into")),
)
LARGEST: Final = 65_000
"""Octets of a message, so that a thousand TEKs need as few as can be."""
DTD_S: Final = 600
GROUP: Final = GroupId.of_number(1)
GCKS: Final = Identity.parse(IdentityKind.FQDN, "gcks.example")
KEY_SERVER: Final = Endpoint(IPAddress("192.0.2.1"), 848)
REKEYS: Final = Endpoint(IPAddress("239.255.0.1"), 848)
TRANSFORM: Final = Transform.parse("aes-gcm-16-128")
GROUPS: Final = Flow.parse("239.1.0.0/16")
SIGNATURE: Final = REKEY_SIGNATURES["ecdsa-256"]


class Stopwatch:
    """Seconds of what is not our Python: the library's cryptography, and system calls on sockets."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("crypto", "kernel"), 0.0)
        # By setattr, as mypy knows that functions are not assigned; `decrypted` in the module that calls it.
        setattr(push_open, "decrypted", self._timed("crypto", decrypted))  # noqa: B010  # as above
        setattr(RekeyVerifier, "holds", self._timed("crypto", RekeyVerifier.holds))  # noqa: B010  # as above
        for owner, name in _SYSTEM_CALLS:
            setattr(owner, name, self._timed("kernel", getattr(owner, name)))

    def reset(self) -> None:
        """Begin again at nothing."""
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    def _timed(self, part: str, call: Any) -> Any:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds[part] += time.perf_counter() - began

        return timed


def _octets(seed: str, count: int) -> bytes:
    return hashlib.shake_256(seed.encode()).digest(count)


def _teks(count: int, generation: int, now: float) -> tuple[DataSA, ...]:
    return tuple(
        DataSA(
            protocol=SecurityProtocol.ESP,
            spi=Spi(0x1000_0000 + generation * 0x1_0000 + number),
            flow=Flow.parse(f"239.1.{number >> 8}.{number & 255}", "192.0.2.10"),
            mode=Mode.TRANSPORT,
            transform=TRANSFORM,
            cipher_key=Secret(_octets(f"{generation} {number}", TRANSFORM.cipher_key_octets)),
            integrity_key=Secret(b""),
            expires=now + 3600.0,
        )
        for number in range(count)
    )


def _signing_key() -> Secret:
    pair = ec.generate_private_key(ec.SECP256R1())
    return Secret(pair.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _rekey_sa(verify_key: bytes) -> RekeySA:
    return RekeySA(
        spi=_octets("spi", 16),
        source=KEY_SERVER.address,
        destination=REKEYS.address,
        source_port=848,
        destination_port=848,
        key_algorithm="aes-cbc-128",
        key=Secret(_octets("key", 16)),
        iv=_octets("iv", 16),
        signature_algorithm=SIGNATURE.algorithm,
        signature_hash=SIGNATURE.hash,
        verify_key=verify_key,
    )


class Case:
    """One size of rekey: a member that listens, a group that is installed, and a key server that pushes."""

    def __init__(self, count: int, data_path: KernelDataPath, stopwatch: Stopwatch) -> None:
        self._count, self._data_path, self._stopwatch = count, data_path, stopwatch
        self._clock = SystemClock()
        pair = _signing_key()
        self._signer = RekeySigner(pair, SIGNATURE)
        self._rekey = _rekey_sa(verify_key_of(pair.reveal()))
        self._gspd = Gspd([GroupPolicy(GROUP, Role.BOTH, (GROUPS,))])
        now = self._clock.monotonic()
        self._held = GroupSA(GROUP, GCKS, _teks(count, 0, now), now, rekey=self._rekey)
        entry = GpadEntry("bench", (PadId.of(GCKS),), frozenset({GROUP}), (GROUPS,), frozenset({TRANSFORM}))
        self._member = RekeyMember(SystemEntropy())
        self._member.watch(self._held, entry=entry, address=IPAddress("192.0.2.10"), now=now)
        self._generation = self._sequence = 0
        self.messages = 0

    async def round(self) -> dict[str, float]:
        """One rekey; the seconds of each part. What makes the next one possible is not measured."""
        await self._settle(self._held)
        datagrams = self._pushes()
        self.messages = len(datagrams)
        gc.collect()
        seconds = dict.fromkeys(PARTS, 0.0)
        for datagram in datagrams:
            self._stopwatch.reset()
            began = time.perf_counter()
            now = self._clock.monotonic()
            self._member.receive(datagram, KEY_SERVER, REKEYS, now)
            events = self._member.events()
            read = time.perf_counter()
            crypto = self._stopwatch.seconds["crypto"]
            (rekeyed,) = (event for event in events if isinstance(event, Rekeyed))
            self._held = rolled(self._held, rekeyed.update, now)
            desired = self._gspd.desired({GROUP: self._held}, now).databases
            decided = time.perf_counter()
            actual = await self._data_path.current()
            dumped = time.perf_counter()
            operations = plan(desired, actual)
            planned = time.perf_counter()
            outcomes = await self._data_path.apply(operations)
            done = time.perf_counter()
            calls = self._stopwatch.seconds["kernel"]
            if any(outcome.error for outcome in outcomes):
                raise RuntimeError("the kernel refused a part of the rekey")
            for part, taken in (
                ("crypto", crypto),
                ("parse", read - began - crypto),
                ("plan", decided - read + planned - dumped),
                ("netlink", dumped - decided + done - planned - calls),
                ("kernel", calls),
            ):
                seconds[part] += taken
        await self._require_installed()
        fresh = self._held.data[-self._count :]
        self._held = replace(self._held, data=tuple(replace(sa, send_from=0.0) for sa in fresh))
        return seconds

    async def end(self) -> None:
        """Leave the kernel empty."""
        await self._data_path.apply(plan(Gspd([]).desired({}, 0.0).databases, await self._data_path.current()))

    def _pushes(self) -> list[bytes]:
        self._generation += 1
        now = self._clock.monotonic()
        content = PushContent(data=_teks(self._count, self._generation, now), deactivation_delay_s=DTD_S)
        datagrams = []
        for part in split(content, LARGEST, self._rekey, self._signer, now=now):
            self._sequence += 1
            datagrams.append(build_push(self._rekey, self._signer, self._sequence, part, now=now))
        return datagrams

    async def _settle(self, held: GroupSA) -> None:
        desired = self._gspd.desired({GROUP: held}, self._clock.monotonic()).databases
        await self._data_path.apply(plan(desired, await self._data_path.current()))

    async def _require_installed(self) -> None:
        there = {entry.key.spi for entry in (await self._data_path.current()).sad}
        wanted = {sa.spi for sa in self._held.data}
        if there != wanted or len(wanted) != 2 * self._count:
            raise RuntimeError(f"{len(wanted)} SAs are held, the kernel has {len(there)}")


async def _measure(rounds: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = defaultdict(list)
    stopwatch = Stopwatch()
    async with KernelDataPath(SystemClock()) as data_path:
        for count in COUNTS:
            case = Case(count, data_path, stopwatch)
            times = max(3, rounds // max(1, count // 10))
            tell(f"{count} TEKs, {times} times")
            await case.round()
            for _ in range(times):
                seconds = await case.round()
                for part, taken in seconds.items():
                    samples[f"rekey_{count}_{part}_s"].append(taken)
                samples[f"rekey_{count}_s"].append(sum(seconds.values()))
            samples[f"rekey_{count}_messages"].append(case.messages)
            await case.end()
    return samples


def main(arguments: Sequence[str]) -> int:
    """Measure, and leave the samples in FILE."""
    leave(asyncio.run(_measure(int(arguments[1]))), Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
