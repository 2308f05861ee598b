"""Members of a key tree, with real encryption: each keeps every key it ever learned, and reads all that is sent."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from agent.crypto.ciphers import CbcCipher, decrypt_cbc, encrypt_cbc
from agent.crypto.key_tree import KeyTree
from agent.crypto.key_tree_change import NodeKey, TreeChange
from agent.secret import Secret

KEY_OCTETS = 32
"""IV and key of AES-128."""
NAME_OCTETS = 16


def sealed(under: NodeKey, key: NodeKey) -> bytes:
    """Number, handle and octets of `key`, encrypted: whoever opens it with another key gets another name."""
    name = key.number.to_bytes(8) + key.handle.to_bytes(8)
    octets = under.key.reveal()
    return encrypt_cbc(CbcCipher.AES_CBC, Secret(octets[16:]), octets[:16], name + key.key.reveal())


def opened(octets: bytes, message: bytes) -> tuple[int, int, bytes]:
    plain = decrypt_cbc(CbcCipher.AES_CBC, Secret(octets[16:]), octets[:16], message)
    return int.from_bytes(plain[:8]), int.from_bytes(plain[8:NAME_OCTETS]), plain[NAME_OCTETS:]


@dataclass
class SealedChain:
    """What goes over the wire for one chain: names in clear, keys encrypted one under the other."""

    node: int
    handle: int
    messages: list[tuple[int, int, bytes]] = field(default_factory=list)


def chains_of(change: TreeChange) -> list[SealedChain]:
    wire = []
    for chain in change.chains():
        sent, under = SealedChain(chain.under.number, chain.under.handle), chain.under
        for key in chain.keys:
            sent.messages.append((key.number, key.handle, sealed(under, key)))
            under = key
        wire.append(sent)
    return wire


def wraps_of(change: TreeChange) -> list[SealedChain]:
    """The other rendering, as chains of one key each; the lowest first."""
    return [
        SealedChain(
            wrap.under.number,
            wrap.under.handle,
            [(wrap.key.number, wrap.key.handle, sealed(wrap.under, wrap.key))],
        )
        for wrap in change.wraps
    ]


class Member:
    """`held`: its keys as GDOI has a member keep them, one a node; `known`: all it ever learned, by handle."""

    def __init__(self, tree: KeyTree, leaf: int) -> None:
        path = tree.path(leaf)
        self.leaf = leaf
        self.held = {key.number: (key.handle, key.key.reveal()) for key in path}
        self.known = {key.handle: key.key.reveal() for key in path}

    def follow(self, wire: list[SealedChain]) -> None:
        """Take what is for it, in order (RFC 6407 5.6.3.2)."""
        for chain in wire:
            handle, octets = self.held.get(chain.node, (0, b""))
            if handle != chain.handle:
                continue
            for number, fresh, message in chain.messages:
                got = opened(octets, message)
                assert got[:2] == (number, fresh)
                octets = got[2]
                self.held[number] = fresh, octets
                self.known[fresh] = octets

    def hoard(self, wires: list[list[SealedChain]]) -> None:
        """Open whatever any key it ever learned opens, as often as that leads on."""
        while True:
            before = len(self.known)
            for chain in (chain for wire in wires for chain in wire):
                octets = self.known.get(chain.handle)
                for _, handle, message in chain.messages:
                    octets = opened(octets, message)[2] if octets else self.known.get(handle)
                    if octets:
                        self.known[handle] = octets
            if len(self.known) == before:
                return


class Octets:
    """Entropy that is quick."""

    def octets(self, count: int) -> bytes:
        return os.urandom(count)
