from dataclasses import replace

import pytest

from agent.gsa.address_range import AddressRange
from agent.gsa.algorithms import Transform
from agent.gsa.flow import Flow
from agent.gsa.flow_rule import FlowRule
from agent.gsa.gpad import (
    Gpad,
    GpadEntry,
    GpadRefusal,
    GpadRule,
    LifetimeBounds,
    OidRule,
    PeerMethod,
    RekeyRules,
)
from agent.gsa.identity import GroupId, Identity, IdentityKind
from agent.gsa.iec61850 import IEC_TRANSFORMS, Iec61850SA, IecTransform
from agent.gsa.oid import OidSelector
from agent.gsa.pad import PadId
from agent.gsa.sa import DataSA, GroupSA, Mode, SecurityProtocol, Spi
from agent.secret import Secret
from tests.unit.gsa.support import rekey_sa

GROUP = GroupId.of_number(1234)
KS1 = Identity.parse(IdentityKind.FQDN, "ks1.example")
KS2 = Identity.parse(IdentityKind.KEY_ID, "ks2")
GCM = Transform.parse("aes-gcm-16-128")
ENTRY = GpadEntry(
    name="ks1",
    identities=(PadId.of(KS1),),
    groups=frozenset({GROUP}),
    flows=(Flow.parse("239.1.1.0/24"), Flow.parse("ff3e::8000:0/112")),
    transforms=frozenset({GCM}),
    lifetimes=LifetimeBounds(longest_s=3600),
)


def texts(refusals: tuple[GpadRefusal, ...]) -> list[str]:
    return [str(refusal) for refusal in refusals]


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
    second = replace(ENTRY, name="second", identities=(PadId.of(KS2), PadId.parse(IdentityKind.FQDN, ".example")))
    gpad = Gpad((ENTRY, second))
    assert gpad.lookup(KS1) is ENTRY
    assert gpad.lookup(KS2) is second
    assert gpad.lookup(Identity.parse(IdentityKind.FQDN, "ks2.example")) is second
    assert gpad.lookup(Identity.parse(IdentityKind.FQDN, "ks1.example.org")) is None
    assert gpad.lookup(Identity.parse(IdentityKind.KEY_ID, "ks1.example")) is None
    assert Gpad().lookup(KS1) is None


@pytest.mark.requirement("MIPSEC-4.1.3-01")
def test_only_listed_groups_are_served() -> None:
    assert ENTRY.permits_group(GROUP)
    assert not ENTRY.permits_group(GroupId.of_number(1235))
    other = replace(group_sa(), group=GroupId.of_number(7))
    assert ENTRY.refusals(other) == (
        GpadRefusal(GpadRule.GROUP, "ks1", "", "group 7 is not among the groups of GPAD entry 'ks1'"),
    )


@pytest.mark.requirement("MIPSEC-4.1.3-05", "MIPSEC-4.1.3-08", "MSA-4.1.3.4-01")
def test_flows_of_both_families_are_checked() -> None:
    assert ENTRY.refusals(group_sa(data_sa(), data_sa("ff3e::8000:1"))) == ()
    refused = ENTRY.refusals(group_sa(data_sa("239.1.2.1"), data_sa(), data_sa("ff3e::9000:1", spi=0x1001)))
    assert texts(refused) == [
        "SA 0x00001000: flow any -> 239.1.2.1/32 udp port 5000 lies outside the flows of GPAD entry 'ks1'",
        "SA 0x00001001: flow any -> ff3e::9000:1/128 udp port 5000 lies outside the flows of GPAD entry 'ks1'",
    ]
    assert {(refusal.rule, refusal.entry) for refusal in refused} == {(GpadRule.FLOW, "ks1")}
    assert [refusal.subject for refusal in refused] == ["SA 0x00001000", "SA 0x00001001"]


@pytest.mark.requirement("MIPSEC-4.1.3-05")
def test_flows_may_be_ranges() -> None:
    ranges = replace(ENTRY, flows=(FlowRule.parse(["239.1.1.1-239.1.1.9", "ff3e::1-ff3e::9"], ports="5000-5001"),))
    assert ranges.refusals(group_sa(data_sa(), data_sa("ff3e::9", 0x1001))) == ()
    assert "lies outside" in str(ranges.refusals(group_sa(data_sa("239.1.1.10")))[0])


def test_a_flow_wider_than_what_is_permitted_is_refused() -> None:
    narrow = replace(ENTRY, flows=(Flow.parse("239.1.1.1", "10.0.0.1"),))
    assert "lies outside" in str(narrow.refusals(group_sa(data_sa()))[0])


@pytest.mark.requirement("GKM-8-01")
def test_transform_below_the_local_minimum_is_refused() -> None:
    strict = replace(ENTRY, transforms=frozenset({Transform.parse("aes-gcm-16-256")}))
    assert texts(strict.refusals(group_sa(data_sa()))) == [
        "SA 0x00001000: transform aes-gcm-16-128 is not accepted by GPAD entry 'ks1', which accepts aes-gcm-16-256",
    ]
    (refusal,) = replace(ENTRY, transforms=frozenset()).refusals(group_sa(data_sa()))
    assert refusal.reason.endswith("which accepts none")
    assert refusal.rule is GpadRule.TRANSFORM


@pytest.mark.parametrize(
    ("expires", "why"), [(4602.5, "a lifetime of 3602 s"), (None, "no end"), (4600.0, None), (4600.9, None)]
)
def test_lifetime_is_bounded(expires: float | None, why: str | None) -> None:
    refused = ENTRY.refusals(group_sa(data_sa(expires=expires)))
    if why is None:
        assert refused == ()
    else:
        assert texts(refused) == [f"SA 0x00001000: it has {why}, GPAD entry 'ks1' allows 3600 s"]
        assert refused[0].rule is GpadRule.LIFETIME
    assert replace(ENTRY, lifetimes=LifetimeBounds()).refusals(group_sa(data_sa(expires=expires))) == ()


def test_a_lifetime_may_be_too_short_also() -> None:
    """A key server that lets keys end at once keeps its members busy, or silent."""
    entry = replace(ENTRY, lifetimes=LifetimeBounds(60, 3600))
    assert entry.refusals(group_sa(data_sa(expires=1059.5))) == ()
    assert texts(entry.refusals(group_sa(data_sa(expires=1030.0)))) == [
        "SA 0x00001000: it has a lifetime of 30 s, GPAD entry 'ks1' wants 60 s at least"
    ]
    for bounds in ((-1, None), (0, 0), (60, 59)):
        with pytest.raises(ValueError, match="are none"):
            LifetimeBounds(*bounds)


def test_mode_is_checked_and_every_rule_speaks() -> None:
    tunnel_only = replace(ENTRY, modes=frozenset({Mode.TUNNEL}), transforms=frozenset(), flows=())
    refused = tunnel_only.refusals(group_sa(data_sa()))
    assert len(refused) == 3
    assert str(refused[2]) == "SA 0x00001000: transport mode is not accepted by GPAD entry 'ks1'"
    assert [refusal.rule for refusal in refused] == [GpadRule.FLOW, GpadRule.TRANSFORM, GpadRule.MODE]


@pytest.mark.requirement("MIPSEC-4.1.3-01", "MIPSEC-4.1.3-06", "MSA-4.1.3.5-01")
def test_a_gcks_is_found_by_identity_and_must_have_proved_itself_as_its_entry_says() -> None:
    gpad = Gpad((replace(ENTRY, methods=frozenset({PeerMethod.RSA, PeerMethod.ECDSA})),))
    assert gpad.check(KS1, PeerMethod.of("ecdsa-384")) is gpad.entries[0]
    by_key = gpad.check(KS1, PeerMethod.of("psk"))
    assert isinstance(by_key, GpadRefusal)
    assert (by_key.rule, by_key.entry) == (GpadRule.METHOD, "ks1")
    assert str(by_key) == "fqdn:ks1.example proved itself by psk, GPAD entry 'ks1' wants ecdsa, rsa"
    stranger = gpad.check(KS2, PeerMethod.RSA)
    assert isinstance(stranger, GpadRefusal)
    assert (stranger.rule, stranger.entry) == (GpadRule.GCKS, None)
    with pytest.raises(ValueError, match="dss"):
        PeerMethod.of("dss")


GOOSE = Iec61850SA(
    1,
    OidSelector.parse("1.2.840.10070.61850.8.1.2/0x0404e9fc0001"),
    IecTransform.parse("aes-gcm-128"),
    Secret(bytes(20)),
    Secret(b""),
    expires=1600.0,
)


def with_iec(*sas: Iec61850SA) -> GroupSA:
    return replace(group_sa(), iec61850=sas)


def test_iec_61850_is_refused_unless_its_oid_is_named() -> None:
    (refusal,) = ENTRY.refusals(with_iec(GOOSE))
    assert str(refusal) == f"IEC 61850 SA 0x00000001: OID {GOOSE.selector} is not among the OIDs of GPAD entry 'ks1'"
    assert refusal.rule is GpadRule.SELECTOR
    for rule, allowed in (
        (OidRule(GOOSE.selector.oid), True),
        (OidRule(GOOSE.selector.oid, GOOSE.selector.specific), True),
        (OidRule(GOOSE.selector.oid, b""), False),
        (OidRule("1.2.840.10070.61850.8.1"), False),
    ):
        assert (replace(ENTRY, selectors=(rule,)).refusals(with_iec(GOOSE)) == ()) is allowed
    with pytest.raises(ValueError, match="no object identifier"):
        OidRule("goose")


@pytest.mark.requirement("IEC-3-04")
def test_iec_61850_must_be_authentic_and_within_the_lifetimes() -> None:
    entry = replace(ENTRY, selectors=(OidRule(GOOSE.selector.oid),))
    assert entry.iec61850 == {transform for transform in IEC_TRANSFORMS if str(transform) != "none"}
    bare = Iec61850SA(2, GOOSE.selector, IecTransform.parse("none"), Secret(b""), Secret(b""))
    refused = entry.refusals(with_iec(GOOSE, bare))
    assert [refusal.rule for refusal in refused] == [GpadRule.TRANSFORM, GpadRule.LIFETIME]
    assert {refusal.subject for refusal in refused} == {"IEC 61850 SA 0x00000002"}
    lax = replace(entry, iec61850=frozenset(IEC_TRANSFORMS), lifetimes=LifetimeBounds())
    assert lax.refusals(with_iec(GOOSE, bare)) == ()


REKEY = rekey_sa(signature_algorithm="rsa", signature_hash="sha2-256", expires=87400.0)


@pytest.mark.parametrize(
    ("rules", "rekey", "broken", "reason"),
    [
        (RekeyRules(), {}, None, ""),
        (
            RekeyRules(),
            {"key_algorithm": "3des-cbc", "key": Secret(bytes(24)), "iv": bytes(8)},
            GpadRule.REKEY_CIPHER,
            "KEK algorithm 3des-cbc is not accepted by GPAD entry 'ks1', which accepts aes-cbc-128, ",
        ),
        (
            RekeyRules(),
            {"signature_hash": "sha1"},
            GpadRule.REKEY_SIGNATURE,
            "signature rsa+sha1 is not accepted by GPAD entry 'ks1', which accepts ecdsa-256, ",
        ),
        (RekeyRules(signatures=frozenset({"rsa+sha1"})), {"signature_hash": "sha1"}, None, ""),
        (RekeyRules(lifetimes=LifetimeBounds(longest_s=86400)), {}, None, ""),
        (
            RekeyRules(lifetimes=LifetimeBounds(longest_s=3600)),
            {},
            GpadRule.REKEY_LIFETIME,
            "it has a lifetime of 86400 s, GPAD entry 'ks1' allows 3600 s",
        ),
        (RekeyRules(destinations=(AddressRange.parse("239.1.0.0/16"),)), {}, None, ""),
        (
            RekeyRules(destinations=(AddressRange.parse("239.2.0.0/16"), AddressRange.parse("ff3e::/16"))),
            {},
            GpadRule.REKEY_DESTINATION,
            "destination 239.1.1.1 lies outside the rekey destinations of GPAD entry 'ks1'",
        ),
    ],
)
def test_what_a_rekey_sa_may_be(
    rules: RekeyRules, rekey: dict[str, object], broken: GpadRule | None, reason: str
) -> None:
    sa = replace(REKEY, **rekey)  # type: ignore[arg-type]  # a table of fields
    refused = replace(ENTRY, rekey=rules).refusals(replace(group_sa(), rekey=sa))
    assert [refusal.rule for refusal in refused] == ([] if broken is None else [broken])
    assert all(refusal.subject == "Rekey SA" and refusal.reason.startswith(reason) for refusal in refused)


def test_a_name_that_no_rekey_sa_has_is_our_own_error() -> None:
    with pytest.raises(ValueError, match="'des' is none of aes-cbc-128"):
        RekeyRules(ciphers=frozenset({"des"}))
    with pytest.raises(ValueError, match="'rsa' is none of rsa"):
        RekeyRules(signatures=frozenset({"rsa"}))
