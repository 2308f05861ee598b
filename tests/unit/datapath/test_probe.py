import asyncio
import errno
import os
from collections.abc import Callable, Sequence

import pytest

from agent.datapath.carry import Refused, Step, There
from agent.datapath.port import AddSa, DeleteSa
from agent.datapath.probe import probe, unreachable
from agent.errors import LocalError
from agent.gsa.algorithms import TRANSFORMS, Cipher, Integrity, Transform
from agent.gsa.databases import OWN_REQIDS, SadEntry, SadKey, SpdEntry, SpdKey
from agent.gsa.marks import MarkRule
from agent.gsa.sa import SecurityProtocol

ESP = {transform for transform in TRANSFORMS if transform.cipher is not None}
AH = {transform for transform in TRANSFORMS if transform.cipher is None}
GCM = Transform.parse("aes-gcm-16-128")


class FakeLink:
    """Takes an SA when `refuse` has no errno for it."""

    def __init__(self, refuse: Callable[[SadEntry], int | None]) -> None:
        self.refuse = refuse
        self.there: set[SadKey] = set()
        self.tried: list[SadEntry] = []

    async def submit(self, steps: Sequence[Step]) -> list[Refused | None]:
        answers: list[Refused | None] = []
        for step in steps:
            number = None
            if isinstance(step, AddSa):
                self.tried.append(step.entry)
                number = self.refuse(step.entry)
                if number is None:
                    self.there.add(step.entry.key)
            elif isinstance(step, DeleteSa):
                self.there.remove(step.key)
            answers.append(None if number is None else Refused(number, "said so"))
        return answers

    async def read(self, key: SadKey | SpdKey) -> SadEntry | SpdEntry | There:
        raise NotImplementedError

    async def remark(self, entry: SadEntry, old: SadKey) -> Refused | None:
        raise NotImplementedError

    async def set_marks(self, rules: Sequence[MarkRule]) -> Refused | None:
        raise NotImplementedError


def test_every_algorithm_is_tried_as_ours_and_taken_out() -> None:
    link = FakeLink(lambda entry: None)
    capabilities = asyncio.run(probe(link))
    assert capabilities.esp == {4, 6}
    assert capabilities.transforms == set(TRANSFORMS)
    assert {entry.transform.cipher for entry in link.tried} == {None, *Cipher}
    assert {entry.transform.integrity for entry in link.tried} == {None, *Integrity}
    assert len(link.tried) < 40
    assert link.there == set()
    assert all(entry.reqid in OWN_REQIDS for entry in link.tried)
    assert len({entry.key for entry in link.tried}) == len(link.tried)
    keys = [entry.cipher_key.reveal() for entry in link.tried if len(entry.cipher_key)]
    assert len(set(keys)) == len(keys)


def test_what_a_killed_probe_left_is_not_in_the_way_of_the_next() -> None:
    link = FakeLink(lambda entry: None)
    asyncio.run(probe(link))
    first = [entry.key for entry in link.tried]
    left = FakeLink(lambda entry: errno.EEXIST if entry.key in first else None)
    assert asyncio.run(probe(left)).transforms == set(TRANSFORMS)


def test_what_is_refused_is_not_there() -> None:
    link = FakeLink(lambda entry: None if entry.transform == GCM else errno.ENOSYS)
    found = asyncio.run(probe(link)).transforms
    assert sorted(map(str, found)) == ["aes-gcm-16-128", "aes-gcm-16-192", "aes-gcm-16-256"]
    no_xcbc = FakeLink(lambda entry: errno.ENOSYS if entry.transform.integrity is Integrity.AES_XCBC else None)
    found = asyncio.run(probe(no_xcbc)).transforms
    assert found == {transform for transform in TRANSFORMS if transform.integrity is not Integrity.AES_XCBC}


def test_a_kernel_may_lack_ah() -> None:
    link = FakeLink(lambda entry: errno.EPROTONOSUPPORT if entry.protocol is SecurityProtocol.AH else None)
    assert asyncio.run(probe(link)).transforms == ESP


def test_one_ip_version_may_lack_esp() -> None:
    only4 = FakeLink(lambda entry: errno.EPROTONOSUPPORT if entry.destination.version == 6 else None)
    assert asyncio.run(probe(only4)).esp == {4}
    only6 = FakeLink(lambda entry: errno.EPROTONOSUPPORT if entry.destination.version == 4 else None)
    capabilities = asyncio.run(probe(only6))
    assert capabilities.esp == {6}
    assert capabilities.transforms == ESP | AH


@pytest.mark.parametrize(
    ("number", "status", "step"),
    [(errno.ENOSYS, os.EX_UNAVAILABLE, "load the modules esp4"), (errno.EPERM, os.EX_NOPERM, "CAP_NET_ADMIN")],
)
def test_without_esp_or_permission_it_says_what_to_do(number: int, status: int, step: str) -> None:
    with pytest.raises(LocalError, match=step) as raised:
        asyncio.run(probe(FakeLink(lambda entry: number)))
    assert raised.value.exit_status == status


def test_a_kernel_without_netlink_xfrm_is_named() -> None:
    error = unreachable(errno.EPROTONOSUPPORT, "Protocol not supported")
    assert error.exit_status == os.EX_UNAVAILABLE
    assert "load the module xfrm_user" in str(error)
    assert "Protocol not supported" in str(error)
