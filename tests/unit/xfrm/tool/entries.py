"""SAs and policies that the tool's tests show."""

from xfrm import (
    Action,
    Address,
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Direction,
    Encapsulation,
    Key,
    Lifetime,
    Mark,
    Mode,
    Offload,
    Policy,
    Protocol,
    RawAttribute,
    ReplayWindow,
    SaDirection,
    SaExtraFlag,
    SaFlag,
    SecurityAssociation,
    SecurityContext,
    Selector,
    SequenceState,
    Statistics,
    Template,
    Usage,
)

NOW_UTC_S = 1_795_462_300
KEY = Key(bytes(range(0xA0, 0xB4)))
AES_KEY, SHA_KEY = Key(bytes(range(0xC0, 0xD0))), Key(bytes(range(0xD0, 0xF0)))

GROUP_SA = SecurityAssociation(
    source=Address.of("10.9.0.1"),
    destination=Address.of("239.1.1.1"),
    spi=0x1234,
    mode=Mode.TUNNEL,
    reqid=7,
    aead=AeadAlgorithm("rfc4106(gcm(aes))", KEY, 128),
    replay=ReplayWindow(128, esn=True),
    lifetime=Lifetime(soft_bytes=1000, hard_bytes=2000, hard_add_s=3600),
    selector=Selector.of("10.0.0.0/8", "239.1.1.1", 17, destination_port=5000),
    mark=Mark(5, 0xFF),
    if_id=9,
    direction=SaDirection.OUT,
    sequence=SequenceState(outbound=12, bitmap=(0, 0, 0, 0)),
    usage=Usage(1234, 12, NOW_UTC_S - 82, NOW_UTC_S - 60),
    statistics=Statistics(1, 2, 3),
    last_used_utc_s=NOW_UTC_S - 1,
)
UNICAST_SA = SecurityAssociation(
    source=Address.of("2001:db8::1"),
    destination=Address.of("2001:db8::2"),
    spi=0x2000,
    protocol=Protocol.ESP,
    encryption=Algorithm("cbc(aes)", AES_KEY),
    integrity=AuthAlgorithm("hmac(sha256)", SHA_KEY, 128),
    flags=SaFlag.XFRM_STATE_NOECN,
    extra_flags=SaExtraFlag.XFRM_SA_XFLAG_OSEQ_MAY_WRAP,
    encapsulation=Encapsulation(2, 4500, 4501, Address.of("::")),
    nat_keepalive_s=20,
    mapping_max_age_s=30,
    offload=Offload(3, 4),
    security_context=SecurityContext(b"system_u:object_r:ipsec_spd_t:s0"),
    tfc_padding_octets=1400,
    other=(RawAttribute(999, bytes(SHA_KEY.reveal())),),
)
OUT_POLICY = Policy(
    Selector.of("10.0.0.0/8", "239.1.1.1", 17, destination_port=5000),
    Direction.OUT,
    priority=5,
    index=17,
    mark=Mark(5, 0xFF),
    templates=(
        Template(Address.of("10.9.0.1"), Address.of("239.1.1.1"), mode=Mode.TUNNEL, spi=0x1234, reqid=7),
        Template(Address.of("0.0.0.0"), Address.of("0.0.0.0"), Protocol.AH, optional=True, algorithm_masks=(1, 2, 3)),
    ),
    usage=Usage(0, 0, NOW_UTC_S - 82, 0),
)
ECHO_POLICY = Policy(
    Selector(Selector.of("::/0", "2001:db8::/32").source, Selector.of("::/0", "2001:db8::/32").destination, 58, 128, 0),
    Direction.IN,
    action=Action.BLOCK,
    priority=1,
    if_id=9,
    flags=1,
)
SOCKET_POLICY = Policy(Selector.of("0.0.0.0/0", "0.0.0.0/0"), 3)


def has_key(text: str) -> bool:
    """Whether octets of any key are in a text."""
    return any(key.reveal().hex() in text for key in (KEY, AES_KEY, SHA_KEY))
