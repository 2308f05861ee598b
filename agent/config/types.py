"""What the schemas of gmd and gckd have in common: tables, addresses, identities, flows, transforms, files.

A schema is a tree of `Table`s. Values arrive as the heart's own types (`Flow`, `Identity`, `Transform`, ...), so that
nothing past the loader parses text again. Units are in the names of the keys (`_s` for seconds).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from netaddr import AddrFormatError, IPAddress
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, model_validator

from agent.config.files import PublicFile, SecretFile, read_public, read_secret
from agent.crypto.suites import Suite
from agent.gsa.algorithms import Transform
from agent.gsa.flow import ANY_PROTOCOL, PROTOCOLS, Flow
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.logs import LogFormat

__all__ = [
    "Address",
    "Fault",
    "FilePath",
    "FlowTable",
    "GroupAddress",
    "GroupNumber",
    "IdentityTable",
    "LogFormatName",
    "Name",
    "Phase1SuiteName",
    "Place",
    "Port",
    "ProtocolName",
    "PublicKeyFile",
    "Seconds",
    "SecretKeyFile",
    "Span",
    "Table",
    "TransformName",
    "named",
    "parsed",
    "path_of",
    "repeated",
    "repeated_keys",
    "rows",
    "text_of",
]

Chosen = TypeVar("Chosen", bound=Enum)
Parsed = TypeVar("Parsed", bound="Table")

Place = tuple[str | int, ...]
"""Where something stands in a file: the keys and indexes that lead to it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a file: its `place`, and what is wrong with what is allowed."""

    place: Place
    message: str


class Table(BaseModel):
    """A table of a configuration file: immutable, and a key that it does not know is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @classmethod
    def cross_check(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """Faults between keys and tables (a name used twice, keys that go together), from the file as parsed.

        The loader asks every table, also when single values are wrong, so that all faults come at once; hence `raw`,
        this table, may hold anything: see `rows`. Places are relative to this table.
        """
        del raw
        return ()


def rows(raw: Mapping[str, Any], *path: str) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """The tables of an array of tables (of arrays of tables), with their places; passes over what is none."""
    here: list[tuple[Place, Mapping[str, Any]]] = [((), raw)]
    for key in path:
        below: list[tuple[Place, Mapping[str, Any]]] = []
        for place, table in here:
            entries = table.get(key)
            for index, entry in enumerate(entries if isinstance(entries, list) else ()):
                if isinstance(entry, dict):
                    below.append(((*place, key, index), entry))
        here = below
    return iter(here)


def parsed(table: type[Parsed], raw: object) -> Parsed | None:
    """The table that stands there as parsed; None where it is none, which the schema tells."""
    try:
        return table.model_validate(raw)
    except ValueError:
        return None


def repeated(values: Iterable[tuple[Place, Hashable]]) -> Iterator[Fault]:
    """A fault at each place whose value stands at another one, too; None is no value."""
    given = [(place, value) for place, value in values if value is not None]
    uses = Counter(value for _, value in given)
    for place, value in given:
        if uses[value] > 1:
            yield Fault(place, f"used {uses[value]} times, once is allowed, got {value}")


def repeated_keys(raw: Mapping[str, Any], array: str, *keys: str) -> Iterator[Fault]:
    """The faults of an array of tables in which each of these keys may have a value once."""
    for key in keys:
        values = [((*place, key), table.get(key)) for place, table in rows(raw, array)]
        yield from repeated((place, value) for place, value in values if isinstance(value, Hashable))


def named(choice: type[Chosen]) -> PlainValidator:
    """The validator that takes an enum's value by its text and names all that are allowed."""
    allowed = ", ".join(f'"{member.value}"' for member in choice)

    def validate(text: object) -> Chosen:
        try:
            return choice(text)
        except ValueError:
            raise ValueError(f"one of {allowed}") from None

    return PlainValidator(validate)


def text_of(parse: Callable[[str], object], allowed: str) -> PlainValidator:
    """The validator that reads a text by `parse`, which raises ValueError; `allowed` is said of what is no text."""

    def validate(text: object) -> object:
        if not isinstance(text, str):
            raise ValueError(allowed)
        return parse(text)

    return PlainValidator(validate)


def _address(text: str) -> IPAddress:
    try:
        address = IPAddress(text, flags=0)
    except (AddrFormatError, ValueError):
        raise ValueError("an IPv4 or IPv6 address") from None
    if address.is_multicast() or address.is_link_local():
        raise ValueError("an IPv4 or IPv6 unicast address that is not link-local")
    return address


def _name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text):
        return text
    raise ValueError("1 to 63 letters, digits, dots, underscores and hyphens, beginning with a letter or digit")


def _group(value: object) -> GroupId:
    if isinstance(value, str):
        return GroupId.parse(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**32:
        raise ValueError('a number from 1 to 4294967295, or a text as in "fqdn:video.example"')
    return GroupId.of_number(value)


Address = Annotated[IPAddress, text_of(_address, "an IPv4 or IPv6 address")]
"""A unicast address as text; link-local ones are refused, they mean nothing without an interface."""


def _group_address(text: str) -> IPAddress:
    try:
        address = IPAddress(text, flags=0)
    except (AddrFormatError, ValueError):
        raise ValueError("an IPv4 or IPv6 address") from None
    if not address.is_multicast():
        raise ValueError("a multicast address")
    return address


GroupAddress = Annotated[IPAddress, text_of(_group_address, "an IPv4 or IPv6 address")]
"""A multicast address as text."""

Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
"""A UDP port."""

Seconds = Annotated[int, Field(strict=True, ge=1, le=10 * 365 * 86400)]
"""A span of whole seconds."""

Span = Annotated[float, Field(strict=True, ge=0, le=10 * 365 * 86400)]
"""A span of seconds, which may be none, or a part of one."""

Name = Annotated[str, text_of(_name, "a name in quotes")]
"""A name of the operator's choice: letters, digits, `.`, `_`, `-`."""

GroupNumber = Annotated[GroupId, PlainValidator(_group)]
"""A group identifier (RFC 6407 5.1): a number for GDOI's four-octet form, a text with its type for any other."""

TransformName = Annotated[Transform, text_of(Transform.parse, "the name of a transform")]
"""A transform of a Data-Security SA by name, e.g. `aes-gcm-16-128` or `aes-cbc-128+hmac-sha2-256`; of AH, which has no
cipher, `hmac-sha2-256`."""

LogFormatName = Annotated[LogFormat, named(LogFormat)]
"""The form of log lines."""


class IdentityTable(Table):
    """An identity: `type` (`ipv4`, `ipv6`, `fqdn`, `user-fqdn`, `dn`, `key-id`) and its `value` as text."""

    type: Annotated[IdentityKind, named(IdentityKind)]
    value: Annotated[str, Field(strict=True, min_length=1, max_length=1024)]

    @model_validator(mode="after")
    def _parses(self) -> IdentityTable:
        try:
            self.identity  # noqa: B018  # asked for its error alone
        except ValueError as error:
            raise ValueError(f"value {self.value!r} is no {self.type.value}: {error}") from None
        return self

    @property
    def identity(self) -> Identity:
        """The identity as the heart has it."""
        return Identity.parse(self.type, self.value)


_PROTOCOLS: Final = {"any": ANY_PROTOCOL, **PROTOCOLS}


def _protocol(value: object) -> int:
    if isinstance(value, str) and value in _PROTOCOLS:
        return _PROTOCOLS[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255:
        return value
    raise ValueError(f"a protocol number from 0 to 255 or one of {', '.join(_PROTOCOLS)}")


ProtocolName = Annotated[int, PlainValidator(_protocol)]
"""An IP protocol by name or number."""


class FlowTable(Table):
    """A flow: `destination` and `source` (addresses or prefixes, source `any` by default), `protocol`, ports.

    `protocol`: a name (`udp`, `tcp`, `sctp`, ...) or number, `any` by default; `port`: destination port;
    a port left out is any port.
    """

    destination: Annotated[str, Field(strict=True)]
    source: Annotated[str, Field(strict=True)] = "any"
    protocol: ProtocolName = 0
    port: Port | None = None
    source_port: Port | None = None

    @model_validator(mode="after")
    def _parses(self) -> FlowTable:
        if self.protocol == ANY_PROTOCOL and (self.port or self.source_port):
            raise ValueError('a port goes with a protocol that has ports, as in protocol = "udp"')
        self.flow  # noqa: B018  # asked for its error alone
        return self

    @property
    def flow(self) -> Flow:
        """The flow as the heart has it."""
        return Flow.parse(
            self.destination,
            self.source,
            protocol=self.protocol,
            source_port=self.source_port or 0,
            port=self.port or 0,
        )


def _suite(text: str) -> Suite:
    suite = Suite.parse(text)
    missing = suite.missing()
    if missing is not None:
        raise ValueError(missing)
    return suite


Phase1SuiteName = Annotated[Suite, text_of(_suite, "the name of a Phase 1 suite")]
"""A Phase 1 suite by name, e.g. `aes-cbc-128/sha2-256/modp-2048`, that this host can use."""


def path_of(text: object, info: ValidationInfo) -> Path:
    """The path that a file names, from the file's own folder where it is relative. Raises ValueError."""
    if not isinstance(text, str) or not text:
        raise ValueError("a path")
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / text


FilePath = Annotated[Path, PlainValidator(path_of)]
"""A path; a relative one starts at the configuration file's folder."""


def _secret(text: object, info: ValidationInfo) -> SecretFile:
    return read_secret(path_of(text, info), (info.context or {}).get("owner"))


SecretKeyFile = Annotated[SecretFile, PlainValidator(_secret)]
"""A file that holds a secret, read and held; it is for its owner alone: root, the daemon's user, or the file's own."""

PublicKeyFile = Annotated[PublicFile, PlainValidator(lambda text, info: read_public(path_of(text, info)))]
"""A file that holds certificates, read and held."""
