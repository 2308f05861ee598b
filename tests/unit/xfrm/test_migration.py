import dataclasses
import struct

import pytest

from xfrm import attributes as rows
from xfrm.address import Address
from xfrm.attributes import AttributeSet
from xfrm.constants import (
    Direction,
    EncapsulationType,
    MigrateStateFlag,
    Mode,
    OffloadFlag,
    PolicyType,
    Protocol,
    SaDirection,
)
from xfrm.control_structs import USER_MIGRATE_STATE, XfrmUserMigrate
from xfrm.errors import DecodeError, EncodeError
from xfrm.migration import NO_ENCAPSULATION_TYPE, KmAddress, Migration, MigrationStep, SaMigration
from xfrm.selector import Selector
from xfrm.state import Encapsulation, SaId
from xfrm.structs import USERPOLICY_ID, XfrmUserpolicyId
from xfrm.values import Mark, Offload

A, B, C, D = (Address.of(f"10.0.0.{number}") for number in (1, 2, 3, 4))
SELECTOR = Selector.of("10.1.0.0/16", "10.2.0.0/16")
STEP = MigrationStep(A, B, C, D, reqid=7)
PLAIN = Migration(SELECTOR, Direction.OUT, (STEP,))
EVERYTHING = Migration(
    SELECTOR,
    Direction.IN,
    (STEP, MigrationStep(A, B, Address.of("fd00::3"), Address.of("fd00::4"), Protocol.AH, Mode.TRANSPORT)),
    PolicyType.SUB,
    KmAddress(C, D),
    Encapsulation(EncapsulationType.UDP_ENCAP_ESPINUDP, 4500, 4501, Address.of("0.0.0.0")),
    Offload(3, OffloadFlag.XFRM_OFFLOAD_INBOUND),
    9,
)


def read_back(migration: Migration) -> Migration:
    body = migration.encode()
    return Migration.decode(USERPOLICY_ID.unpack(body), AttributeSet.parse(body, USERPOLICY_ID.size))


@pytest.mark.parametrize("migration", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_a_migration_comes_back(migration: Migration) -> None:
    assert read_back(migration) == migration


def test_the_policy_is_named_and_the_step_laid_out_as_the_uapi_says() -> None:
    head = USERPOLICY_ID.pack(XfrmUserpolicyId(SELECTOR.to_uapi(), 0, Direction.OUT))
    step = b"".join(address.octets + bytes(12) for address in (B, A, D, C)) + struct.pack("=BBHIHH", 50, 1, 0, 7, 2, 2)
    assert PLAIN.encode() == head + struct.pack("=HH", 80, 17) + step


def test_a_report_has_an_attribute_for_each_step() -> None:
    two = b"".join(rows.MIGRATE.encode((step.to_uapi(),)) for step in EVERYTHING.steps)
    record = XfrmUserpolicyId(SELECTOR.to_uapi(), 0, Direction.IN)
    assert Migration.decode(record, AttributeSet.parse(two)).steps == EVERYTHING.steps


def test_limits_and_families() -> None:
    with pytest.raises(EncodeError, match="at most 6"):
        dataclasses.replace(PLAIN, steps=(STEP,) * 7).encode()
    six = Address.of("fd00::1")
    for make in (
        lambda: MigrationStep(A, six, C, D),
        lambda: MigrationStep(A, B, C, six),
        lambda: KmAddress(six, A),
        lambda: SaMigration(SaId(B, 1), C, six),
    ):
        with pytest.raises(EncodeError, match="differ in family"):
            make()
    with pytest.raises(EncodeError, match="differ in family"):
        SaMigration(SaId(B, 1), C, D, encapsulation=Encapsulation(2, 4500, 4500, six)).encode()
    with pytest.raises(DecodeError, match="address family 0"):
        MigrationStep.from_uapi(XfrmUserMigrate())
    assert str(PLAIN) == "out src 10.1.0.0/16 dst 10.2.0.0/16"


SA_PLAIN = SaMigration(SaId(B, 0x1234), C, D)
SA_EVERYTHING = SaMigration(
    sa_id=SaId(B, 0x1234, mark=Mark(1, 0xFF)),
    source=Address.of("fd00::3"),
    destination=Address.of("fd00::4"),
    reqid=8,
    selector=Selector.of("fd00::3", "fd00::4", 17),
    flags=MigrateStateFlag.XFRM_MIGRATE_STATE_CLEAR_OFFLOAD,
    mark=Mark(0, 0),
    encapsulation=Encapsulation(NO_ENCAPSULATION_TYPE, 0, 0, Address.of("::")),
    offload=Offload(3),
    output_mark=Mark(5, 0xFFFFFFFF),
    nat_keepalive_s=0,
    mapping_max_age_s=30,
)


@pytest.mark.parametrize("migration", [SA_PLAIN, SA_EVERYTHING], ids=["plain", "everything"])
def test_an_sas_migration_comes_back(migration: SaMigration) -> None:
    body = migration.encode()
    attributes = AttributeSet.parse(body, USER_MIGRATE_STATE.size)
    assert SaMigration.decode(USER_MIGRATE_STATE.unpack(body), attributes) == migration


def test_what_is_not_said_is_not_sent() -> None:
    body = SA_PLAIN.encode()
    assert len(body) == USER_MIGRATE_STATE.size
    record = USER_MIGRATE_STATE.unpack(body)
    assert (record.id.spi, record.new_daddr[:4], record.new_saddr[:4]) == (0x1234, D.octets, C.octets)
    assert (record.new_family, record.reserved, record.new_sel.family) == (2, 0, 2)


def test_zeros_are_said_where_they_take_away() -> None:
    attributes = AttributeSet.parse(SA_EVERYTHING.encode(), USER_MIGRATE_STATE.size)
    assert attributes.get(rows.MARK) == (0, 0)
    assert attributes.get(rows.NAT_KEEPALIVE_INTERVAL) == 0
    assert attributes.get(rows.SET_MARK_MASK) == 0xFFFFFFFF


def test_a_report_says_the_direction() -> None:
    attributes = AttributeSet.parse(rows.SA_DIR.encode(1))
    got = SaMigration.decode(USER_MIGRATE_STATE.unpack(SA_PLAIN.encode()), attributes)
    assert got == dataclasses.replace(SA_PLAIN, direction=SaDirection.IN)
    assert str(got) == "dst 10.0.0.2 esp spi 0x00001234 to src 10.0.0.3 dst 10.0.0.4"
