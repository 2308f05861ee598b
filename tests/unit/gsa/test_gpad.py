from dataclasses import replace

import pytest

from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.gpad import Gpad, GpadEntry
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret

GROUP = GroupId.of_number(1234)
KS1 = Identity.parse(IdentityKind.FQDN, "ks1.example")
KS2 = Identity.parse(IdentityKind.KEY_ID, "ks2")
GCM = Transform.parse("aes-gcm-16-128")
ENTRY = GpadEntry(
    name="ks1",
    identities=(KS1,),
    groups=frozenset({GROUP}),
    flows=(Flow.parse("239.1.1.0/24"), Flow.parse("ff3e::8000:0/112")),
    transforms=frozenset({GCM}),
    max_lifetime_s=3600,
)


def data_sa(destination: str = "239.1.1.1", spi: int = 0x1000, expires: float | None = 1600.0) -> DataSA:
    return DataSA(
        SecurityProtocol.ESP,
        Spi(spi),
        Flow.parse(destination, protocol=17, port=5000),
        Mode.TRANSPORT,
        GCM,
        Secret(b"\x5a" * 20),
        Secret(b""),
        expires=expires,
    )


def group_sa(*sas: DataSA) -> GroupSA:
    return GroupSA(GROUP, KS1, sas, received=1000.0)


@pytest.mark.requirement("MIPSEC-4.1.3-06")
def test_lookup_takes_the_first_entry_with_the_identity() -> None:
    second = replace(ENTRY, name="second", identities=(KS2, KS1))
    gpad = Gpad((ENTRY, second))
    assert gpad.lookup(KS1) is ENTRY
    assert gpad.lookup(KS2) is second
    assert gpad.lookup(Identity.parse(IdentityKind.FQDN, "ks1.example.org")) is None
    assert gpad.lookup(Identity.parse(IdentityKind.KEY_ID, "ks1.example")) is None
    assert Gpad().lookup(KS1) is None


@pytest.mark.requirement("MIPSEC-4.1.3-01")
def test_only_listed_groups_are_served() -> None:
    assert ENTRY.permits_group(GROUP)
    assert not ENTRY.permits_group(GroupId.of_number(1235))
    other = replace(group_sa(), group=GroupId.of_number(7))
    assert ENTRY.refusals(other) == ("group 7 is not among the groups of GPAD entry 'ks1'",)


@pytest.mark.requirement("MIPSEC-4.1.3-05", "MIPSEC-4.1.3-08", "MSA-4.1.3.4-01")
def test_flows_of_both_families_are_checked() -> None:
    assert ENTRY.refusals(group_sa(data_sa(), data_sa("ff3e::8000:1"))) == ()
    refused = ENTRY.refusals(group_sa(data_sa("239.1.2.1"), data_sa(), data_sa("ff3e::9000:1", spi=0x1001)))
    assert refused == (
        "SA 0x00001000: flow any -> 239.1.2.1/32 udp port 5000 lies outside the flows of GPAD entry 'ks1'",
        "SA 0x00001001: flow any -> ff3e::9000:1/128 udp port 5000 lies outside the flows of GPAD entry 'ks1'",
    )


def test_a_flow_wider_than_what_is_permitted_is_refused() -> None:
    narrow = replace(ENTRY, flows=(Flow.parse("239.1.1.1", "10.0.0.1"),))
    assert "lies outside" in narrow.refusals(group_sa(data_sa()))[0]


@pytest.mark.requirement("GKM-8-01")
def test_transform_below_the_local_minimum_is_refused() -> None:
    strict = replace(ENTRY, transforms=frozenset({Transform.parse("aes-gcm-16-256")}))
    assert strict.refusals(group_sa(data_sa())) == (
        "SA 0x00001000: transform aes-gcm-16-128 is not accepted by GPAD entry 'ks1', which accepts aes-gcm-16-256",
    )
    assert replace(ENTRY, transforms=frozenset()).refusals(group_sa(data_sa()))[0].endswith("which accepts none")


@pytest.mark.parametrize(
    ("expires", "why"), [(4602.5, "a lifetime of 3602 s"), (None, "no end"), (4600.0, None), (4600.9, None)]
)
def test_lifetime_is_bounded(expires: float | None, why: str | None) -> None:
    refused = ENTRY.refusals(group_sa(data_sa(expires=expires)))
    if why is None:
        assert refused == ()
    else:
        assert refused == (f"SA 0x00001000: it has {why}, GPAD entry 'ks1' allows 3600 s",)
    assert replace(ENTRY, max_lifetime_s=None).refusals(group_sa(data_sa(expires=expires))) == ()


def test_mode_is_checked_and_every_rule_speaks() -> None:
    tunnel_only = replace(ENTRY, modes=frozenset({Mode.TUNNEL}), transforms=frozenset(), flows=())
    refused = tunnel_only.refusals(group_sa(data_sa()))
    assert len(refused) == 3
    assert refused[2] == "SA 0x00001000: transport mode is not accepted by GPAD entry 'ks1'"
