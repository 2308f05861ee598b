"""Network devices and XFRM: interfaces of kind `xfrm`, and devices that carry SAs out themselves (offload)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from typing import Final

from xfrm.frame import ATTRIBUTE_HEADER, HEADER, frame

__all__ = ["add_xfrm_interface", "offload_devices"]

# linux/ethtool.h
_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_GSTRINGS: Final = 0x1B
_ETHTOOL_GSSET_INFO: Final = 0x37
_ETHTOOL_GFEATURES: Final = 0x3A
_ETH_SS_FEATURES: Final = 4
_ETH_GSTRING_LEN: Final = 32
_FEATURE: Final = b"esp-hw-offload"
"""NETIF_F_HW_ESP as ethtool names it."""

# linux/rtnetlink.h, linux/if_link.h
_RTM_NEWLINK: Final = 16
_NLM_F_REQUEST_ACK_CREATE_EXCL: Final = 0x605
_IFINFOMSG: Final = struct.Struct("=BxHiII")
_IFLA_IFNAME: Final = 3
_IFLA_LINKINFO: Final = 18
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_IFLA_XFRM_IF_ID: Final = 2


def offload_devices() -> tuple[str, ...]:
    """The interfaces of this namespace whose feature `esp-hw-offload` is on, by name. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        return tuple(name for _, name in socket.if_nameindex() if _offloads(control, name))


def _offloads(control: socket.socket, name: str) -> bool:
    try:
        sizes = _ethtool(control, name, struct.pack("=IIQI", _ETHTOOL_GSSET_INFO, 0, 1 << _ETH_SS_FEATURES, 0))
        count = struct.unpack_from("=I", sizes, 16)[0]
        strings = _ethtool(
            control,
            name,
            struct.pack("=III", _ETHTOOL_GSTRINGS, _ETH_SS_FEATURES, count) + bytes(count * _ETH_GSTRING_LEN),
        )
        words = -(-count // 32)
        features = _ethtool(control, name, struct.pack("=II", _ETHTOOL_GFEATURES, words) + bytes(16 * words))
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENODEV):
            return False
        raise
    names = [
        strings[start : start + _ETH_GSTRING_LEN].partition(b"\0")[0]
        for start in range(12, 12 + count * _ETH_GSTRING_LEN, _ETH_GSTRING_LEN)
    ]
    if _FEATURE not in names:
        return False
    word, bit = divmod(names.index(_FEATURE), 32)
    # struct ethtool_get_features_block: available, requested, active, never_changed.
    active: int = struct.unpack_from("=I", features, 8 + 16 * word + 8)[0]
    return bool(active >> bit & 1)


def _ethtool(control: socket.socket, name: str, command: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(command, len(command))
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(buffer))
    fcntl.ioctl(control, _SIOCETHTOOL, request)
    return buffer.raw


def add_xfrm_interface(name: str, if_id: int) -> int:
    """Add an interface of kind `xfrm` to this namespace. Gives the kernel's errno, 0 for success. Raises OSError."""
    data = _attribute(_IFLA_XFRM_IF_ID, struct.pack("=I", if_id))
    info = _attribute(_IFLA_INFO_KIND, b"xfrm\0") + _attribute(_IFLA_INFO_DATA, data)
    body = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    body += _attribute(_IFLA_IFNAME, name.encode() + b"\0") + _attribute(_IFLA_LINKINFO, info)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as link:
        link.sendto(frame(_RTM_NEWLINK, _NLM_F_REQUEST_ACK_CREATE_EXCL, 1, 0, body), (0, 0))
        answer = link.recv(65536)
    return -int(struct.unpack_from("=i", answer, HEADER.size)[0])


def _attribute(number: int, payload: bytes) -> bytes:
    return ATTRIBUTE_HEADER.pack(ATTRIBUTE_HEADER.size + len(payload), number) + payload + bytes(-len(payload) & 3)
