"""What a kernel can do with SAs and policies, as values: the answer of `xfrm.probe`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TypeVar

from xfrm.constants import Family, Mode, Protocol
from xfrm.record import record

__all__ = ["AlgorithmKind", "AlgorithmSupport", "Feature", "KernelCapabilities"]


class AlgorithmKind(Enum):
    """What an algorithm is for."""

    AEAD = "aead"
    ENCRYPTION = "encryption"
    INTEGRITY = "integrity"
    COMPRESSION = "compression"


class Feature(Enum):
    """What kernels may have or lack beside transforms and modes, with the attribute or message it goes by."""

    SA_DIRECTION = "sa-direction"
    """XFRMA_SA_DIR (Linux 6.10)."""
    ESN = "esn"
    """Extended sequence numbers, XFRM_STATE_ESN."""
    ESN_WITHOUT_WINDOW = "esn-without-window"
    """An outbound SA with extended sequence numbers and no replay window (Linux 6.10)."""
    INTERFACE_ID = "interface-id"
    """XFRMA_IF_ID on SAs and policies (Linux 4.19)."""
    XFRM_INTERFACE = "xfrm-interface"
    """Network interfaces of kind `xfrm` (CONFIG_XFRM_INTERFACE)."""
    OUTPUT_MARK = "output-mark"
    """XFRMA_SET_MARK with its mask (Linux 4.19)."""
    CPU = "cpu"
    """SAs of one CPU each, XFRMA_SA_PCPU (Linux 6.13, and late releases of 6.12)."""
    UDP_ENCAPSULATION = "udp-encapsulation"
    """ESP in UDP (RFC 3948), XFRMA_ENCAP."""
    TCP_ENCAPSULATION = "tcp-encapsulation"
    """ESP in TCP (RFC 8229), CONFIG_INET_ESPINTCP."""
    NAT_KEEPALIVE = "nat-keepalive"
    """XFRMA_NAT_KEEPALIVE_INTERVAL (Linux 6.11)."""
    MAPPING_MAX_AGE = "mapping-max-age"
    """XFRMA_MTIMER_THRESH (Linux 5.17)."""
    OFFLOAD = "offload"
    """Offload to network devices (CONFIG_XFRM_OFFLOAD); whether a device can: `offload_devices`."""
    MIGRATE = "migrate"
    """XFRM_MSG_MIGRATE (CONFIG_XFRM_MIGRATE)."""
    MIGRATE_STATE = "migrate-state"
    """XFRM_MSG_MIGRATE_STATE (Linux 7.2)."""
    SUB_POLICY = "sub-policy"
    """Policies of type SUB (CONFIG_XFRM_SUB_POLICY)."""
    DEFAULT_POLICY = "default-policy"
    """XFRM_MSG_GETDEFAULT and SETDEFAULT (Linux 5.15)."""
    STATISTICS = "statistics"
    """/proc/net/xfrm_stat (CONFIG_XFRM_STATISTICS)."""


@record
class AlgorithmSupport:
    """Whether a kernel took SAs of one algorithm. `name`: the kernel's.

    `key_bits`: lengths it took, salt left out; `icv_bits`: lengths of the ICV it took; both empty where it took none.
    `driver`: the implementation that /proc/crypto has first, a hint, None where it names none. `refusal`: why it took
    none, in the kernel's words; empty otherwise.
    """

    name: str
    kind: AlgorithmKind
    key_bits: tuple[int, ...] = ()
    icv_bits: tuple[int, ...] = ()
    driver: str | None = None
    refusal: str = ""

    @property
    def ok(self) -> bool:
        """Whether it took an SA of this algorithm at all."""
        return bool(self.key_bits)


@record
class KernelCapabilities:
    """What a kernel can do, found by trying.

    `release`: of the kernel, as `uname -r`. `protocols`: ESP, AH and IPComp with the IP version they work for; `modes`:
    the same for encapsulation modes of ESP. `algorithms`: every one that was tried. `features`; `untried`: features
    that could not be tried here, so that nothing is known. `replay_window_packets`: the largest window it took, 0 for
    none. `offload_devices`: interfaces that say they can do ESP.
    """

    release: str
    protocols: frozenset[tuple[Protocol, Family]]
    modes: frozenset[tuple[Mode, Family]]
    algorithms: tuple[AlgorithmSupport, ...]
    features: frozenset[Feature]
    untried: frozenset[Feature] = frozenset()
    replay_window_packets: int = 0
    offload_devices: tuple[str, ...] = ()

    def algorithm(self, name: str) -> AlgorithmSupport | None:
        """What was found about one algorithm, None where it was not tried."""
        return next((found for found in self.algorithms if found.name == name), None)

    def takes(self, name: str, key_bits: int, icv_bits: int | None = None) -> bool:
        """Whether an SA of this algorithm, key length (salt left out) and ICV length was taken."""
        found = self.algorithm(name)
        return found is not None and key_bits in found.key_bits and (icv_bits is None or icv_bits in found.icv_bits)

    def families(self, protocol: Protocol) -> frozenset[Family]:
        """The IP versions that a protocol works for."""
        return frozenset(family for of, family in self.protocols if of == protocol)

    def to_json(self) -> dict[str, Any]:
        """The same in values of JSON's types; sets are sorted lists."""
        return {
            "release": self.release,
            "protocols": _paired(_PROTOCOLS, self.protocols),
            "modes": _paired(_MODES, self.modes),
            "algorithms": [
                {
                    "name": found.name,
                    "kind": found.kind.value,
                    "key_bits": list(found.key_bits),
                    "icv_bits": list(found.icv_bits),
                    "driver": found.driver,
                    "refusal": found.refusal,
                }
                for found in self.algorithms
            ],
            "features": _named(self.features),
            "untried": _named(self.untried),
            "replay_window_packets": self.replay_window_packets,
            "offload_devices": list(self.offload_devices),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> KernelCapabilities:
        """From what `to_json` gave. Raises KeyError or ValueError for anything else."""
        return cls(
            release=value["release"],
            protocols=_unpaired(_PROTOCOLS, value["protocols"]),
            modes=_unpaired(_MODES, value["modes"]),
            algorithms=tuple(
                AlgorithmSupport(
                    found["name"],
                    AlgorithmKind(found["kind"]),
                    tuple(found["key_bits"]),
                    tuple(found["icv_bits"]),
                    found["driver"],
                    found["refusal"],
                )
                for found in value["algorithms"]
            ),
            features=frozenset(Feature(name) for name in value["features"]),
            untried=frozenset(Feature(name) for name in value["untried"]),
            replay_window_packets=value["replay_window_packets"],
            offload_devices=tuple(value["offload_devices"]),
        )


_E = TypeVar("_E", Protocol, Mode)
_FAMILIES: Final = {"ipv4": Family.AF_INET, "ipv6": Family.AF_INET6}
_PROTOCOLS: Final = {"esp": Protocol.ESP, "ah": Protocol.AH, "comp": Protocol.COMP}
_MODES: Final = {"transport": Mode.TRANSPORT, "tunnel": Mode.TUNNEL, "beet": Mode.BEET, "iptfs": Mode.IPTFS}


def _paired(names: Mapping[str, _E], found: frozenset[tuple[_E, Family]]) -> dict[str, list[str]]:
    return {
        name: [version for version, family in _FAMILIES.items() if (value, family) in found]
        for name, value in names.items()
    }


def _unpaired(names: Mapping[str, _E], value: Mapping[str, list[str]]) -> frozenset[tuple[_E, Family]]:
    return frozenset((names[name], _FAMILIES[version]) for name, versions in value.items() for version in versions)


def _named(features: frozenset[Feature]) -> list[str]:
    return sorted(feature.value for feature in features)
