import dataclasses

import pytest

from xfrm import attributes as rows
from xfrm.address import Address
from xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm, Key
from xfrm.attributes import AttributeSet, RawAttribute
from xfrm.constants import (
    EncapsulationType,
    Family,
    Mode,
    OffloadFlag,
    Protocol,
    SaDirection,
    SaExtraFlag,
    SaFlag,
)
from xfrm.errors import DecodeError, EncodeError
from xfrm.iptfs import Iptfs
from xfrm.replay import ReplayWindow, SequenceState
from xfrm.selector import Selector
from xfrm.state import Encapsulation, SaId, SecurityAssociation, Statistics
from xfrm.structs import USERSA_ID, USERSA_INFO, XfrmLifetimeCur, XfrmStats
from xfrm.thresholds import Thresholds
from xfrm.values import Lifetime, Mark, Offload, SecurityContext, Usage

SECRET = b"abcdefghijklmnopqrst"
GROUP = Address.of("239.1.1.1")
GCM = AeadAlgorithm("rfc4106(gcm(aes))", Key(SECRET), 128)
PLAIN = SecurityAssociation(Address.of("0.0.0.0"), GROUP, 0x1234, aead=GCM)
EVERYTHING = SecurityAssociation(
    source=Address.of("fd09::1"),
    destination=Address.of("ff3e::8000:1"),
    spi=0xFFFFFFFF,
    protocol=Protocol.ESP,
    mode=Mode.TUNNEL,
    reqid=77,
    encryption=Algorithm("cbc(aes)", Key(bytes(16))),
    integrity=AuthAlgorithm("hmac(sha256)", Key(bytes(32)), 128),
    replay=ReplayWindow(128, esn=True),
    lifetime=Lifetime(hard_add_s=3600, soft_packets=10),
    selector=Selector.of("fd09::1", "ff3e::8000:1", 17),
    mark=Mark(0x101, 0xFFFF),
    if_id=4,
    flags=SaFlag.XFRM_STATE_AF_UNSPEC,
    extra_flags=SaExtraFlag.XFRM_SA_XFLAG_OSEQ_MAY_WRAP,
    direction=SaDirection.OUT,
    output_mark=Mark(5, 0xF),
    encapsulation=Encapsulation(2, 4500, 4501, Address.of("::")),
    tfc_padding_octets=9,
    compression=Algorithm("deflate", Key(b"")),
    offload=Offload(3, OffloadFlag.XFRM_OFFLOAD_INBOUND),
    security_context=SecurityContext(b"system_u:object_r:ipsec_spd_t:s0"),
    cpu=0,
    iptfs=Iptfs(drop_time_us=1000, dont_fragment=True),
    nat_keepalive_s=20,
    mapping_max_age_s=30,
    care_of=Address.of("fd09::9"),
    acquire_sequence=3,
    sequence=SequenceState(2**33, 5, (1, 0, 0, 0)),
    thresholds=Thresholds(100, 20),
    initial_usage=Usage(1, 2, 3, 4),
    other=(RawAttribute(99, b"later"),),
)


def read_back(sa: SecurityAssociation) -> SecurityAssociation:
    body = sa.encode()
    return SecurityAssociation.decode(USERSA_INFO.unpack(body), AttributeSet.parse(body, USERSA_INFO.size))


@pytest.mark.parametrize("sa", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_an_sa_is_read_back_as_it_was_written(sa: SecurityAssociation) -> None:
    back = read_back(sa)
    assert (back.usage, back.statistics) == (Usage(), Statistics())
    assert dataclasses.replace(back, usage=None, statistics=None) == sa
    assert isinstance(back.mode, Mode)
    assert isinstance(back.protocol, Protocol)


def test_configuration_leaves_out_what_changes_by_itself_and_nothing_else() -> None:
    record = USERSA_INFO.unpack(EVERYTHING.encode())
    record = record._replace(curlft=XfrmLifetimeCur(1, 2, 3, 4), stats=XfrmStats(1, 2, 3))
    attributes = AttributeSet.parse(EVERYTHING.encode() + rows.LASTUSED.encode(5), USERSA_INFO.size)
    used = SecurityAssociation.decode(record, attributes)
    assert (used.usage, used.statistics, used.last_used_utc_s) == (Usage(1, 2, 3, 4), Statistics(1, 2, 3), 5)
    reported = {"usage", "statistics", "last_used_utc_s", "other"}
    left_out = reported | {"sequence", "acquire_sequence", "thresholds", "initial_usage"}
    plain = used.configuration()
    for field in dataclasses.fields(SecurityAssociation):
        if field.name in left_out:
            assert getattr(plain, field.name) == field.default
        else:
            assert getattr(plain, field.name) == getattr(EVERYTHING, field.name), field.name


def test_the_struct_is_laid_out_as_the_uapi_says() -> None:
    body = PLAIN.encode()
    assert body[56:60] == GROUP.octets
    assert body[72:77] == bytes.fromhex("0000123432")
    assert body[80:96] == bytes(16)
    record = USERSA_INFO.unpack(body)
    assert (record.family, record.mode, record.replay_window, record.flags) == (Family.AF_INET, 0, 0, 0)


def test_the_kernels_selector_of_any_packet_is_none() -> None:
    record = PLAIN.to_uapi()
    filled = record._replace(sel=record.sel._replace(family=Family.AF_INET, daddr=bytes(16), saddr=bytes(16)))
    assert SecurityAssociation.decode(USERSA_INFO.unpack(USERSA_INFO.pack(filled)), AttributeSet()).selector is None


def test_a_selector_without_a_family_has_the_sas() -> None:
    record = PLAIN.to_uapi()
    sel = Selector.of("10.0.0.1", "239.1.1.1").to_uapi()._replace(family=0)
    packed = USERSA_INFO.pack(record._replace(sel=sel))
    read = SecurityAssociation.decode(USERSA_INFO.unpack(packed), AttributeSet())
    assert read.selector == Selector.of("10.0.0.1", "239.1.1.1")


def test_integrity_that_the_kernel_reports_twice_is_read_once() -> None:
    auth = AuthAlgorithm("hmac(sha256)", Key(bytes(32)), 128)
    old = rows.ALG_AUTH.encode(Algorithm("hmac(sha256)", Key(bytes(32))))
    record = USERSA_INFO.unpack(PLAIN.encode())
    both = SecurityAssociation.decode(record, AttributeSet.parse(old + rows.ALG_AUTH_TRUNC.encode(auth)))
    assert (both.integrity, both.other) == (auth, ())


def test_integrity_without_a_length_is_the_attribute_that_has_none() -> None:
    lone = Algorithm("hmac(sha1)", Key(bytes(20)))
    sa = dataclasses.replace(PLAIN, integrity=lone)
    attributes = AttributeSet.parse(sa.encode(), USERSA_INFO.size)
    assert attributes.get(rows.ALG_AUTH) == lone
    assert rows.ALG_AUTH_TRUNC not in attributes
    assert dataclasses.replace(read_back(sa), usage=None, statistics=None) == sa


def test_an_output_mark_without_a_mask_has_all_bits() -> None:
    sa = dataclasses.replace(PLAIN, output_mark=Mark(5))
    body = sa.encode()
    assert rows.SET_MARK_MASK not in AttributeSet.parse(body, USERSA_INFO.size)
    assert read_back(sa).output_mark == Mark(5)


def test_families_do_not_mix() -> None:
    with pytest.raises(EncodeError, match="differ in family"):
        SecurityAssociation(Address.of("::"), GROUP, 0x1234)
    six = Address.of("fd00::1")
    for change in ({"care_of": six}, {"encapsulation": Encapsulation(2, 4500, 4500, six)}):
        with pytest.raises(EncodeError, match="differ in family"):
            dataclasses.replace(PLAIN, **change).encode()
    with pytest.raises(EncodeError, match="differ in family"):
        SaId(GROUP, 0, Protocol.IPPROTO_DSTOPTS, source=six).encode()


@pytest.mark.parametrize("family", [0, 1])
def test_another_address_family_is_a_decode_error(family: int) -> None:
    record = USERSA_INFO.unpack(USERSA_INFO.pack(PLAIN.to_uapi()._replace(family=family)))
    with pytest.raises(DecodeError, match="neither AF_INET nor AF_INET6"):
        SecurityAssociation.decode(record, AttributeSet())


def test_the_name_of_an_sa() -> None:
    sa_id = SaId(GROUP, 0x1234)
    assert PLAIN.id == sa_id
    assert sa_id.encode()[:4] == GROUP.octets
    assert sa_id.encode()[16:20] == bytes.fromhex("00001234")
    record = USERSA_ID.unpack(sa_id.encode())
    assert (record.family, record.proto) == (Family.AF_INET, Protocol.ESP)
    marked = SaId(GROUP, 0x1234, Protocol.AH, Mark(1, 0xF))
    assert SaId.decode(USERSA_ID.unpack(marked.encode()), AttributeSet.parse(marked.encode(), 24)) == marked
    assert str(marked) == "dst 239.1.1.1 ah spi 0x00001234 mark 0x1/0xf"
    assert str(PLAIN) == "src 0.0.0.0 dst 239.1.1.1 esp spi 0x00001234"


def test_an_sa_does_not_show_its_keys() -> None:
    for text in (repr(PLAIN), str(PLAIN), repr(read_back(PLAIN))):
        assert SECRET.decode() not in text
        assert SECRET.hex() not in text


def test_sas_compare_by_their_keys_too() -> None:
    other = dataclasses.replace(PLAIN, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(20)), 128))
    assert other != PLAIN
    assert dataclasses.replace(PLAIN) == PLAIN


def test_a_wrong_key_length_does_not_leave_the_library() -> None:
    short = dataclasses.replace(PLAIN, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(b"short"), 128))
    with pytest.raises(EncodeError, match="takes a key of 160 or 224 or 288 bits"):
        short.encode()


def test_an_encapsulation_that_is_known_has_its_name() -> None:
    got = read_back(EVERYTHING).encapsulation
    assert got is not None
    assert got.type is EncapsulationType.UDP_ENCAP_ESPINUDP


def test_mobile_ipv6s_sas_are_named_by_their_addresses() -> None:
    home = SecurityAssociation(
        Address.of("fd00::1"), Address.of("fd00::2"), 0, Protocol.IPPROTO_DSTOPTS, care_of=Address.of("fd00::9")
    )
    assert home.id == SaId(home.destination, 0, Protocol.IPPROTO_DSTOPTS, source=home.source)
    attributes = AttributeSet.parse(home.id.encode(), USERSA_ID.size)
    assert attributes.get(rows.SRCADDR) == (home.source.octets,)
    assert SaId.decode(USERSA_ID.unpack(home.id.encode()), attributes) == home.id
    assert EVERYTHING.id.source is None


ANY4 = Selector.of("0.0.0.0/0", "0.0.0.0/0")
UNSPEC = int(SaFlag.XFRM_STATE_AF_UNSPEC)


@pytest.mark.parametrize(
    ("family", "flags", "selector", "shown"),
    [
        (Family.AF_INET, 0, ANY4, None),
        (Family.AF_INET, 0, None, None),
        (Family.AF_INET6, 0, ANY4, ANY4),
        (Family.AF_INET, UNSPEC, ANY4, ANY4),
        (Family.AF_INET, UNSPEC, None, None),
        (Family.AF_INET, 0, Selector.of("0.0.0.0/0", "0.0.0.0/0", 17), Selector.of("0.0.0.0/0", "0.0.0.0/0", 17)),
    ],
)
def test_a_selector_that_says_nothing_is_none(
    family: Family, flags: int, selector: Selector | None, shown: Selector | None
) -> None:
    sa = SecurityAssociation(Address.any(family), Address.any(family), 1, selector=selector, flags=flags)
    assert read_back(sa).selector == shown


@pytest.mark.requirement("ESP-3.4-04")
def test_an_sa_made_by_hand_has_no_replay_service_unasked() -> None:
    assert PLAIN.replay == ReplayWindow(0)
