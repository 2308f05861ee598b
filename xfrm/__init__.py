"""NETLINK_XFRM for Python: SAs and policies of the Linux kernel, typed, with an outcome for each request.

Values are frozen records, which `dataclasses` takes for its own; keys never show themselves; addresses travel with
their family::

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
(`layout`, `structs`, `control_structs`, `codecs`, `attributes`, `messages`), values (`address`, `selector`, `policy`,
`state`, `spi`, `aevent`, `migration`, `info`, `events`), requests and conversations without I/O (`answers`, `requests`,
`calls`, `window`, `dump`), and sockets on pyroute2 (`nl`, `endpoint`, `socket`, `monitor`), which are loaded when first
asked for, since pyroute2 takes a fifth of a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xfrm.address import Address, Prefix
from xfrm.aevent import Aevent
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.attributes import RawAttribute
from xfrm.constants import (
    Action,
    AeFlag,
    DefaultAction,
    Direction,
    EncapsulationType,
    Family,
    Group,
    MigrateStateFlag,
    Mode,
    OffloadFlag,
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
    AeventReport,
    Change,
    DefaultChange,
    Event,
    Expire,
    Mapping,
    Origin,
    Overrun,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    PolicyMigrated,
    Report,
    SaChange,
    SaFlush,
    SaMigrated,
    Unknown,
)
from xfrm.info import DefaultPolicy, HashThreshold, SadInfo, SpdInfo
from xfrm.iptfs import Iptfs
from xfrm.migration import KmAddress, Migration, MigrationStep, SaMigration
from xfrm.policy import Policy, PolicyId, Template
from xfrm.replay import ReplayWindow, SequenceState
from xfrm.requests import Outcome, Request
from xfrm.selector import AddressFilter, Selector
from xfrm.spi import SpiRequest
from xfrm.state import Encapsulation, SaId, SecurityAssociation, Statistics
from xfrm.thresholds import Thresholds
from xfrm.values import Lifetime, Mark, Offload, SecurityContext, Usage

if TYPE_CHECKING:
    from xfrm.capabilities import AlgorithmKind, AlgorithmSupport, Feature, KernelCapabilities
    from xfrm.monitor import AsyncXfrmMonitor, XfrmMonitor
    from xfrm.probing import async_probe, probe
    from xfrm.socket import AsyncXfrmSocket, XfrmSocket

__all__ = [
    "Acquire",
    "Action",
    "Address",
    "AddressFilter",
    "AeFlag",
    "AeadAlgorithm",
    "Aevent",
    "AeventReport",
    "Algorithm",
    "AlgorithmKind",
    "AlgorithmSupport",
    "AsyncXfrmMonitor",
    "AsyncXfrmSocket",
    "AuthAlgorithm",
    "Change",
    "DecodeError",
    "DefaultAction",
    "DefaultChange",
    "DefaultPolicy",
    "Direction",
    "DumpInterrupted",
    "Encapsulation",
    "EncapsulationType",
    "EncodeError",
    "Event",
    "Expire",
    "Family",
    "Feature",
    "Group",
    "HashThreshold",
    "Iptfs",
    "KernelCapabilities",
    "KernelRefused",
    "Key",
    "KmAddress",
    "Lifetime",
    "Mapping",
    "Mark",
    "MigrateStateFlag",
    "Migration",
    "MigrationStep",
    "Mode",
    "Offload",
    "OffloadFlag",
    "Origin",
    "Outcome",
    "Overrun",
    "Policy",
    "PolicyChange",
    "PolicyExpire",
    "PolicyFlag",
    "PolicyFlush",
    "PolicyId",
    "PolicyMigrated",
    "PolicyType",
    "Prefix",
    "Protocol",
    "RawAttribute",
    "ReplayWindow",
    "Report",
    "Request",
    "SaChange",
    "SaDirection",
    "SaExtraFlag",
    "SaFlag",
    "SaFlush",
    "SaId",
    "SaMigrated",
    "SaMigration",
    "SadInfo",
    "SecurityAssociation",
    "SecurityContext",
    "Selector",
    "SequenceState",
    "Share",
    "SpdInfo",
    "SpiRequest",
    "Statistics",
    "Template",
    "Thresholds",
    "Timeout",
    "Unknown",
    "Usage",
    "XfrmError",
    "XfrmMonitor",
    "XfrmSocket",
    "async_probe",
    "probe",
]

_LAZY = {
    "AlgorithmKind": "xfrm.capabilities",
    "AlgorithmSupport": "xfrm.capabilities",
    "Feature": "xfrm.capabilities",
    "KernelCapabilities": "xfrm.capabilities",
    "async_probe": "xfrm.probing",
    "probe": "xfrm.probing",
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
