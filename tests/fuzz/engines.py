"""What the engine targets share: cheap Diffie-Hellman, secrets that must not show, ends that come to rest.

Nothing here weakens what is tested: key pairs and shared values are those of the library, only made once for each
private value, as the entropy of these runs repeats itself.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Final
from unittest import mock

from agent.clock import Entropy
from agent.crypto import dh
from agent.crypto.ciphers import CbcKey
from agent.crypto.dh_groups import DhGroup
from agent.gdoi.isakmp.channel import Channel, encrypt_message
from agent.gdoi.isakmp.constants import HeaderFlags, PayloadType
from agent.gdoi.isakmp.header import HEADER, Header
from agent.gsa.sa import DataSA
from agent.secret import Secret
from agent.service.pump import Engine
from agent.wire.endpoint import Datagram
from tests.unit.gdoi.pair import KEY, Pair, an_sa

__all__ = [
    "COOKIES",
    "MOST_ANSWERS",
    "TEK",
    "at_rest",
    "copied",
    "keyed_sa",
    "left_alone",
    "protected",
    "quick_dh",
    "require_bounded",
    "require_quiet",
]

COOKIES: Final = b"both cookies are"
"""Stands in a step for those of the Phase 1 SA."""
MOST_ANSWERS: Final = 70
"""Datagrams that one may cause: a whole message in fragments, and a Delete or two."""
TEK: Final = bytes.fromhex("93c1e4075a2db86f1e7403d9ac52f6187b3ed045")
"""The key of what is offered: no row of equal octets, which a peer may send for other reasons and see printed."""
_SHOWN: Final = (KEY.reveal().hex(), KEY.reveal().decode(), TEK.hex())
_PAIRS: dict[tuple[DhGroup, bytes], dh.KeyPair] = {}
_SHARED: dict[tuple[DhGroup, bytes, bytes], bytes] = {}


def keyed_sa(spi: int = 0xC0FFEE01) -> DataSA:
    """An SA of that key."""
    return dataclasses.replace(an_sa(spi), cipher_key=Secret(TEK))


class _Given:
    """Entropy that was drawn already."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def octets(self, count: int) -> bytes:
        return self._octets[:count]


class _Kept:
    """A key pair whose results are kept."""

    def __init__(self, group: DhGroup, drawn: bytes) -> None:
        self._name = group, drawn
        self._pair = _PAIRS.get(self._name) or _PAIRS.setdefault(self._name, dh.generate(group, _Given(drawn)))

    @property
    def public(self) -> bytes:
        return self._pair.public

    def shared(self, peer_public: bytes) -> Secret:
        name = (*self._name, peer_public)
        if name not in _SHARED:
            octets = self._pair.shared(peer_public).reveal()
            if len(_SHARED) > 1000:
                _SHARED.clear()
            _SHARED[name] = octets
        return Secret(_SHARED[name])


def _generate(group: DhGroup, entropy: Entropy) -> dh.KeyPair:
    return _Kept(group, entropy.octets(80))


@contextlib.contextmanager
def quick_dh() -> Iterator[None]:
    """Phase 1 whose Diffie-Hellman costs nothing the second time."""
    with (
        mock.patch("agent.gdoi.isakmp.phase1.generate", _generate),
        mock.patch("agent.gdoi.isakmp.phase1_aggressive.generate", _generate),
    ):
        yield


def copied(one: Pair, *shared: object) -> Pair:
    """A pair in the same state, so that Phase 1 is made once for many inputs; `shared`: what no input changes."""
    one.on_wire.clear()
    one.member_events.clear()
    one.key_server_events.clear()
    known: dict[int, object] = {id(each): each for each in shared}
    with (
        mock.patch.object(Secret, "__deepcopy__", lambda self, _: Secret(self.reveal()), create=True),
        # What a cipher expanded from its key cannot be copied, but is made again.
        mock.patch.object(
            CbcKey, "__deepcopy__", lambda self, memo: CbcKey(self.cipher, copy.deepcopy(self.key, memo)), create=True
        ),
    ):
        return copy.deepcopy(one, known)


def protected(channel: Channel, exchange: int, message_id: int, carried: bytes, first: int, chain: bytes) -> bytes:
    """A message under that channel whose HASH holds, whatever it says: as the channel's other end would send it."""
    digest = channel.prf(message_id.to_bytes(4) + carried + chain)
    length = 4 + len(digest)
    plain = bytes([first, 0]) + length.to_bytes(2) + digest + chain
    keys = channel._keys
    header = Header(
        keys.cookies[:8],
        keys.cookies[8:],
        PayloadType.HASH,
        exchange,
        HeaderFlags.ENCRYPTION,
        message_id,
        HEADER.size,
    )
    return encrypt_message(header, plain, channel._cipher, channel._iv(message_id))


def require_quiet(events: Iterable[object]) -> None:
    """No key shows in what is told."""
    for event in events:
        text = f"{event!r} {event}"
        assert not any(shown in text for shown in _SHOWN), "a key in an event"
        assert "\n" not in str(getattr(event, "reason", "")), "a reason of several lines"


def require_bounded(sent: Iterable[Datagram]) -> None:
    """No flood for one datagram."""
    assert len(list(sent)) <= MOST_ANSWERS, "one datagram caused a flood"


def at_rest(engine: Engine[Any], now: float) -> None:
    """An engine that is left alone comes to rest."""
    for _ in range(10_000):
        deadline = engine.deadline()
        if deadline is None:
            return
        now = max(now, deadline)
        engine.fire(now)
        require_quiet(engine.events())
        engine.outgoing()
    raise AssertionError("an engine that does not come to rest")


def left_alone(one: Pair) -> None:
    """Both engines, closed, come to rest."""
    for engine in (one.member, one.key_server):
        engine.close(one.now)
        require_quiet(engine.events())
        at_rest(engine, one.now)
