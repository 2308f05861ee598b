"""NETLINK_XFRM for Python: SAs and policies of the Linux kernel, typed, with an outcome for each request.

Values are frozen dataclasses; keys never show themselves; addresses travel with their family::

    from xfrm import Address, AeadAlgorithm, AsyncXfrmSocket, Key, SecurityAssociation

    sa = SecurityAssociation(
        source=Address.of("0.0.0.0"),
        destination=Address.of("239.1.1.1"),
        spi=0x1234,
        aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(key_and_salt), icv_bits=128),
    )
    async with AsyncXfrmSocket() as kernel:
        await kernel.add_sa(sa)

Lists of mixed requests (`xfrm.requests`) go to `request_many`, which gives an Outcome for each. Errors are in
`xfrm.errors`; its Overrun, of a request socket, is not the event of that name that is exported here.

Layers, each of which imports only those before it: numbers (`constants`), the table compiler and the uapi's tables
(`layout`, `structs`, `attributes`, `messages`), values (`address`, `selector`, `policy`, `state`, `events`), requests
and conversations without I/O (`requests`, `window`, `dump`), and pyroute2's sockets (`nl`, `socket`, `monitor`), which
are loaded when first asked for, since pyroute2 takes a fifth of a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xfrm.address import Address, Prefix
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.attributes import RawAttribute
from xfrm.constants import (
    Action,
    Direction,
    Family,
    Group,
    Mode,
    PolicyFlag,
    PolicyType,
    Protocol,
    SaDirection,
    SaExtraFlag,
    SaFlag,
    Share,
)
from xfrm.errors import DecodeError, DumpInterrupted, EncodeError, KernelRefused, Timeout, XfrmError
from xfrm.events import (
    Acquire,
    Change,
    Event,
    Expire,
    Origin,
    Overrun,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    SaChange,
    SaFlush,
    Unknown,
)
from xfrm.policy import Policy, PolicyId, Template
from xfrm.replay import ReplayWindow, SequenceState
from xfrm.requests import Outcome, Request
from xfrm.selector import Selector
from xfrm.state import Encapsulation, SaId, SecurityAssociation, Statistics
from xfrm.values import Lifetime, Mark, Usage

if TYPE_CHECKING:
    from xfrm.monitor import AsyncXfrmMonitor, XfrmMonitor
    from xfrm.socket import AsyncXfrmSocket, XfrmSocket

__all__ = [
    "Acquire",
    "Action",
    "Address",
    "AeadAlgorithm",
    "Algorithm",
    "AsyncXfrmMonitor",
    "AsyncXfrmSocket",
    "AuthAlgorithm",
    "Change",
    "DecodeError",
    "Direction",
    "DumpInterrupted",
    "Encapsulation",
    "EncodeError",
    "Event",
    "Expire",
    "Family",
    "Group",
    "KernelRefused",
    "Key",
    "Lifetime",
    "Mark",
    "Mode",
    "Origin",
    "Outcome",
    "Overrun",
    "Policy",
    "PolicyChange",
    "PolicyExpire",
    "PolicyFlag",
    "PolicyFlush",
    "PolicyId",
    "PolicyType",
    "Prefix",
    "Protocol",
    "RawAttribute",
    "ReplayWindow",
    "Request",
    "SaChange",
    "SaDirection",
    "SaExtraFlag",
    "SaFlag",
    "SaFlush",
    "SaId",
    "SecurityAssociation",
    "Selector",
    "SequenceState",
    "Share",
    "Statistics",
    "Template",
    "Timeout",
    "Unknown",
    "Usage",
    "XfrmError",
    "XfrmMonitor",
    "XfrmSocket",
]

_LAZY = {
    "AsyncXfrmMonitor": "xfrm.monitor",
    "AsyncXfrmSocket": "xfrm.socket",
    "XfrmMonitor": "xfrm.monitor",
    "XfrmSocket": "xfrm.socket",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'xfrm' has no attribute {name!r}")
    return getattr(import_module(module), name)
