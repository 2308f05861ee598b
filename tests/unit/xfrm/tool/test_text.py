"""SAs and policies as text."""

import pytest

from tests.unit.xfrm.tool.entries import ECHO_POLICY, GROUP_SA, NOW_UTC_S, OUT_POLICY, UNICAST_SA, has_key
from xfrm import Address, Mode, Prefix, SaId, SecurityAssociation, Selector
from xfrm.tool.text import ago, fields_text, policy_lines, sa_lines, selector_text

GROUP_TEXT = """\
src 10.9.0.1 dst 239.1.1.1
proto esp spi 0x00001234 reqid 7 mode tunnel dir out
mark 0x5/0xff, if_id 0x9
aead rfc4106(gcm(aes)) key 160 bits, ICV 128 bits
replay window 128 packets, extended sequence numbers
sequence outbound 12, inbound 0, 0 of the window's 128 received
selector src 10.0.0.0/8 dst 239.1.1.1/32 proto udp dport 5000
lifetime soft 1000, hard 2000 octets
lifetime hard 3600 s since it was added
used 1234 octets in 12 packets, added 2026-11-23T19:30:18Z (1 min 22 s ago), first used 2026-11-23T19:30:40Z \
(1 min ago), last used 2026-11-23T19:31:39Z (1 s ago)
refused 1 packet outside the replay window, 2 replayed, 3 of wrong integrity"""
UNICAST_TEXT = """\
src 2001:db8::1 dst 2001:db8::2
proto esp spi 0x00002000 reqid 0 mode transport
TFC padding 1400 octets, flags noecn, extra flags oseq-may-wrap
encapsulation espinudp sport 4500 dport 4501 original ::
NAT keepalive every 20 s
NAT mappings reported at most every 30 s
offload ifindex 3, flags packet
security context context system_u:object_r:ipsec_spd_t:s0, algorithm 1, doi 1
encryption cbc(aes) key 128 bits
integrity hmac(sha256) key 256 bits, ICV 128 bits
replay window none, every authentic packet is accepted
sequence outbound 0, inbound 0
selector any packet
attribute unknown(999) 32 octets"""
OUT_TEXT = """\
src 10.0.0.0/8 dst 239.1.1.1/32 proto udp dport 5000
dir out action allow priority 5 index 17
mark 0x5/0xff
template src 10.9.0.1 dst 239.1.1.1 proto esp spi 0x00001234 reqid 7 mode tunnel
template src 0.0.0.0 dst 0.0.0.0 proto ah spi any reqid 0 mode transport optional (without an SA in clear) \
algorithm masks 0x1 0x2 0x3
used 0 octets in 0 packets, added 2026-11-23T19:30:18Z (1 min 22 s ago)"""
ECHO_TEXT = """\
src ::/0 dst 2001:db8::/32 proto ipv6-icmp type 128 code 0
dir in action block priority 1 index 0
if_id 0x9, flags localok"""


@pytest.mark.parametrize(("sa", "text"), [(GROUP_SA, GROUP_TEXT), (UNICAST_SA, UNICAST_TEXT)])
def test_an_sa(sa: SecurityAssociation, text: str) -> None:
    assert "\n".join(sa_lines(sa, now_utc_s=NOW_UTC_S)) == text


def test_a_policy() -> None:
    assert "\n".join(policy_lines(OUT_POLICY, now_utc_s=NOW_UTC_S)) == OUT_TEXT
    assert "\n".join(policy_lines(ECHO_POLICY, now_utc_s=NOW_UTC_S)) == ECHO_TEXT


@pytest.mark.parametrize("sa", [GROUP_SA, UNICAST_SA])
def test_keys_are_hidden_unless_they_are_asked_for(sa: SecurityAssociation) -> None:
    assert not has_key("\n".join(sa_lines(sa, now_utc_s=NOW_UTC_S)))
    shown = "\n".join(sa_lines(sa, now_utc_s=NOW_UTC_S, show_keys=True))
    for algorithm in (sa.aead, sa.encryption, sa.integrity):
        assert algorithm is None or f" 0x{algorithm.key.reveal().hex()}" in shown
    assert all(attribute.payload.hex() in shown for attribute in sa.other)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (59.6, "1 min ago"),
        (3 * 86400 + 3601, "3 d 1 h ago"),
        (7265, "2 h 1 min ago"),
        (-0.4, "0 s ago"),
        (-90, "in 1 min 30 s"),
    ],
)
def test_spans_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_a_selector_shows_all_that_counts() -> None:
    everything = Selector(
        Prefix.of("10.0.0.0/8"), Prefix.of("10.0.0.1"), 200, 5, None, source_port_mask=0xFF, ifindex=3, user=1000
    )
    assert selector_text(everything) == (
        "src 10.0.0.0/8 dst 10.0.0.1/32 proto 200 sport 5 mask 0xff ifindex 3 uid 1000"
    )


def test_any_record_shows_what_is_set() -> None:
    assert fields_text(SaId(Address.of("239.1.1.1"), 7)) == "destination 239.1.1.1, spi 0x00000007, protocol esp"
    assert fields_text(OUT_POLICY.id) == (
        "selector (src 10.0.0.0/8 dst 239.1.1.1/32 proto udp dport 5000), direction out, type main,"
        " mark (value 5, mask 255)"
    )
    assert "mode tunnel" in fields_text(OUT_POLICY.templates[0])
    assert OUT_POLICY.templates[0].mode is Mode.TUNNEL
