"""The crowd as a program of a lab host: `python -m scripts.lib.crowd_program FOLDER COUNT METHOD SUITE`.

It writes a gckd's files into FOLDER, then says `prepared`; when there is a file `go` in it all members register at
one moment, and what came of it is the last line, JSON.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from netaddr import IPAddress

from agent.clock import SystemEntropy
from agent.crypto.dh import generate
from agent.crypto.signatures import load_public_key, verify
from agent.crypto.suites import Suite
from agent.gdoi.isakmp.credentials import OwnCertificate
from agent.wire.endpoint import Endpoint
from scripts.lib.crowd import Crowd, CrowdMember, Outcome, Target, population, write_key_server

__all__ = ["crypto_seconds", "main"]

SERVER: Final = "127.0.0.1"
PORT, NATT_PORT = 848, 4500
_SAMPLES: Final = 50
_POLL_S: Final = 0.05
_PATIENCE_S: Final = 120.0


def main(folder: Path, count: int, method: str, suite: str) -> None:
    """Prepare, wait, register, tell."""
    target = Target(Endpoint(IPAddress(SERVER), PORT), NATT_PORT, suite)
    folder.mkdir(mode=0o700)
    members = population(count, method, target.endpoint.address)
    write_key_server(folder, members, target)
    crypto_s = crypto_seconds(members[0], suite)
    print("prepared", flush=True)
    deadline = time.monotonic() + _PATIENCE_S
    while not (folder / "go").exists():
        if time.monotonic() > deadline:
            sys.exit("nobody said go")
        time.sleep(_POLL_S)
    began = time.monotonic()
    outcomes = asyncio.run(_all(target, members))
    told: dict[str, Any] = {
        "wall_s": time.monotonic() - began,
        "elapsed_s": [outcome.elapsed_s for outcome in outcomes if not outcome.trouble],
        "troubles": [outcome.trouble for outcome in outcomes if outcome.trouble],
        "crypto_s": crypto_s,
    }
    print(json.dumps(told), flush=True)


async def _all(target: Target, members: list[CrowdMember]) -> list[Outcome]:
    async with Crowd(target) as crowd:
        return await asyncio.gather(*map(crowd.register, members))


def crypto_seconds(member: CrowdMember, suite: str) -> float:
    """What the library takes of one role's Diffie-Hellman and signatures in a registration, on this processor."""
    group, entropy = Suite.parse(suite).group, SystemEntropy()
    theirs = generate(group, entropy).public

    def exchange() -> None:
        pair = generate(group, entropy)
        len(pair.public)  # a MODP pair raises it when asked for
        pair.shared(theirs)

    own = member.credentials.certificate()
    return _median_s(exchange) + (_signatures_s(member, own) if own is not None else 0.0)


def _signatures_s(member: CrowdMember, own: OwnCertificate) -> float:
    digest = bytes(32)
    trust, signature = member.credentials.trust(), own.signer.sign(digest)

    def sign_and_verify() -> None:
        own.signer.sign(digest)
        vouched = trust.verify(own.chain, datetime.now(UTC))
        verify(load_public_key(vouched.public_key), digest, signature)

    return _median_s(sign_and_verify)


def _median_s(call: Callable[[], None]) -> float:
    took = []
    for _ in range(_SAMPLES):
        began = time.thread_time()
        call()
        took.append(time.thread_time() - began)
    return statistics.median(took)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
