"""Where peers differ from RFC 6407, or the RFC from itself: what is taken as it comes, and what is set for one peer.

Taken from every peer, since nothing is lost by it:

- any source in a SAT as the subnet of zeros, as three zero octets, or as nothing (5.5.1 says "3 octets or zero")
- ID data lengths of two octets in SAK and SAT, where one octet gives no sense (5.3, 5.5.1 have one)
- SIG_ALGORITHM_KEY as SubjectPublicKeyInfo, PKCS#1, X9.62 point or bare coordinates (5.6.2.2 names no encoding)
- SID_VALUE of any length, in either attribute form (5.6.4.2 names no width)
- KEK_MANAGEMENT_ALGORITHM in a GROUPKEY-PULL, ignored (5.3); Group Description in a SAT, ignored (5.5.1)
- KEK_ACK_REQUESTED with a type that is not known: the member goes on without acknowledgements (RFC 8263 4)
- several SATs of one SPI that differ in their selectors only: one SA with several flows; with a key packet for each,
  when their keys are equal
- the payloads of a message in any order behind its HASH; a key of ESP's GMAC in either attribute (5.6.1)
- in a GROUPKEY-PUSH: a KEK without its public key, which then stays (5.6.2.2); a KEK packet in a group with a key
  hierarchy, whose root it becomes; SPI zero of the Rekey SA as long as a TEK's (5.9); a whole block of padding
- in an acknowledgement: L as the block or as the output of the hash (RFC 8263 3.2)
- SA_ATD of any length; ATD of the whole group in a GROUPKEY-PULL (RFC 8052 2.2.4.1 and RFC 6407 5.4 disagree)

Everything else follows a `Tolerances`, one for each peer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["SignatureKeyForm", "Tolerances"]


class SignatureKeyForm(Enum):
    """How SIG_ALGORITHM_KEY is sent (RFC 6407 5.6.2.2), by the name in configuration files.

    `POINT` is the X9.62 point of an elliptic curve; an RSA key goes as `PKCS1` then.
    """

    SPKI = "spki"
    PKCS1 = "pkcs1"
    POINT = "point"


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What is set for one peer; the defaults are the standard's letter.

    `id_length_octets`: of the ID data lengths sent in SAK and SAT, 1 or 2; deployed peers want 2.
    `signature_key`: the form sent, which the standard leaves open.
    `ignore_private_attributes`: pass over attributes of the private ranges in SAK, SAT and GAP, instead of giving up
    (RFC 6407 5.3.2): the peer may mean by them that its packets are of another make.
    `rfc3547`: understand a peer of that older standard. Its proof of possession (POP fields of a SAK, CERT and POP
    payloads in messages 3 and 4) is passed over, as HASH and Phase 1 prove as much, and so is a CERT in a
    GROUPKEY-PUSH; GAP, Address Preservation and SA Direction, at which it would give up, are left out where they say
    what holds anyhow. Its KE payload is refused.
    Raises ValueError for another length.
    """

    id_length_octets: int = 1
    signature_key: SignatureKeyForm = SignatureKeyForm.SPKI
    ignore_private_attributes: bool = False
    rfc3547: bool = False

    @classmethod
    def of(
        cls, *, id_length_octets: int, signature_key: str, ignore_private_attributes: bool, rfc3547: bool
    ) -> Tolerances:
        """As a configuration file says it. Raises ValueError for a form of keys, or a length, that there is not."""
        return cls(id_length_octets, SignatureKeyForm(signature_key), ignore_private_attributes, rfc3547)

    def ignored(self, private: range) -> range:
        """The attribute classes that are passed over, of those a registry leaves to private use."""
        return private if self.ignore_private_attributes else range(0)

    def __post_init__(self) -> None:
        if self.id_length_octets not in (1, 2):
            raise ValueError(f"ID data lengths of {self.id_length_octets} octets; 1 and 2 are in use")
