"""probe(): what this kernel can do, found by trying, in a network namespace that is gone afterwards.

The kernel loads an algorithm on its first use, which takes long: trying all of them is also the warming up.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from xfrm import requests, structs
from xfrm.address import Address, Prefix
from xfrm.capabilities import AlgorithmSupport, Feature, KernelCapabilities
from xfrm.constants import Direction, Family, MessageType, Mode, NetlinkFlag, PolicyType, Protocol
from xfrm.devices import add_xfrm_interface, offload_devices
from xfrm.errors import KernelRefused
from xfrm.migration import SaMigration
from xfrm.namespace import become_own_user, in_fresh_namespace, in_namespace
from xfrm.policy import PolicyId
from xfrm.proc import read_counters
from xfrm.record import record
from xfrm.replay import ReplayWindow
from xfrm.requests import Request, RequestKind
from xfrm.selector import Selector
from xfrm.socket import XfrmSocket
from xfrm.state import SaId, SecurityAssociation
from xfrm.trials import (
    FEATURE_TRIALS,
    MODES,
    WINDOWS,
    AlgorithmTrial,
    algorithm_trials,
    kind_of,
    of_family,
    offload_trial,
)

__all__ = ["async_probe", "crypto_drivers", "probe"]

_CRYPTO: Final = Path("/proc/crypto")
_FAMILIES: Final = (Family.AF_INET, Family.AF_INET6)
_LOWEST_SPI: Final = 0x100
"""Lower ones are reserved (RFC 4303 2.1)."""
_SPIS: Final = {Protocol.COMP: 2**16}
_IF_ID: Final = 0x7D3
_CHILD: Final = "from xfrm.probing import answer_from_own_user; answer_from_own_user()"
_CHILD_S: Final = 120


def probe(*, in_place: bool = False, netns: str | None = None) -> KernelCapabilities:
    """What this kernel can do. The operator's SAD is not touched unless `in_place` is set.

    It tries in a network namespace made for it: with CAP_SYS_ADMIN on a thread, without in a process that has a user
    namespace of its own, where the system allows that. `in_place`: try in the namespace that `netns` names (None: this
    one), with CAP_NET_ADMIN; SAs to documentation addresses with SPIs of chance go in and out again, and what needs
    an interface is left untried. `netns` is also where offload devices are looked for.

    Raises PermissionError where it may do none of that, OSError without NETLINK_XFRM, what `XfrmSocket` raises.
    """
    if in_place:
        found = in_namespace(netns, lambda: _find(in_place=True))
    else:
        try:
            found = in_fresh_namespace(lambda: _find(in_place=False))
        except PermissionError:
            found = _find_as_own_user()
    return replace(found, offload_devices=in_namespace(netns, offload_devices))


async def async_probe(*, in_place: bool = False, netns: str | None = None) -> KernelCapabilities:
    """`probe` for asyncio, on a thread of its own, which goes on to its end where the caller is cancelled."""
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xfrm-probe")
    try:
        work = partial(probe, in_place=in_place, netns=netns)
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    finally:
        executor.shutdown(wait=False)


def _find_as_own_user() -> KernelCapabilities:
    # A user namespace wants a process with one thread; only a new one is sure to be that.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    child = subprocess.run(  # noqa: S603  # ourselves, nothing of it from outside
        [sys.executable, "-c", _CHILD], env=environment, capture_output=True, text=True, timeout=_CHILD_S, check=False
    )
    if child.returncode:
        said = (child.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PermissionError(
            errno.EPERM, f"no network namespace can be made to try in, and no user namespace to make it in ({said})"
        )
    return KernelCapabilities.from_json(json.loads(child.stdout))


def answer_from_own_user() -> None:
    """What the child of `probe` runs: it prints what it found, as JSON. Raises OSError."""
    become_own_user()
    sys.stdout.write(json.dumps(_find(in_place=False).to_json()))


@record
class _Tried:
    """What became of a trial: the kernel's refusal, and the SA as read back, None where it was not there to read."""

    refusal: KernelRefused | None
    shown: SecurityAssociation | None

    @property
    def taken(self) -> bool:
        # A kernel looks whether the name is taken after it has built the SA, algorithms and all.
        return self.refusal is None or self.refusal.errno == errno.EEXIST


def _try(kernel: XfrmSocket, sas: Sequence[SecurityAssociation]) -> list[_Tried]:
    """Add all, read back those taken, delete them. Raises PermissionError where adding is not allowed."""
    named = [replace(sa, spi=_spi(sa.protocol)) for sa in sas]
    outcomes = kernel.request_many(requests.add_sa(sa) for sa in named)
    added = [sa for sa, outcome in zip(named, outcomes, strict=True) if outcome.ok]
    try:
        shown = {sa.id: kernel.get_sa(sa.id) for sa in added}
    finally:
        kernel.request_many(requests.delete_sa(sa.id) for sa in added)
    for outcome in outcomes:
        if outcome.refusal is not None and outcome.refusal.errno == errno.EPERM:
            raise PermissionError(errno.EPERM, "adding SAs is not permitted")
    return [_Tried(outcome.refusal, shown.get(sa.id)) for sa, outcome in zip(named, outcomes, strict=True)]


def _spi(protocol: int) -> int:
    end = _SPIS.get(Protocol(protocol), 2**32)
    return _LOWEST_SPI + secrets.randbelow(end - _LOWEST_SPI)


def _find(*, in_place: bool) -> KernelCapabilities:
    with XfrmSocket() as kernel:
        trials, tried = _try_algorithms(kernel)
        taken = [trial.sa for trial, found in zip(trials, tried, strict=True) if found.taken]
        esp = next((sa for sa in taken if sa.protocol == Protocol.ESP), None)
        features = _asked_features(kernel)
        if esp is not None:
            features |= _shown_features(kernel, esp)
        untried = frozenset[Feature]()
        if in_place:
            untried = frozenset({Feature.XFRM_INTERFACE})
        elif add_xfrm_interface("probe", _IF_ID) == 0:
            features.add(Feature.XFRM_INTERFACE)
        if esp is None:
            untried |= {trial.feature for trial in FEATURE_TRIALS}
        offload = offload_trial(taken)
        if offload is None:
            untried |= {Feature.OFFLOAD}
        elif _refuses_offload(kernel, offload):
            features.add(Feature.OFFLOAD)
        return KernelCapabilities(
            release=os.uname().release,
            protocols=_protocols(kernel, taken),
            modes=frozenset() if esp is None else _modes(kernel, esp),
            algorithms=_algorithms(trials, tried),
            features=frozenset(features),
            untried=untried,
            replay_window_packets=0 if esp is None else _window(kernel, esp),
        )


def _try_algorithms(kernel: XfrmSocket) -> tuple[list[AlgorithmTrial], list[_Tried]]:
    # Algorithms are the same for both IP versions: the second is asked where the first has no transform at all.
    trials, tried = _tried_for(kernel, Family.AF_INET)
    if not any(found.taken for found in tried):
        trials, tried = _tried_for(kernel, Family.AF_INET6)
    return trials, tried


def _tried_for(kernel: XfrmSocket, family: Family) -> tuple[list[AlgorithmTrial], list[_Tried]]:
    trials = list(algorithm_trials(family))
    return trials, _try(kernel, [trial.sa for trial in trials])


def _algorithms(trials: Sequence[AlgorithmTrial], tried: Sequence[_Tried]) -> tuple[AlgorithmSupport, ...]:
    drivers = crypto_drivers()
    found: list[AlgorithmSupport] = []
    for name in dict.fromkeys(trial.name for trial in trials):
        mine = [(trial, result) for trial, result in zip(trials, tried, strict=True) if trial.name == name]
        taken = [trial for trial, result in mine if result.taken]
        refused = [result.refusal for _, result in mine if result.refusal is not None]
        found.append(
            AlgorithmSupport(
                name,
                kind_of(name),
                tuple(sorted({trial.key_bits for trial in taken})),
                tuple(sorted({trial.icv_bits for trial in taken if trial.icv_bits is not None})),
                drivers.get(name) if taken else None,
                "" if taken else _words(refused[0]),
            )
        )
    return tuple(found)


def _words(refusal: KernelRefused) -> str:
    return refusal.extack or os.strerror(refusal.errno)


def _protocols(kernel: XfrmSocket, taken: Sequence[SecurityAssociation]) -> frozenset[tuple[Protocol, Family]]:
    samples = {sa.protocol: sa for sa in taken}
    asked = [(Protocol(protocol), family) for protocol in samples for family in _FAMILIES]
    tried = _try(kernel, [of_family(samples[protocol], family) for protocol, family in asked])
    return frozenset(pair for pair, found in zip(asked, tried, strict=True) if found.taken)


def _modes(kernel: XfrmSocket, esp: SecurityAssociation) -> frozenset[tuple[Mode, Family]]:
    asked = [(mode, family) for mode in MODES for family in _FAMILIES]
    tried = _try(kernel, [of_family(esp, family, mode) for mode, family in asked])
    return frozenset(
        pair for pair, found in zip(asked, tried, strict=True) if found.taken and _has(pair[0], found.shown)
    )


def _has(mode: Mode, shown: SecurityAssociation | None) -> bool:
    # A kernel built without IP-TFS takes such an SA all the same, and shows none of its parameters.
    return mode is not Mode.IPTFS or (shown is not None and shown.iptfs is not None)


def _window(kernel: XfrmSocket, esp: SecurityAssociation) -> int:
    tried = _try(kernel, [replace(esp, replay=ReplayWindow(packets)) for packets in WINDOWS])
    read = [found.shown.replay.packets for found in tried if found.shown is not None]
    return max((packets for packets in read if packets in WINDOWS), default=0)


def _shown_features(kernel: XfrmSocket, esp: SecurityAssociation) -> set[Feature]:
    tried = _try(kernel, [trial.made_of(esp) for trial in FEATURE_TRIALS])
    return {
        trial.feature
        for trial, found in zip(FEATURE_TRIALS, tried, strict=True)
        if found.shown is not None and trial.shown(found.shown)
    }


def _refuses_offload(kernel: XfrmSocket, trial: SecurityAssociation) -> bool:
    refused = _try(kernel, [trial])[0].refusal
    return refused is not None and refused.errno in (errno.EINVAL, errno.EOPNOTSUPP)


def _asked_features(kernel: XfrmSocket) -> set[Feature]:
    """The features that the answer to one request shows; none of these requests changes anything."""
    features = {feature for feature, (request, means) in _QUESTIONS.items() if means(_errno(kernel, request))}
    try:
        read_counters()
    except FileNotFoundError:
        return features
    return features | {Feature.STATISTICS}


def _errno(kernel: XfrmSocket, request: Request) -> int:
    try:
        kernel.request(request)
    except KernelRefused as refusal:
        return refusal.errno
    return 0


_NOBODY: Final = Address.of("192.0.2.1")
_NOBODYS: Final = PolicyId(Selector(Prefix.any(Family.AF_INET), Prefix.any(Family.AF_INET)), Direction.OUT)
_QUESTIONS: Final[Mapping[Feature, tuple[Request, Callable[[int], bool]]]] = {
    # Without what to migrate, a kernel that can says EINVAL, and one that cannot ENOPROTOOPT.
    Feature.MIGRATE: (
        Request(
            RequestKind.of(MessageType.XFRM_MSG_MIGRATE, int(NetlinkFlag.NLM_F_REQUEST), "ask for"),
            "migration",
            structs.USERPOLICY_ID.pack(structs.XfrmUserpolicyId(_NOBODYS.selector.to_uapi(), 0, Direction.OUT)),
        ),
        lambda number: number == errno.EINVAL,
    ),
    Feature.SUB_POLICY: (
        requests.get_policy(replace(_NOBODYS, type=PolicyType.SUB)),
        lambda number: number in (0, errno.ENOENT),
    ),
    # Of an SA that is not there, a kernel that can says ESRCH.
    Feature.MIGRATE_STATE: (
        requests.migrate_sa(SaMigration(SaId(_NOBODY, 1), _NOBODY, _NOBODY)),
        lambda number: number == errno.ESRCH,
    ),
    Feature.DEFAULT_POLICY: (requests.get_default(), lambda number: number == 0),
}


def crypto_drivers(text: str | None = None) -> dict[str, str]:
    """The driver of highest priority for each name in /proc/crypto (or `text` of its form); empty without that file.

    A hint only: it names what has been used since the kernel started.
    """
    if text is None:
        try:
            text = _CRYPTO.read_text(encoding="ascii", errors="replace")
        except OSError:
            return {}
    best: dict[str, tuple[int, str]] = {}
    for block in text.split("\n\n"):
        rows = dict(
            part for line in block.splitlines() if len(part := [word.strip() for word in line.split(":", 1)]) == 2
        )
        name, driver, priority = rows.get("name"), rows.get("driver"), rows.get("priority", "")
        if name and driver and priority.isdigit():
            best[name] = max(best.get(name, (-1, "")), (int(priority), driver))
    return {name: driver for name, (_, driver) in best.items()}
