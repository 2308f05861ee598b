"""What a probe tries: each is an SA that the library itself encodes, and no packet goes to."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from xfrm import Family, Feature, Mode, Protocol, SaDirection, SecurityAssociation, trials
from xfrm.algorithms import ALGORITHMS
from xfrm.capabilities import AlgorithmKind
from xfrm.frame import frame, split
from xfrm.messages import Message
from xfrm.requests import add_sa
from xfrm.structs import USERSA_INFO

DOCUMENTATION = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
FAMILIES = (Family.AF_INET, Family.AF_INET6)


def read_back(sa: SecurityAssociation) -> SecurityAssociation:
    item = add_sa(replace(sa, spi=0x1000))
    message = Message.parse(split(frame(item.type, 0, 1, 0, item.body))[0])
    return SecurityAssociation.decode(message.read(USERSA_INFO), message.attributes)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_algorithm_is_tried_with_every_length(family: Family) -> None:
    made = list(trials.algorithm_trials(family))
    assert {trial.name for trial in made} == set(ALGORITHMS) | set(trials.COMPRESSIONS)
    for name, facts in ALGORITHMS.items():
        mine = [trial for trial in made if trial.name == name]
        assert {trial.key_bits for trial in mine} == set(facts.key_bits)
        assert {trial.icv_bits for trial in mine} == set(facts.icv_bits or (None,))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_trial_encodes_and_goes_nowhere(family: Family) -> None:
    for trial in trials.algorithm_trials(family):
        assert read_back(trial.sa).configuration() == replace(trial.sa, spi=0x1000)
        assert any(ip_address(str(trial.sa.destination)) in network for network in DOCUMENTATION)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rfc4106(gcm(aes))", AlgorithmKind.AEAD),
        ("rfc3686(ctr(aes))", AlgorithmKind.ENCRYPTION),
        ("ecb(cipher_null)", AlgorithmKind.ENCRYPTION),
        ("hmac(sha256)", AlgorithmKind.INTEGRITY),
        ("digest_null", AlgorithmKind.INTEGRITY),
        ("deflate", AlgorithmKind.COMPRESSION),
    ],
)
def test_what_an_algorithm_is_for(name: str, kind: AlgorithmKind) -> None:
    assert trials.kind_of(name) is kind


def test_integrity_is_tried_with_ah_too() -> None:
    protocols = {trial.sa.protocol for trial in trials.algorithm_trials(Family.AF_INET) if trial.name == "hmac(sha256)"}
    assert protocols == {Protocol.ESP, Protocol.AH}


ESP = next(trials.algorithm_trials(Family.AF_INET)).sa


@pytest.mark.parametrize("trial", trials.FEATURE_TRIALS, ids=lambda trial: trial.feature.value)
def test_a_feature_shows_where_the_kernel_has_it_and_only_there(trial: trials.FeatureTrial) -> None:
    assert trial.shown(read_back(trial.made_of(ESP)))
    accepting = {Feature.UDP_ENCAPSULATION, Feature.TCP_ENCAPSULATION}
    assert trial.shown(read_back(ESP)) is (trial.feature in accepting)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", trials.MODES)
def test_modes(mode: Mode, family: Family) -> None:
    made = trials.of_family(ESP, family, mode)
    assert (made.mode, made.destination.family) == (mode, family)
    assert (made.selector is not None) is (mode is Mode.BEET)
    assert made.direction == (SaDirection.OUT if mode is Mode.IPTFS else None)


def test_offload_is_asked_of_the_loopback_interface_and_not_for_esp() -> None:
    ah = replace(ESP, protocol=Protocol.AH)
    trial = trials.offload_trial([ESP, ah])
    assert trial is not None
    assert trial.protocol == Protocol.AH
    assert trials.offload_trial([ESP]) is None
    offload = trial.offload
    assert offload is not None
    assert (offload.ifindex, offload.flags) == (1, 4)
