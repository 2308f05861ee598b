"""Rules over what a verified certificate says."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509
from netaddr import IPNetwork

from agent.gcks.certified import CertificateRule, MemberCertificate, identities_of
from agent.gsa.identity import Identity, IdentityKind
from agent.gsa.role import Role
from tests.unit.gcks.support import certificate

RELAY = MemberCertificate.of(
    certificate(
        "relay7",
        unit="relays",
        names=[
            x509.DNSName("Relay7.plant.example"),
            x509.RFC822Name("relay7@plant.example"),
            x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
            x509.IPAddress(ipaddress.ip_address("2001:db8::7")),
        ],
    )
)


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        (CertificateRule(Role.BOTH, (("OU", "relays"),)), True),
        (CertificateRule(Role.BOTH, (("OU", "relays"), ("O", "Plant"))), True),
        (CertificateRule(Role.BOTH, (("OU", "relays"), ("O", "Other"))), False),
        (CertificateRule(Role.BOTH, (("CN", "relays"),)), False),
        (CertificateRule(Role.BOTH, issuer=x509.Name.from_rfc4514_string("CN=Plant CA")), True),
        (CertificateRule(Role.BOTH, issuer=x509.Name.from_rfc4514_string("CN=Plant CA,O=Plant")), False),
        (CertificateRule(Role.BOTH, dns="relay7.plant.example"), True),
        (CertificateRule(Role.BOTH, dns="*.Plant.example"), True),
        (CertificateRule(Role.BOTH, dns="*.example"), False),
        (CertificateRule(Role.BOTH, dns="plant.example"), False),
        (CertificateRule(Role.BOTH, email="*@plant.example"), True),
        (CertificateRule(Role.BOTH, email="*@example"), False),
        (CertificateRule(Role.BOTH, network=IPNetwork("192.0.2.0/24")), True),
        (CertificateRule(Role.BOTH, network=IPNetwork("2001:db8::/64")), True),
        (CertificateRule(Role.BOTH, network=IPNetwork("198.51.100.0/24")), False),
        (CertificateRule(Role.BOTH, (("OU", "relays"),), dns="other.example"), False),
    ],
    ids=str,
)
def test_a_rule_asks_for_all_that_it_names(rule: CertificateRule, matches: bool) -> None:
    assert rule.matches(RELAY) is matches


def test_a_wildcard_in_the_certificate_is_no_member() -> None:
    wild = MemberCertificate.of(certificate("all", names=[x509.DNSName("*.plant.example")]))
    assert not CertificateRule(Role.BOTH, dns="*.plant.example").matches(wild)


def test_a_certificate_without_alternative_names_has_none() -> None:
    bare = MemberCertificate.of(certificate("relay7.plant.example"))
    assert not CertificateRule(Role.BOTH, dns="*.plant.example").matches(bare), "a CN is no name to go by"


def test_a_rule_that_asks_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="anybody would match"):
        CertificateRule(Role.BOTH)


def test_a_certificate_vouches_for_every_name_in_it() -> None:
    der = certificate("relay7", names=[x509.DNSName("Relay7.plant.example"), x509.RFC822Name("relay7@plant.example")])
    named = identities_of(der)
    assert Identity.parse(IdentityKind.FQDN, "relay7.plant.example") in named
    assert Identity.parse(IdentityKind.USER_FQDN, "relay7@plant.example") in named
    assert Identity.parse(IdentityKind.DN, "CN=relay7,O=Plant") in named
    assert identities_of(b"no certificate") == frozenset()
