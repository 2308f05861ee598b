"""Security associations of IEC 61850 traffic, GOOSE and Sampled Values (RFC 8052): carried, shown and handed on.

No kernel processes such packets: the application that does gets the SA. The heart keeps them beside the Data-Security
SAs of IPsec, as a key server may give both for one group.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.gsa.oid import OidSelector
from agent.secret import Secret

__all__ = [
    "AUTHENTICATING_IEC_TRANSFORMS",
    "IEC_TRANSFORMS",
    "Iec61850SA",
    "IecAuthentication",
    "IecConfidentiality",
    "IecTransform",
]

_MAX_SPI: Final = 0xFFFFFFFF


class IecAuthentication(Enum):
    """An authentication algorithm of IEC 62351-9 (RFC 8052 2.2.2); the value is its name in configuration files."""

    NONE = "none"
    HMAC_SHA256_128 = "hmac-sha256-128"
    HMAC_SHA256 = "hmac-sha256"
    AES_GMAC_128 = "aes-gmac-128"
    AES_GMAC_256 = "aes-gmac-256"


class IecConfidentiality(Enum):
    """A confidentiality algorithm of IEC 62351-9 (RFC 8052 2.2.3); the value is its name in configuration files."""

    NONE = "none"
    AES_CBC_128 = "aes-cbc-128"
    AES_CBC_256 = "aes-cbc-256"
    AES_GCM_128 = "aes-gcm-128"
    AES_GCM_256 = "aes-gcm-256"


_KEY_OCTETS: Final[dict[IecAuthentication | IecConfidentiality, int]] = {
    IecAuthentication.NONE: 0,
    IecAuthentication.HMAC_SHA256_128: 32,
    IecAuthentication.HMAC_SHA256: 32,
    IecAuthentication.AES_GMAC_128: 20,
    IecAuthentication.AES_GMAC_256: 36,
    IecConfidentiality.NONE: 0,
    IecConfidentiality.AES_CBC_128: 16,
    IecConfidentiality.AES_CBC_256: 32,
    IecConfidentiality.AES_GCM_128: 20,
    IecConfidentiality.AES_GCM_256: 36,
}
"""Octets of key and salt (RFC 8052 2.3)."""
_COMBINED: Final = frozenset({IecConfidentiality.AES_GCM_128, IecConfidentiality.AES_GCM_256})
_GMAC: Final = frozenset({IecAuthentication.AES_GMAC_128, IecAuthentication.AES_GMAC_256})


@dataclass(frozen=True, slots=True)
class IecTransform:
    """One legal pair of algorithms; `str()` is its name: `aes-gcm-128`, `aes-cbc-128+hmac-sha256`, `aes-gmac-128`.

    `none` is the one that protects nothing; RFC 8052 3 advises against it.
    Raises ValueError for encryption without authentication, or twice authenticated (RFC 8052 2.2.3, 3).
    """

    authentication: IecAuthentication
    confidentiality: IecConfidentiality

    def __post_init__(self) -> None:
        combined = self.confidentiality in _COMBINED
        if combined and self.authentication is not IecAuthentication.NONE:
            raise ValueError(f"{self.confidentiality.value} authenticates by itself")
        encrypts = self.confidentiality is not IecConfidentiality.NONE
        if encrypts and not combined and self.authentication is IecAuthentication.NONE:
            raise ValueError(f"{self.confidentiality.value} without authentication is forbidden")

    @property
    def authenticates(self) -> bool:
        """Whether packets are authenticated at all; if not, nothing protects them."""
        return self.authentication is not IecAuthentication.NONE or self.confidentiality in _COMBINED

    @property
    def counter_mode(self) -> bool:
        """Whether senders need Sender-IDs (RFC 6054)."""
        return self.confidentiality in _COMBINED or self.authentication in _GMAC

    @property
    def confidentiality_key_octets(self) -> int:
        """Octets of TEK_ALGORITHM_KEY, salt included."""
        return _KEY_OCTETS[self.confidentiality]

    @property
    def authentication_key_octets(self) -> int:
        """Octets of TEK_INTEGRITY_KEY, salt included."""
        return _KEY_OCTETS[self.authentication]

    @classmethod
    def parse(cls, text: str) -> IecTransform:
        """The pair that `str()` spelled. Raises ValueError with what is allowed."""
        for transform in IEC_TRANSFORMS:
            if str(transform) == text:
                return transform
        raise ValueError(f"{text!r} is none of {', '.join(map(str, IEC_TRANSFORMS))}")

    def __str__(self) -> str:
        parts: tuple[Enum, ...] = (self.confidentiality, self.authentication)
        return "+".join(part.value for part in parts if part.value != "none") or "none"


def _all_transforms() -> tuple[IecTransform, ...]:
    every = []
    for confidentiality in IecConfidentiality:
        for authentication in IecAuthentication:
            try:
                every.append(IecTransform(authentication, confidentiality))
            except ValueError:
                continue
    return tuple(every)


IEC_TRANSFORMS: Final = _all_transforms()
"""Every legal pair, `none` among them."""
AUTHENTICATING_IEC_TRANSFORMS: Final = tuple(transform for transform in IEC_TRANSFORMS if transform.authenticates)
"""Those that protect anything."""


@dataclass(frozen=True, slots=True)
class Iec61850SA:
    """An SA of IEC 61850 (RFC 8052 2.2): its KeyID is `spi`, 32 bits and not 0, unique in a group while in use.

    `selector`: the traffic. `confidentiality_key`, `authentication_key`: Secrets as long as `transform` says, empty
    where there is none. `expires`: monotonic seconds, None without end. `activates`: monotonic seconds before which it
    neither sends nor receives (SA_ATD); `send_from`: before which senders leave it unused (RFC 5374 4.2.1, ATD).
    `key_delivery_assurance`: percent of the subscribers that are known to hold it, None where the GCKS does not say.
    Raises ValueError for what does not fit.
    """

    spi: int
    selector: OidSelector
    transform: IecTransform
    confidentiality_key: Secret
    authentication_key: Secret
    expires: float | None = None
    activates: float = 0.0
    send_from: float = 0.0
    key_delivery_assurance: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.spi <= _MAX_SPI:
            raise ValueError(f"SPI 0x{self.spi:08x} is out of range")
        for what, key, octets in (
            ("a confidentiality", self.confidentiality_key, self.transform.confidentiality_key_octets),
            ("an authentication", self.authentication_key, self.transform.authentication_key_octets),
        ):
            if len(key) != octets:
                raise ValueError(f"{self.transform} takes {what} key of {octets} octets, not {len(key)}")
        if self.key_delivery_assurance is not None and not 0 <= self.key_delivery_assurance <= 100:
            raise ValueError(f"a key delivery assurance of {self.key_delivery_assurance} percent")
