from typing import ClassVar

from pyroute2.netlink.core import AsyncCoreSocket
from pyroute2.netlink.marshal import Marshal

class AsyncNetlinkSocket(AsyncCoreSocket):
    marshal_class: ClassVar[type[Marshal]]
    def __init__(
        self,
        family: int = ...,
        *,
        sndbuf: int = ...,
        rcvbuf: int = ...,
        ext_ack: bool = ...,
        netns: str | None = ...,
        flags: int = ...,
    ) -> None: ...
    def add_membership(self, group: int) -> None: ...
