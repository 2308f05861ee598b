from collections.abc import Iterator
from typing import Any, ClassVar

from pyroute2.netlink import nlmsg
from pyroute2.netlink.core import AsyncCoreSocket, SyncAPI
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
    def register_policy(self, policy: dict[int, type[nlmsg]], /) -> Any: ...

class NetlinkSocket(SyncAPI):
    marshal: Marshal
    def __init__(self, family: int = ...) -> None: ...
    def register_policy(self, policy: dict[int, type[nlmsg]], /) -> Any: ...
    def __enter__(self) -> NetlinkSocket: ...
    def __exit__(self, exc_type: object, exc_value: object, traceback: object) -> None: ...
    def bind(self) -> None: ...
    def nlm_request(self, msg: nlmsg, msg_type: int, msg_flags: int = ...) -> Iterator[nlmsg]: ...
