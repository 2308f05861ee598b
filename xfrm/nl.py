"""XFRM as a family of pyroute2: nlmsg and nla classes and a marshal, all derived from this library's tables.

They are for pyroute2's own tools; the sockets here use the compiled codecs. Attributes with keys, bitmaps and arrays
are written and read by those codecs inside the nla class, so that pyroute2's encoder, which logs what it cannot pack,
never sees a key. Importing this module caps pyroute2's loggers: below WARNING it logs whole messages.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from pyroute2.netlink import nla, nlmsg
from pyroute2.netlink.marshal import Marshal

from xfrm.attributes import Attribute, Codec, ScalarCodec, StructCodec
from xfrm.errors import DecodeError
from xfrm.layout import Layout
from xfrm.messages import MESSAGES, MessageSpec

__all__ = ["MarshalXfrm", "fields_of", "message_class", "message_classes"]

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
    """An attribute whose value is this library's, written and read by its codec."""

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
            value = self.codec.decode(bytes(self.data[offset : self.offset + self.length]))
        except DecodeError as error:
            value = f"undecoded: {error}"
        self.setvalue(value)


def _nla_of(row: Attribute[Any]) -> tuple[str, type[nla] | None]:
    """The name of the class for a row, and the class where it is none of pyroute2's own."""
    codec = row.codec
    if isinstance(codec, ScalarCodec):
        return _ATOMS[codec.code], None
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
    return type(spec.type.name.lower(), (nlmsg,), content)


def message_classes() -> dict[int, type[nlmsg]]:
    """All of them by message number."""
    return {int(number): message_class(spec) for number, spec in MESSAGES.items()}


class MarshalXfrm(Marshal):
    """pyroute2's parser of a datagram, with the messages of XFRM."""

    msg_map = message_classes()


def _cap_loggers() -> None:
    root = logging.getLogger("pyroute2")
    root.setLevel(max(root.level, logging.WARNING))
    logging.getLogger("pyroute2.netlink").addFilter(_hides_values)


def _hides_values(record: logging.LogRecord) -> bool:
    # pyroute2 logs the value that it failed to pack.
    return not record.getMessage().startswith("error pack")


_cap_loggers()
