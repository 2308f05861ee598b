"""A crowd that is rekeyed: many members of one group in one process, each with gmd's engine for GROUPKEY-PUSH.

    python -m scripts.lib.crowd_rekey FOLDER SPEC

SPEC (JSON): `server`, `server_name`, `suite`, `interface`, `rekeys` (address and port of the group's rekeys), and
`members`: name, address, pre-shared key of each. All register, then FOLDER/registered is written. A member that is
named by a file FOLDER/parts-NAME stops: the keys it ever had go into FOLDER/keys-NAME. FOLDER/copy-NAME has a member's
keys copied while it goes on. FOLDER/finish ends it all; the last line it prints says how far each member is.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from netaddr import IPAddress

from agent.clock import SystemClock, SystemEntropy
from agent.gdoi.isakmp.credentials import PeerKey, StaticCredentials
from agent.gdoi.rekey_events import Excluded, Rekeyed
from agent.gdoi.rekey_member import RekeyMember
from agent.gsa.rollover import rolled
from agent.gsa.sa import GroupSA
from agent.secret import Secret
from agent.wire.endpoint import Endpoint
from scripts.lib.crowd import Crowd, CrowdMember, Target, entry_for

__all__ = ["main"]

PORT, NATT_PORT = 848, 4500
_AT_ONCE: Final = 8
_TURN_S: Final = 0.05
_LARGEST: Final = 65_535


@dataclass(slots=True)
class RekeyedMember:
    """A member that is registered. `keks`: keys with their IVs, `teks`: all that it ever had, in hex."""

    name: str
    address: IPAddress
    group_sa: GroupSA
    engine: RekeyMember
    outlet: socket.socket
    keks: dict[str, str] = field(default_factory=dict, repr=False)
    teks: dict[str, str] = field(default_factory=dict, repr=False)
    rekeyed: int = 0
    excluded: bool = False

    def note_keys(self) -> None:
        """Keep every key that it has now."""
        rekey = self.group_sa.rekey
        if rekey is not None:
            self.keks[rekey.key.reveal().hex()] = rekey.iv.hex()
            self.keks.update((key.key.reveal().hex(), key.iv.hex()) for key in rekey.lkh)
        self.teks.update((f"0x{sa.spi:08x}", sa.cipher_key.reveal().hex()) for sa in self.group_sa.data)

    def turn(self, now: float) -> None:
        """Carry out what its engine took, and send what it has to."""
        self.engine.fire(now)
        for event in self.engine.events():
            if isinstance(event, Rekeyed):
                self.group_sa = rolled(self.group_sa, event.update, now)
                self.note_keys()
                self.rekeyed += 1
                self.engine.acknowledge(self.group_sa.group, event.update.sequence, now)
            self.excluded |= isinstance(event, Excluded)
        for datagram in self.engine.outgoing():
            self.outlet.sendto(datagram.payload, (str(datagram.to.address), datagram.to.port))

    def report(self) -> dict[str, Any]:
        """How far it is."""
        rekey = self.group_sa.rekey
        return {
            "rekeyed": self.rekeyed,
            "excluded": self.excluded,
            "kek": None if rekey is None else f"0x{rekey.spi.hex()}",
            "teks": [f"0x{sa.spi:08x}" for sa in self.group_sa.data],
        }


class _Program:
    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self._folder = folder
        self._spec = spec
        self._clock = SystemClock()
        self._members: dict[str, RekeyedMember] = {}

    async def run(self) -> None:
        """Register, be rekeyed, tell."""
        endpoint = Endpoint(IPAddress(self._spec["server"]), PORT)
        target = Target(endpoint, NATT_PORT, self._spec["suite"], self._spec["server_name"])
        some = asyncio.Semaphore(_AT_ONCE)
        async with Crowd(target) as crowd:

            async def register(name: str, address: str, key: str) -> None:
                credentials = StaticCredentials({endpoint.address: PeerKey(Secret(key.encode()))})
                own = CrowdMember(name, IPAddress(address), credentials)
                async with some:
                    outcome = await crowd.register(own)
                if outcome.group_sa is None:
                    sys.exit(f"{name}: {outcome.trouble}")
                self._members[name] = self._registered(own, outcome.group_sa)

            with self._ears() as ears:
                await asyncio.gather(*(register(*each) for each in self._spec["members"]))
                (self._folder / "registered").touch()
                while not (self._folder / "finish").exists():
                    self._hear(ears)
                    self._do_what_is_asked()
                    await asyncio.sleep(_TURN_S)
        print(json.dumps({name: member.report() for name, member in self._members.items()}), flush=True)

    def _registered(self, own: CrowdMember, group_sa: GroupSA) -> RekeyedMember:
        engine = RekeyMember(SystemEntropy())
        entry = entry_for(self._spec["server_name"])
        engine.watch(group_sa, entry=entry, address=own.address, now=self._clock.monotonic())
        outlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        outlet.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        outlet.bind((str(own.address), PORT))
        member = RekeyedMember(own.name, own.address, group_sa, engine, outlet)
        member.note_keys()
        return member

    def _ears(self) -> socket.socket:
        address, port = self._spec["rekeys"]
        ears = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ears.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ears.bind((address, port))
        index = socket.if_nametoindex(self._spec["interface"])
        membership = socket.inet_aton(address) + bytes(4) + index.to_bytes(4, sys.byteorder)
        ears.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        ears.setblocking(False)
        return ears

    def _hear(self, ears: socket.socket) -> None:
        """Give every member what came for the group, and let each go on."""
        local = Endpoint(IPAddress(self._spec["rekeys"][0]), self._spec["rekeys"][1])
        while True:
            try:
                payload, (host, port) = ears.recvfrom(_LARGEST)
            except BlockingIOError:
                break
            for member in self._members.values():
                member.engine.receive(payload, Endpoint(IPAddress(host), port), local, self._clock.monotonic())
                member.turn(self._clock.monotonic())
        for member in self._members.values():
            member.turn(self._clock.monotonic())

    def _do_what_is_asked(self) -> None:
        for verb in ("parts", "copy"):
            for asked in self._folder.glob(f"{verb}-*"):
                name = asked.name.partition("-")[2]
                member = self._members.pop(name) if verb == "parts" else self._members[name]
                asked.unlink()
                fresh = self._folder / "keys.new"
                fresh.touch(mode=0o600)
                fresh.write_text(json.dumps({"keks": member.keks, "teks": member.teks}), encoding="ascii")
                fresh.rename(self._folder / f"keys-{name}")


def main(folder: Path, spec: Path) -> None:
    """The program."""
    asyncio.run(_Program(folder, json.loads(spec.read_text("utf-8"))).run())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
