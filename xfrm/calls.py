"""The typed calls of request sockets: one for each thing that can be asked of the kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from xfrm import requests
from xfrm.aevent import Aevent
from xfrm.answers import read_answer
from xfrm.constants import PolicyType, Protocol
from xfrm.errors import DecodeError
from xfrm.events import Acquire
from xfrm.frame import Frame
from xfrm.info import DefaultPolicy, HashThreshold, SadInfo, SpdInfo
from xfrm.migration import Migration, SaMigration
from xfrm.policy import Policy, PolicyId
from xfrm.requests import Request
from xfrm.selector import AddressFilter
from xfrm.spi import SpiRequest
from xfrm.state import SaId, SecurityAssociation

__all__ = ["XfrmCalls"]

T = TypeVar("T")


class XfrmCalls(ABC):
    """What is asked of the kernel, one thing a call, over `request` and `dump`. All raise KernelRefused, EncodeError.

    Those that are answered raise DecodeError for an answer that cannot be read.
    """

    @abstractmethod
    async def request(self, item: Request) -> Frame | None:
        """Ask for one thing; the kernel's answer where it has one."""

    @abstractmethod
    async def dump_entries(self, item: Request, read: Callable[[Frame], T]) -> list[T]:
        """Every entry a dump request gives, each read as it comes."""

    async def _get(self, item: Request, kind: type[T]) -> T:
        frame = await self.request(item)
        if frame is None:
            raise DecodeError("an acknowledgement without the answer")
        return _of_kind(frame, kind)

    async def _dump(self, item: Request, kind: type[T]) -> list[T]:
        return await self.dump_entries(item, lambda frame: _of_kind(frame, kind))

    async def add_sa(self, sa: SecurityAssociation) -> None:
        """Add an SA. Raises KernelRefused: EEXIST where its name is taken, ENOSYS without the algorithm."""
        await self.request(requests.add_sa(sa))

    async def update_sa(self, sa: SecurityAssociation) -> None:
        """Update an SA; its key stays what it was, but for a larval SA. Raises KernelRefused: ESRCH without one."""
        await self.request(requests.update_sa(sa))

    async def delete_sa(self, sa_id: SaId) -> None:
        """Delete an SA. Raises KernelRefused: ESRCH where there is none."""
        await self.request(requests.delete_sa(sa_id))

    async def get_sa(self, sa_id: SaId) -> SecurityAssociation:
        """One SA. Raises KernelRefused: ESRCH where there is none."""
        return await self._get(requests.get_sa(sa_id), SecurityAssociation)

    async def dump_sas(
        self, *, protocol: int | None = None, addresses: AddressFilter | None = None
    ) -> list[SecurityAssociation]:
        """Every SA, or those of a protocol and between certain addresses. Raises DumpInterrupted, DecodeError."""
        return await self._dump(requests.dump_sas(protocol=protocol, addresses=addresses), SecurityAssociation)

    async def flush_sas(self, protocol: int = Protocol.IPSEC_PROTO_ANY) -> None:
        """Delete every SA of a protocol."""
        await self.request(requests.flush_sas(protocol))

    async def allocate_spi(self, wanted: SpiRequest) -> SecurityAssociation:
        """A larval SA with an SPI that was free, to be completed by `update_sa` within `lifetime.hard_add_s` seconds.

        Raises KernelRefused: ENOENT where the range has no free SPI, EINVAL for a range that IPComp cannot have.
        """
        return await self._get(requests.allocate_spi(wanted), SecurityAssociation)

    async def expire_sa(self, sa_id: SaId, *, hard: bool) -> None:
        """Have an SA reported as expired; `hard` deletes it. Raises KernelRefused: ENOENT where there is none."""
        await self.request(requests.expire_sa(sa_id, hard=hard))

    async def get_aevent(self, sa_id: SaId) -> Aevent:
        """An SA's counters, numbers and thresholds. Raises KernelRefused: ESRCH where there is no such SA."""
        return await self._get(requests.get_aevent(sa_id), Aevent)

    async def update_aevent(self, aevent: Aevent) -> None:
        """Set an SA's counters, numbers or thresholds. Raises KernelRefused: ESRCH, EINVAL where none is given."""
        await self.request(requests.update_aevent(aevent))

    async def migrate(self, migration: Migration) -> None:
        """Move a policy and its SAs to other addresses. Raises KernelRefused: ENOPROTOOPT without XFRM_MIGRATE."""
        await self.request(requests.migrate(migration))

    async def migrate_sa(self, migration: SaMigration) -> None:
        """Move one SA to other addresses (Linux 7.2). Raises KernelRefused: ESRCH, EEXIST, EINVAL on older kernels."""
        await self.request(requests.migrate_sa(migration))

    async def get_sad_info(self) -> SadInfo:
        """How many SAs there are, and how they are hashed."""
        return await self._get(requests.get_sad_info(), SadInfo)

    async def add_policy(self, policy: Policy) -> None:
        """Add a policy. Raises KernelRefused: EEXIST where its name is taken."""
        await self.request(requests.add_policy(policy))

    async def update_policy(self, policy: Policy) -> None:
        """Replace a policy, or add it. Raises KernelRefused."""
        await self.request(requests.update_policy(policy))

    async def delete_policy(self, policy_id: PolicyId) -> None:
        """Delete a policy. Raises KernelRefused: ENOENT where there is none."""
        await self.request(requests.delete_policy(policy_id))

    async def get_policy(self, policy_id: PolicyId) -> Policy:
        """One policy. Raises KernelRefused: ENOENT where there is none."""
        return await self._get(requests.get_policy(policy_id), Policy)

    async def dump_policies(self, type_: int | None = None) -> list[Policy]:
        """Every policy, or those of a type; those of sockets have directions above FWD.

        Raises DumpInterrupted, DecodeError.
        """
        # The kernel dumps policies of all types; it has no filter.
        found = await self._dump(requests.dump_policies(), Policy)
        return found if type_ is None else [policy for policy in found if policy.type == type_]

    async def flush_policies(self, type_: int = PolicyType.MAIN) -> None:
        """Delete every policy of a type."""
        await self.request(requests.flush_policies(type_))

    async def expire_policy(self, policy_id: PolicyId, *, hard: bool) -> None:
        """Have a policy reported as expired; `hard` deletes it. Raises KernelRefused: ENOENT where there is none."""
        await self.request(requests.expire_policy(policy_id, hard=hard))

    async def acquire(self, asked: Acquire) -> None:
        """Have the kernel ask key management for the SAs of a policy, as if a packet had. Raises KernelRefused."""
        await self.request(requests.acquire(asked))

    async def get_spd_info(self) -> SpdInfo:
        """How many policies there are, and how they are hashed."""
        return await self._get(requests.get_spd_info(), SpdInfo)

    async def set_spd_thresholds(self, *, ipv4: HashThreshold | None = None, ipv6: HashThreshold | None = None) -> None:
        """From which prefix lengths on policies are hashed. Raises KernelRefused: EINVAL beyond the address's bits."""
        await self.request(requests.set_spd_thresholds(ipv4=ipv4, ipv6=ipv6))

    async def get_default(self) -> DefaultPolicy:
        """What happens to packets without a policy. Raises KernelRefused: EINVAL before Linux 5.15."""
        return await self._get(requests.get_default(), DefaultPolicy)

    async def set_default(self, default: DefaultPolicy) -> None:
        """Set what happens to packets without a policy. Raises KernelRefused: EINVAL before Linux 5.15."""
        await self.request(requests.set_default(default))


def _of_kind(frame: Frame, kind: type[T]) -> T:
    answer = read_answer(frame)
    if not isinstance(answer, kind):
        raise DecodeError(f"{kind.__name__} was asked for, the answer is {type(answer).__name__}")
    return answer
