import pytest

from xfrm.address import Address
from xfrm.attributes import AttributeSet, RawAttribute
from xfrm.constants import Action, Direction, Family, Mode, PolicyFlag, PolicyType, Protocol, Share
from xfrm.errors import DecodeError, EncodeError
from xfrm.policy import ALL_ALGORITHMS, Policy, PolicyId, Template
from xfrm.selector import Selector
from xfrm.structs import USER_TMPL, USERPOLICY_ID, USERPOLICY_INFO, XfrmLifetimeCur
from xfrm.values import Lifetime, Mark, Offload, SecurityContext, Usage

GROUP = Address.of("239.1.1.1")
SELECTOR = Selector.of("10.0.0.1", "239.1.1.1")


def read_back(policy: Policy) -> Policy:
    body = policy.encode()
    return Policy.decode(USERPOLICY_INFO.unpack(body), AttributeSet.parse(body, USERPOLICY_INFO.size))


def test_a_template_is_laid_out_as_the_uapi_says() -> None:
    template = Template(Address.of("10.0.0.1"), GROUP, Protocol.ESP, Mode.TUNNEL, 0x1234, 7, optional=True)
    packed = USER_TMPL.pack(template.to_uapi())
    assert packed[:4] == GROUP.octets
    assert packed[16:21] == bytes.fromhex("0000123432")
    assert packed[24:26] == Family.AF_INET.to_bytes(2, "little" if packed[24] else "big")
    assert packed[48:51] == bytes([Mode.TUNNEL, Share.ANY, 1])
    assert packed[52:] == b"\xff" * 12
    assert Template.from_uapi(USER_TMPL.unpack(packed)) == template


def test_a_template_defaults_to_required_esp_of_any_spi_and_algorithm() -> None:
    template = Template(Address.any(Family.AF_INET), GROUP)
    assert (template.protocol, template.mode, template.spi, template.optional) == (50, 0, 0, False)
    assert template.algorithm_masks == (ALL_ALGORITHMS,) * 3
    assert str(template) == "tmpl src 0.0.0.0 dst 239.1.1.1 esp transport spi 0x00000000 reqid 0"
    assert str(Template(GROUP, GROUP, optional=True)).endswith(" level use")


def test_a_templates_families_do_not_mix() -> None:
    with pytest.raises(EncodeError, match="differ in family"):
        Template(Address.of("::"), GROUP)


@pytest.mark.parametrize("masks", [(), (1, 2), (1, 2, 3, 4)])
def test_a_template_has_three_algorithm_masks(masks: tuple[int, int, int]) -> None:
    with pytest.raises(EncodeError, match=f"three algorithm masks, not {len(masks)}"):
        Template(GROUP, GROUP, algorithm_masks=masks)


def test_a_template_of_another_family_is_a_decode_error() -> None:
    record = USER_TMPL.unpack(bytes(64))
    with pytest.raises(DecodeError, match="family 0"):
        Template.from_uapi(record)


@pytest.mark.parametrize(
    "policy",
    [
        Policy(SELECTOR, Direction.OUT),
        Policy(SELECTOR, Direction.IN, Action.BLOCK, 100),
        Policy(
            Selector.of("::/0", "ff3e::8000:1", 17, destination_port=5000),
            Direction.FWD,
            priority=10,
            templates=(
                Template(Address.of("::"), Address.of("ff3e::8000:1"), Protocol.AH, spi=0x1000, reqid=9),
                Template(Address.of("10.0.0.1"), GROUP, mode=Mode.TUNNEL, share=Share.UNIQUE),
            ),
            type=PolicyType.SUB,
            mark=Mark(1, 0xFF),
            if_id=42,
            lifetime=Lifetime(hard_add_s=60),
            flags=PolicyFlag.XFRM_POLICY_LOCALOK,
            share=Share.USER,
            index=73,
            other=(RawAttribute(99, b"later"),),
        ),
    ],
    ids=["plain", "block", "everything"],
)
def test_a_policy_is_read_back_as_it_was_written(policy: Policy) -> None:
    back = read_back(policy)
    assert back.usage == Usage()
    assert back.configuration() == policy.configuration()
    assert (back.index, back.other) == (policy.index, policy.other)
    assert isinstance(back.direction, Direction)
    assert back.id == policy.id


def test_configuration_leaves_out_what_changes_by_itself() -> None:
    record = Policy(SELECTOR, Direction.OUT).to_uapi()._replace(curlft=XfrmLifetimeCur(packets=3), index=8)
    used = Policy.decode(USERPOLICY_INFO.unpack(USERPOLICY_INFO.pack(record)), AttributeSet())
    assert used.usage == Usage(packets=3)
    assert used != Policy(SELECTOR, Direction.OUT)
    assert used.configuration() == Policy(SELECTOR, Direction.OUT)


def test_a_policy_has_at_most_six_templates() -> None:
    template = Template(GROUP, GROUP)
    Policy(SELECTOR, Direction.OUT, templates=(template,) * 6)
    with pytest.raises(EncodeError, match="at most 6 templates, not 7"):
        Policy(SELECTOR, Direction.OUT, templates=(template,) * 7)


def test_the_name_of_a_policy_is_laid_out_as_the_uapi_says() -> None:
    plain = PolicyId(SELECTOR, Direction.FWD)
    assert len(plain.encode()) == 64
    record = USERPOLICY_ID.unpack(plain.encode())
    assert (record.index, record.dir, Selector.from_uapi(record.sel)) == (0, 2, SELECTOR)
    full = PolicyId(SELECTOR, Direction.OUT, PolicyType.SUB, Mark(1), 5)
    assert [str(raw) for raw in AttributeSet.parse(full.encode(), 64)] == [
        "XFRMA_POLICY_TYPE",
        "XFRMA_MARK",
        "XFRMA_IF_ID",
    ]


def test_text() -> None:
    assert str(Policy(SELECTOR, Direction.OUT, Action.BLOCK, 5)) == (
        "out src 10.0.0.1/32 dst 239.1.1.1/32 block priority 5"
    )


def test_an_address_family_that_xfrm_does_not_have() -> None:
    with pytest.raises(DecodeError):
        Policy.decode(USERPOLICY_INFO.unpack(bytes(168)), AttributeSet())


LABELLED = Policy(
    SELECTOR,
    Direction.OUT,
    type=PolicyType.SUB,
    mark=Mark(1, 2),
    if_id=3,
    offload=Offload(4, 4),
    security_context=SecurityContext(b"system_u:object_r:ipsec_spd_t:s0"),
    flags=PolicyFlag.XFRM_POLICY_CPU_ACQUIRE,
)


def test_offload_and_label_are_part_of_a_policy_and_the_label_of_its_name() -> None:
    assert read_back(LABELLED).configuration() == LABELLED
    assert LABELLED.id.security_context == LABELLED.security_context


@pytest.mark.parametrize(
    "policy_id", [LABELLED.id, PolicyId(SELECTOR, Direction.IN), PolicyId(SELECTOR, Direction.OUT, index=9)]
)
def test_a_name_comes_back(policy_id: PolicyId) -> None:
    body = policy_id.encode()
    record = USERPOLICY_ID.unpack(body)
    assert record.index == policy_id.index
    assert PolicyId.decode(record, AttributeSet.parse(body, USERPOLICY_ID.size)) == policy_id
