"""XFRM as a family of pyroute2: nlmsg and nla classes and a marshal, all derived from this library's tables.

They are for pyroute2's own tools; the sockets here use the compiled codecs. What pyroute2 has for a family is a marshal
and a policy, a map of message numbers to classes: `MarshalXfrm` and `POLICY`. So these work::

    pyroute2-decoder -c xfrm.nl.MarshalXfrm -f pcap -d nlmon.pcap -m "ll_header{family=6}"

    socket = NetlinkSocket(family=NETLINK_XFRM)  # pyroute2's
    register(socket)

Attributes with keys, bitmaps and arrays are written and read by this library's codecs inside the nla class, so that
pyroute2's encoder, which logs what it cannot pack, never sees a key. They are written from this library's values and
read as dictionaries and lists of what JSON has, in which a key is only its length. Importing this module caps
pyroute2's loggers: below WARNING it logs whole messages.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Final, Protocol

from pyroute2.netlink import nla, nlmsg
from pyroute2.netlink.marshal import Marshal

from xfrm.algorithms import Key
from xfrm.attributes import Attribute
from xfrm.codecs import Codec, FlagCodec, ScalarCodec, StructCodec
from xfrm.constants import NetlinkFlag
from xfrm.errors import DecodeError
from xfrm.layout import Layout
from xfrm.messages import MESSAGES, MessageSpec

__all__ = ["POLICY", "MarshalXfrm", "TakesPolicy", "fields_of", "message_class", "message_classes", "register"]

_ATOMS: Final = {"B": "uint8", "H": "uint16", "I": "uint32", "Q": "uint64"}


def fields_of(layout: Layout[Any]) -> tuple[tuple[str, str], ...]:
    """A layout's rows as pyroute2 fields: paths with `_` for the dot, pads as fields of their own."""
    fields: list[tuple[str, str]] = []
    for row in layout.rows:
        code = row.kind.code
        fields.append((_field_name(row.path), f">{code}" if row.kind.big_endian else f"={code}"))
        if row.pad:
            fields.append((f"__pad_{row.offset}", f"{row.pad}x"))
    return tuple(fields)


def _field_name(path: str) -> str:
    return path.replace(".", "_")


def _defaults(layout: Layout[Any]) -> dict[str, Any]:
    # pyroute2's own default is the number 0, which does not pack into octets.
    return {_field_name(row.path): b"" for row in layout.rows if row.is_octets}


class _CodecNla(nla):
    """An attribute written from this library's value by its codec, and read into what JSON has."""

    codec: Codec[Any]

    def ft_encode(self, offset: int) -> tuple[int, int]:
        """Write the payload; pyroute2 wants the end with padding and the padding's length."""
        payload = self.codec.encode(self.getvalue())
        padding = -len(payload) & 3
        self.data.extend(payload + bytes(padding))
        return offset + len(payload) + padding, padding

    def ft_decode(self, offset: int) -> None:
        """Read the payload; pyroute2 shows an attribute it could not read as raw octets."""
        try:
            value = _plain(self.codec.decode(bytes(self.data[offset : self.offset + self.length])))
        except DecodeError as error:
            value = f"undecoded: {error}"
        self.value = value


def _plain(value: Any) -> Any:
    if isinstance(value, Key):
        return repr(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


class _BareDump(nlmsg):
    """A message that has no struct where it asks for a dump."""

    def ft_decode(self, offset: int) -> None:
        """Read fields and attributes, or attributes alone."""
        if self["header"]["flags"] & NetlinkFlag.NLM_F_DUMP == NetlinkFlag.NLM_F_DUMP:
            self.fields = ()
        super().ft_decode(offset)


def _nla_of(row: Attribute[Any]) -> tuple[str, type[nla] | None]:
    """The name of the class for a row, and the class where it is none of pyroute2's own."""
    codec = row.codec
    if isinstance(codec, ScalarCodec):
        return _ATOMS[codec.code], None
    if isinstance(codec, FlagCodec):
        return "flag", None
    name = f"xfrma_{row.number.name.removeprefix('XFRMA_').lower()}"
    if isinstance(codec, StructCodec):
        content = {"fields": fields_of(codec.layout), "defaults": _defaults(codec.layout)}
        return name, type(name, (nla,), content)
    return name, type(name, (_CodecNla,), {"codec": codec})


def message_class(spec: MessageSpec) -> type[nlmsg]:
    """The nlmsg class of a row of the message table."""
    content: dict[str, Any] = {"prefix": "XFRMA_", "fields": (), "defaults": {}}
    if spec.layout is not None:
        content.update(fields=fields_of(spec.layout), defaults=_defaults(spec.layout))
    nla_map: list[tuple[int, str, str]] = []
    for row in dict.fromkeys(spec.attributes):
        name, class_ = _nla_of(row)
        if class_ is not None:
            content[name] = class_
        nla_map.append((int(row.number), row.number.name, name))
    content["nla_map"] = tuple(nla_map)
    return type(spec.type.name.lower(), (_BareDump if spec.bare_dump else nlmsg,), content)


def message_classes() -> dict[int, type[nlmsg]]:
    """All of them by message number."""
    return {int(number): message_class(spec) for number, spec in MESSAGES.items()}


POLICY: Final = message_classes()
"""XFRM's policy in pyroute2's sense: the class of each message number."""


class MarshalXfrm(Marshal):
    """pyroute2's parser of a datagram, with the messages of XFRM."""

    msg_map = POLICY


class TakesPolicy(Protocol):
    """A socket of pyroute2, synchronous or not."""

    def register_policy(self, policy: dict[int, type[nlmsg]], /) -> Any:
        """Have it write and read these messages by these classes."""


def register(socket: TakesPolicy) -> None:
    """Teach a socket of pyroute2, opened for NETLINK_XFRM, the messages of XFRM."""
    socket.register_policy(POLICY)


def _cap_loggers() -> None:
    root = logging.getLogger("pyroute2")
    root.setLevel(max(root.level, logging.WARNING))
    logging.getLogger("pyroute2.netlink").addFilter(_hides_values)


def _hides_values(record: logging.LogRecord) -> bool:
    # pyroute2 logs the value that it failed to pack.
    return not record.getMessage().startswith("error pack")


_cap_loggers()
