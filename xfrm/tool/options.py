"""Options that commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Final

import click

from xfrm.address import Prefix
from xfrm.constants import Mode, Protocol
from xfrm.errors import EncodeError
from xfrm.tool.filters import Filter, MarkFilter

__all__ = ["filter_of", "filter_options", "json_option", "keys_option", "netns_option"]

_PROTOCOLS: Final = {"esp": Protocol.ESP, "ah": Protocol.AH, "comp": Protocol.COMP}
_MODES: Final = {
    "transport": Mode.TRANSPORT,
    "tunnel": Mode.TUNNEL,
    "beet": Mode.BEET,
    "iptfs": Mode.IPTFS,
    "routeoptimization": Mode.XFRM_MODE_ROUTEOPTIMIZATION,
}
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class PrefixType(click.ParamType[Prefix]):
    """An address or a prefix."""

    name = "prefix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Prefix:
        """Read it; a fault is the user's."""
        if isinstance(value, Prefix):
            return value
        try:
            return Prefix.of(value)
        except EncodeError as error:
            self.fail(f"{error} (expected 239.1.1.1, 10.0.0.0/8 or an IPv6 address or prefix)", param, ctx)


class NumberType(click.ParamType[int]):
    """A number of some bits, decimal or hexadecimal with 0x; `words`: what may stand for some numbers."""

    name = "number"

    def __init__(self, bits: int, words: dict[str, int] | None = None) -> None:
        self._bits: Final = bits
        self._words: Final = words or {}

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """The words, where there are some."""
        return "[" + "|".join(self._words) + "|number]" if self._words else None

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it; a fault is the user's."""
        if isinstance(value, int):
            return value
        if value in self._words:
            return self._words[value]
        try:
            number = int(value, 0)
        except ValueError:
            words = "".join(f"{word}, " for word in self._words)
            self.fail(f"{value!r} is none of {words}a decimal or a 0x number", param, ctx)
        if not 0 <= number < 2**self._bits:
            self.fail(f"{value} does not fit {self._bits} bits", param, ctx)
        return number


class MarkType(click.ParamType[MarkFilter]):
    """A mark, with or without its mask."""

    name = "value[/mask]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> MarkFilter:
        """Read it; a fault is the user's."""
        if isinstance(value, MarkFilter):
            return value
        number = NumberType(32)
        before, slash, after = value.partition("/")
        mask = number.convert(after, param, ctx) if slash else None
        return MarkFilter(number.convert(before, param, ctx), mask)


json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
"""Of every command that shows something."""
keys_option: Final = click.option("--show-keys", is_flag=True, help="Show keys, which are hidden otherwise.")
"""Of every command that shows SAs."""
netns_option: Final = click.option(
    "--netns", metavar="NAME", help="The network namespace that `ip netns` calls so, instead of this one."
)
"""Of every command that asks the kernel."""

_FILTERS: Final[tuple[_Decorator, ...]] = (
    click.option("--src", "source", type=PrefixType(), help="Whose source overlaps the prefix."),
    click.option("--dst", "destination", type=PrefixType(), help="Whose destination overlaps the prefix."),
    click.option("--proto", "protocol", type=NumberType(8, dict(_PROTOCOLS)), help="Of this transform."),
    click.option("--spi", type=NumberType(32), help="Of this SPI."),
    click.option("--reqid", type=NumberType(32), help="Of this reqid."),
    click.option("--mark", type=MarkType(), help="Of this mark; of any mask where none is given."),
    click.option("--if-id", "if_id", type=NumberType(32), help="Of this XFRM interface."),
    click.option("--mode", type=NumberType(8, dict(_MODES)), help="Of this mode."),
    click.option("--dir", "direction", type=click.Choice(["in", "out", "fwd"]), help="Of this direction."),
)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a Filter; all of those used must hold."""
    return reduce(lambda decorated, option: option(decorated), reversed(_FILTERS), command)


def filter_of(options: dict[str, Any]) -> Filter:
    """The filter of what `filter_options` gave."""
    return Filter(**options)
