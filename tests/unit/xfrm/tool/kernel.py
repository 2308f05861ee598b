"""A kernel for the tool's tests: what its sockets say."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from xfrm import (
    DefaultAction,
    DefaultPolicy,
    KernelRefused,
    Policy,
    SadInfo,
    SaId,
    SecurityAssociation,
    SpdInfo,
    requests,
)
from xfrm.info import HashThreshold

ACCEPT = DefaultAction.XFRM_USERPOLICY_ACCEPT
ACCEPTS = DefaultPolicy(ACCEPT, ACCEPT, ACCEPT)


class Kernel:
    """Stands for XfrmSocket. `refuses`: the errno of every call, 0 for none; `default`: None for an old kernel."""

    def __init__(
        self,
        sad: Sequence[SecurityAssociation] = (),
        spd: Sequence[Policy] = (),
        *,
        refuses: int = 0,
        default: DefaultPolicy | None = ACCEPTS,
    ) -> None:
        self.sad, self.spd, self.refuses, self.default = list(sad), list(spd), refuses, default
        self.netns: str | None = None
        self.dumped_protocol: int | None = None

    def __call__(self, *, netns: str | None = None) -> Self:
        self.netns = netns
        return self

    def __enter__(self) -> Self:
        if self.refuses:
            raise KernelRefused(self.refuses, "", requests.dump_sas())
        return self

    def __exit__(self, *details: type[BaseException] | BaseException | TracebackType | None) -> None:
        pass

    def dump_sas(self, *, protocol: int | None = None) -> list[SecurityAssociation]:
        self.dumped_protocol = protocol
        return [sa for sa in self.sad if protocol in (None, sa.protocol)]

    def get_sa(self, sa_id: SaId) -> SecurityAssociation:
        for sa in self.sad:
            if sa.id == sa_id:
                return sa
        raise KernelRefused(errno.ESRCH, "", requests.get_sa(sa_id))

    def dump_policies(self) -> list[Policy]:
        return list(self.spd)

    def get_sad_info(self) -> SadInfo:
        return SadInfo(len(self.sad), 8, 1024)

    def get_spd_info(self) -> SpdInfo:
        return SpdInfo(1, 2, 3, hash_buckets=7, hash_buckets_max=1024, ipv4_threshold=HashThreshold(32, 24))

    def get_default(self) -> DefaultPolicy:
        if self.default is None:
            raise KernelRefused(errno.EINVAL, "", requests.get_default())
        return self.default
