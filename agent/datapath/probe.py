"""What a SAD can hold, found by trying: an SA with each algorithm goes in and out again.

The kernel loads an algorithm on its first use, which takes long: trying all of them is also the warming up.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import Final

from netaddr import IPAddress

from agent.datapath.carry import Link
from agent.datapath.port import AddSa, Capabilities, DeleteSa
from agent.errors import LocalError
from agent.gsa.algorithms import CIPHERS, INTEGRITIES, TRANSFORMS, Cipher, Integrity, Transform
from agent.gsa.databases import OWN_REQIDS, SadEntry
from agent.gsa.flow import Flow
from agent.gsa.sa import Mode, SecurityProtocol, Spi
from agent.secret import Secret

__all__ = ["probe", "unreachable"]

_DESTINATIONS: Final = {4: IPAddress("192.0.2.1"), 6: IPAddress("2001:db8::1")}
"""Documentation addresses (RFC 5737, RFC 3849): no packet is to them."""
_SPIS: Final = range(0x100, 2**32)


def _of_cipher(cipher: Cipher) -> Transform:
    facts = CIPHERS[cipher]
    return Transform(cipher, min(facts.key_bits, default=0), None if facts.combined else Integrity.HMAC_SHA2_256)


_CIPHER_TRIALS: Final = {_of_cipher(cipher): cipher for cipher in CIPHERS}
_INTEGRITY_TRIALS: Final = {
    Transform(Cipher.NULL, 0, integrity): integrity for integrity, facts in INTEGRITIES.items() if not facts.ah_only
}
_ESP: Final = tuple(dict.fromkeys((*_CIPHER_TRIALS, *_INTEGRITY_TRIALS)))
"""One transform for each algorithm: the kernel takes any cipher with any integrity, and each length of key."""
_AH: Final = tuple(transform for transform in TRANSFORMS if transform.cipher is None)


async def probe(link: Link) -> Capabilities:
    """Try every algorithm of ESP and AH. A kernel may lack AH.

    Raises LocalError, ending with what to do, when there is no ESP or no permission.
    """
    able = await _try(link, 4, _ESP)
    families = {4} if able else set()
    # Algorithms are the same for both IP versions: one transform shows whether there is ESP at all.
    able6 = await _try(link, 6, able[:1] or _ESP)
    if able6:
        families.add(6)
    if not families:
        raise LocalError(
            "this kernel has no ESP: load the modules esp4, esp6, gcm, cbc and authenc, or run a kernel with"
            " CONFIG_INET_ESP and CONFIG_INET6_ESP",
            exit_status=os.EX_UNAVAILABLE,
        )
    ah = await _try(link, min(families), _AH)
    return Capabilities(frozenset(families), frozenset((*_composed(able or able6), *ah)))


def _composed(able: Sequence[Transform]) -> Iterator[Transform]:
    """Every transform of ESP whose algorithms were taken."""
    ciphers = {cipher for trial, cipher in _CIPHER_TRIALS.items() if trial in able}
    integrities = {None, *(integrity for trial, integrity in _INTEGRITY_TRIALS.items() if trial in able)}
    for transform in TRANSFORMS:
        if transform.cipher in ciphers and transform.integrity in integrities:
            yield transform


def unreachable(number: int, text: str) -> LocalError:
    """The error for a kernel that lets nobody or not us at its SAD. `number`: errno; `text`: what was said."""
    if number == errno.EPERM:
        return LocalError(
            "no permission to set IPsec SAs and policies: run as root or with CAP_NET_ADMIN"
            " (AmbientCapabilities=CAP_NET_ADMIN in a systemd unit)",
            exit_status=os.EX_NOPERM,
        )
    return LocalError(
        f"NETLINK_XFRM cannot be used ({text}): load the module xfrm_user, or run a kernel with CONFIG_XFRM_USER",
        exit_status=os.EX_UNAVAILABLE,
    )


async def _try(link: Link, family: int, transforms: Sequence[Transform]) -> list[Transform]:
    # Numbers of chance, so that what a killed process left of its own trials is not in the way of these.
    first = _SPIS.start + secrets.randbelow(len(_SPIS) - len(transforms))
    entries = [_trial(family, Spi(first + index), transform) for index, transform in enumerate(transforms)]
    refusals = await link.submit([AddSa(entry) for entry in entries])
    able = [entry for entry, refused in zip(entries, refusals, strict=True) if refused is None]
    await link.submit([DeleteSa(entry.key) for entry in able])
    for refused in refusals:
        if refused is not None and refused.errno == errno.EPERM:
            raise unreachable(refused.errno, refused.text)
    return [entry.transform for entry in able]


def _trial(family: int, spi: Spi, transform: Transform) -> SadEntry:
    destination = _DESTINATIONS[family]
    return SadEntry(
        destination=destination,
        spi=spi,
        protocol=SecurityProtocol.of(transform),
        source=None,
        mode=Mode.TRANSPORT,
        reqid=OWN_REQIDS.start,
        transform=transform,
        cipher_key=Secret(secrets.token_bytes(transform.cipher_key_octets)),
        integrity_key=Secret(secrets.token_bytes(transform.integrity_key_octets)),
        selector=Flow.parse(str(destination)),
    )
