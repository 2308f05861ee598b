"""Probing, against a kernel that is written here; tests/kernel has the real ones."""

from __future__ import annotations

import asyncio
import errno
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import pytest

from xfrm import (
    AlgorithmKind,
    Family,
    Feature,
    KernelCapabilities,
    KernelRefused,
    Mode,
    Outcome,
    Protocol,
    ReplayWindow,
    Request,
    SaId,
    SecurityAssociation,
    probing,
)
from xfrm.constants import MessageType

CRYPTO = """\
name         : cbc(aes)
driver       : cbc-aes-generic
priority     : 100
refcnt       : 1

name         : cbc(aes)
driver       : cbc-aes-aesni
module       : aesni_intel
priority     : 400

name         : broken
priority     : many

name         : hmac(sha256)
driver       : hmac-sha256-lib
priority     : 300
"""


class Kernel:
    """A SAD, what it refuses, and what it does with the SAs it takes."""

    def __init__(
        self,
        refuses: Callable[[SecurityAssociation], int] = lambda sa: 0,
        keeps: Callable[[SecurityAssociation], SecurityAssociation] = lambda sa: sa,
    ) -> None:
        self.refuses, self.keeps = refuses, keeps
        self.sad: dict[str, SecurityAssociation] = {}
        self.deleted = 0
        self.answers = {MessageType.XFRM_MSG_MIGRATE: errno.ENOPROTOOPT}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: type[BaseException] | BaseException | TracebackType | None) -> None:
        pass

    def request_many(self, items: Iterable[Request]) -> list[Outcome]:
        return [self._one(item) for item in items]

    def _one(self, item: Request) -> Outcome:
        if isinstance(item.subject, SaId):
            del self.sad[str(item.subject)]
            self.deleted += 1
            return Outcome(item)
        assert isinstance(item.subject, SecurityAssociation)
        number = self.refuses(item.subject)
        if number:
            return Outcome(item, KernelRefused(number, "the kernel's words", item))
        self.sad[str(item.subject.id)] = self.keeps(item.subject)
        return Outcome(item)

    def get_sa(self, sa_id: SaId) -> SecurityAssociation:
        return self.sad[str(sa_id)]

    def request(self, item: Request) -> None:
        number = self.answers.get(item.type, errno.EINVAL)
        if number:
            raise KernelRefused(number, "", item)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., KernelCapabilities]]:
    """Probe a kernel, in place so that no namespace is wanted."""
    monkeypatch.setattr(probing, "crypto_drivers", lambda: {"cbc(aes)": "cbc-aes-aesni"})
    kernels: list[Kernel] = []

    def run(kernel: Kernel) -> KernelCapabilities:
        kernels.append(kernel)
        monkeypatch.setattr(probing, "XfrmSocket", lambda: kernel)
        return probing.probe(in_place=True)

    yield run
    assert all(not kernel.sad for kernel in kernels), "a trial was left behind"


def test_a_kernel_that_has_everything(found: Callable[..., KernelCapabilities]) -> None:
    kernel = Kernel()
    kernel.answers = {
        MessageType.XFRM_MSG_MIGRATE: errno.EINVAL,
        MessageType.XFRM_MSG_MIGRATE_STATE: errno.ESRCH,
        MessageType.XFRM_MSG_GETPOLICY: errno.ENOENT,
        MessageType.XFRM_MSG_GETDEFAULT: 0,
    }
    able = found(kernel)
    assert all(algorithm.ok for algorithm in able.algorithms)
    assert able.families(Protocol.COMP) == {Family.AF_INET, Family.AF_INET6}
    assert able.replay_window_packets == 4096
    # A kernel that takes offload to the loopback interface has not looked at it.
    assert set(Feature) - able.features - {Feature.STATISTICS} == {Feature.OFFLOAD, Feature.XFRM_INTERFACE}
    assert able.untried == {Feature.XFRM_INTERFACE}
    aes = able.algorithm("cbc(aes)")
    assert aes is not None
    assert (aes.kind, aes.driver, aes.key_bits) == (AlgorithmKind.ENCRYPTION, "cbc-aes-aesni", (128, 192, 256))
    # IP-TFS shows its parameters where the kernel has it.
    assert {mode for mode, _ in able.modes} == {Mode.TRANSPORT, Mode.TUNNEL, Mode.BEET}


def test_a_kernel_without_esp(found: Callable[..., KernelCapabilities]) -> None:
    able = found(Kernel(lambda sa: errno.EPROTONOSUPPORT))
    assert not any(algorithm.ok for algorithm in able.algorithms)
    assert {algorithm.refusal for algorithm in able.algorithms} == {"the kernel's words"}
    assert (able.protocols, able.modes, able.replay_window_packets) == (frozenset(), frozenset(), 0)
    assert Feature.ESN in able.untried
    assert not able.features - {Feature.STATISTICS}


def test_a_kernel_with_ipv6_only(found: Callable[..., KernelCapabilities]) -> None:
    able = found(Kernel(lambda sa: 0 if sa.destination.family is Family.AF_INET6 else errno.EPROTONOSUPPORT))
    assert able.takes("rfc4106(gcm(aes))", 128, 128)
    assert able.families(Protocol.ESP) == {Family.AF_INET6}


def test_an_old_kernel_ignores_what_it_does_not_know(found: Callable[..., KernelCapabilities]) -> None:
    def keeps(sa: SecurityAssociation) -> SecurityAssociation:
        return replace(sa, direction=None, cpu=None, nat_keepalive_s=0, replay=ReplayWindow(sa.replay.packets % 1000))

    able = found(Kernel(keeps=keeps))
    assert not able.features & {Feature.SA_DIRECTION, Feature.CPU, Feature.NAT_KEEPALIVE, Feature.ESN}
    assert Feature.OUTPUT_MARK in able.features
    assert able.replay_window_packets == 256


def test_offload_is_known_by_its_refusal(found: Callable[..., KernelCapabilities]) -> None:
    able = found(Kernel(lambda sa: errno.EINVAL if sa.offload else 0))
    assert Feature.OFFLOAD in able.features


def test_offload_is_never_asked_for_esp(found: Callable[..., KernelCapabilities]) -> None:
    # That would load esp4_offload, and with it no host hears its own ESP multicast any more.
    asked: list[int] = []

    def refuses(sa: SecurityAssociation) -> int:
        if sa.offload is not None:
            asked.append(sa.protocol)
        return 0 if sa.protocol == Protocol.ESP or only_esp is False else errno.EPROTONOSUPPORT

    only_esp = False
    able = found(Kernel(refuses))
    assert asked
    assert Protocol.ESP not in asked
    assert Feature.OFFLOAD not in able.untried
    asked.clear()
    only_esp = True
    assert Feature.OFFLOAD in found(Kernel(refuses)).untried
    assert asked == []


def test_an_sa_whose_name_is_taken_was_built_all_the_same_and_stays(found: Callable[..., KernelCapabilities]) -> None:
    kernel = Kernel(lambda sa: errno.EEXIST)
    able = found(kernel)
    assert able.takes("rfc4106(gcm(aes))", 128, 128)
    assert kernel.deleted == 0


def test_without_permission_nothing_is_found_out(found: Callable[..., KernelCapabilities]) -> None:
    with pytest.raises(PermissionError, match="adding SAs"):
        found(Kernel(lambda sa: errno.EPERM))


class TestWhere:
    CAPABLE = KernelCapabilities("1.0", frozenset(), frozenset(), (), frozenset({Feature.MIGRATE}))

    @pytest.fixture(autouse=True)
    def nothing_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probing, "offload_devices", lambda: ("eth0",))
        monkeypatch.setattr(probing, "_find", lambda *, in_place: replace(self.CAPABLE, release=f"{in_place}"))

    def test_in_a_namespace_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probing, "in_fresh_namespace", lambda work: work())
        assert probing.probe() == replace(self.CAPABLE, release="False", offload_devices=("eth0",))

    def test_in_place_where_that_is_asked(self) -> None:
        assert probing.probe(in_place=True).release == "True"

    @pytest.fixture
    def no_namespace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(work: Callable[[], Any]) -> None:
            raise PermissionError(errno.EPERM, "unshare")

        monkeypatch.setattr(probing, "in_fresh_namespace", refused)

    @pytest.mark.usefixtures("no_namespace")
    def test_in_a_process_with_a_user_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def child(argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
            assert argv[0] == sys.executable
            assert all(options["env"]["PYTHONPATH"].split(":"))
            return subprocess.CompletedProcess(argv, 0, json.dumps(self.CAPABLE.to_json()), "")

        monkeypatch.setattr(subprocess, "run", child)
        assert probing.probe().release == "1.0"

    @pytest.mark.usefixtures("no_namespace")
    def test_nowhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failed = subprocess.CompletedProcess([], 1, "", "Traceback\nPermissionError: unshare: not here\n")
        monkeypatch.setattr(subprocess, "run", lambda argv, **options: failed)
        with pytest.raises(PermissionError, match="unshare: not here"):
            probing.probe()

    def test_the_child_prints_what_it_found(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(probing, "become_own_user", lambda: None)
        probing.answer_from_own_user()
        assert KernelCapabilities.from_json(json.loads(capsys.readouterr().out)).features == {Feature.MIGRATE}

    def test_beside_an_event_loop(self) -> None:
        assert asyncio.run(probing.async_probe(in_place=True)).release == "True"


def test_the_driver_of_highest_priority_is_named() -> None:
    assert probing.crypto_drivers(CRYPTO) == {"cbc(aes)": "cbc-aes-aesni", "hmac(sha256)": "hmac-sha256-lib"}


def test_without_proc_crypto_no_driver_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(probing, "_CRYPTO", tmp_path / "crypto")
    assert probing.crypto_drivers() == {}
    (tmp_path / "crypto").write_text(CRYPTO)
    assert "cbc(aes)" in probing.crypto_drivers()
