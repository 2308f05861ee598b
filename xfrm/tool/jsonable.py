"""Records as values of JSON's types: the names are the library's, so what has a name there has the same one here.

- A record is an object with its fields; SPIs are texts of eight hexadecimal digits, as everywhere.
- Numbers of the uapi are the words of `ip xfrm`, or the number itself where this release has no name for it.
- Flags are lists of words. Addresses and prefixes are texts. What is not there is null.
- A key is null unless keys are asked for; its length is beside it.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from enum import Enum, IntEnum, IntFlag
from typing import Any, Final

from xfrm.address import Address, Prefix
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm
from xfrm.attributes import RawAttribute
from xfrm.constants import AttributeType, name_of
from xfrm.dissect import Dissected
from xfrm.tool.words import ENUMERATIONS, FLAGS, flag_words, instant_ns, spi_text, word
from xfrm.values import SecurityContext

__all__ = ["SCHEMA_VERSION", "document", "event_object", "jsonable", "kind_of", "line", "message_object"]

SCHEMA_VERSION: Final = 1
"""A key keeps its meaning while this stays the same; new keys may join."""
_SPI_FIELDS: Final = frozenset({"spi", "minimum", "maximum"})


def jsonable(value: object, *, show_keys: bool = False) -> Any:
    """A record, or what is in one, in values of JSON's types. Raises TypeError for what no record holds."""
    if isinstance(value, IntEnum):
        return word(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Address | Prefix):
        return str(value)
    if isinstance(value, tuple | list):
        return [jsonable(item, show_keys=show_keys) for item in value]
    if isinstance(value, AeadAlgorithm | Algorithm | AuthAlgorithm):
        return _algorithm(value, show_keys)
    if isinstance(value, RawAttribute):
        return _raw(value, show_keys)
    if isinstance(value, SecurityContext):
        text = value.context.rstrip(b"\0").decode("utf-8", "backslashreplace")
        return {"context": text, "algorithm": value.algorithm, "doi": value.doi}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _field(value, field.name, getattr(value, field.name), show_keys) for field in fields(value)}
    raise TypeError(f"no record of this library holds {type(value).__name__}")


def _field(record: object, name: str, value: Any, show_keys: bool) -> Any:
    flags: type[IntFlag] | None = FLAGS.get((type(record), name))
    if flags is not None:
        return flag_words(flags, value)
    enumeration = ENUMERATIONS.get((type(record), name))
    if enumeration is not None and value in enumeration._value2member_map_:
        return word(enumeration(value))
    if name in _SPI_FIELDS and isinstance(value, int):
        return spi_text(value)
    return jsonable(value, show_keys=show_keys)


def _algorithm(value: AeadAlgorithm | Algorithm | AuthAlgorithm, show_keys: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": value.name,
        "key_bits": 8 * len(value.key),
        "key": value.key.reveal().hex() if show_keys else None,
    }
    if not isinstance(value, Algorithm):
        found["icv_bits"] = value.icv_bits
    return found


def _raw(value: RawAttribute, show_keys: bool) -> dict[str, Any]:
    # What this library does not know may hold a key.
    octets = value.payload.hex() if show_keys else None
    return {
        "name": name_of(AttributeType, value.number),
        "number": value.number,
        "octets": octets,
        "length": len(value.payload),
    }


def kind_of(record: object) -> str:
    """What sort of record this is, as JSON names it: `security_association`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(record).__name__).lower()


def document(result: Any) -> str:
    """A whole answer."""
    return json.dumps({"version": SCHEMA_VERSION, "result": result}, indent=2, ensure_ascii=False)


def line(value: dict[str, Any]) -> str:
    """An answer of many lines: one of them."""
    return json.dumps({"version": SCHEMA_VERSION, **value}, ensure_ascii=False)


def event_object(event: object, at_ns: int, *, show_keys: bool = False) -> dict[str, Any]:
    """An event: when it came, what it is, and its fields."""
    found = jsonable(event, show_keys=show_keys)
    return {"time": instant_ns(at_ns), "event": kind_of(event), **found}


def message_object(message: Dissected, at_ns: int | None, *, show_keys: bool = False) -> dict[str, Any]:
    """A message taken apart. `at_ns`: when it was captured, None where that is not known."""
    return {
        "time": None if at_ns is None else instant_ns(at_ns),
        "direction": "to-kernel" if message.to_kernel else "from-kernel",
        "message": message.name,
        "type": message.type,
        "flags": list(message.flag_names),
        "sequence": message.sequence,
        "port": message.port,
        "kind": None if message.content is None else kind_of(message.content),
        "content": jsonable(message.content, show_keys=show_keys),
        "attributes": list(message.attributes),
        "reason": message.reason or None,
    }
