"""Migration in a real kernel: a policy with its SAs, and one SA alone where the kernel can (Linux 7.2)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import pytest

from xfrm import (
    Address,
    AeadAlgorithm,
    Direction,
    KernelRefused,
    Key,
    KmAddress,
    Mark,
    MigrateStateFlag,
    Migration,
    MigrationStep,
    Mode,
    Origin,
    Policy,
    PolicyMigrated,
    ReplayWindow,
    SaMigrated,
    SaMigration,
    SecurityAssociation,
    Selector,
    SequenceState,
    Template,
    XfrmMonitor,
    XfrmSocket,
)

pytestmark = pytest.mark.needs_esp

A, B, C = (Address.of(f"10.9.0.{number}") for number in (1, 2, 3))
GCM = AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(range(20))), 128)
SA = SecurityAssociation(
    A, B, 0x1234, mode=Mode.TUNNEL, reqid=7, aead=GCM, replay=ReplayWindow(32), sequence=SequenceState(50, 60)
)
TEMPLATE = Template(A, B, mode=Mode.TUNNEL, reqid=7)
POLICY = Policy(Selector.of("10.1.0.0/16", "10.2.0.0/16"), Direction.OUT, templates=(TEMPLATE,))
STEP = MigrationStep(A, B, A, C, reqid=7)
MIGRATION = Migration(POLICY.selector, Direction.OUT, (STEP,), km_address=KmAddress(A, C))
HAS_MIGRATE_STATE = tuple(int(number) for number in os.uname().release.split(".")[:2]) >= (7, 2)


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket(timeout_s=60) as opened:
        yield opened


def test_a_policy_and_its_sas_move_together(kernel: XfrmSocket) -> None:
    kernel.add_sa(SA)
    kernel.add_policy(POLICY)
    with XfrmMonitor() as monitor:
        kernel.migrate(MIGRATION)
        assert monitor.next_event(timeout_s=30) == PolicyMigrated(MIGRATION)
    moved = dataclasses.replace(SA, destination=C)
    (found,) = kernel.dump_sas()
    assert found.configuration() == dataclasses.replace(moved, sequence=SequenceState())
    assert found.sequence == SA.sequence
    (policy,) = kernel.dump_policies()
    assert policy.templates == (dataclasses.replace(TEMPLATE, destination=C),)


def test_several_steps_are_reported_whole(kernel: XfrmSocket) -> None:
    second = dataclasses.replace(TEMPLATE, source=B, destination=A, reqid=8)
    both = dataclasses.replace(POLICY, templates=(TEMPLATE, second))
    for sa in (SA, dataclasses.replace(SA, spi=0x1235, source=B, destination=A, reqid=8)):
        kernel.add_sa(sa)
    kernel.add_policy(both)
    steps = (STEP, MigrationStep(B, A, B, C, reqid=8))
    with XfrmMonitor() as monitor:
        kernel.migrate(Migration(POLICY.selector, Direction.OUT, steps))
        event = monitor.next_event(timeout_s=30)
        assert isinstance(event, PolicyMigrated)
        assert event.migration.steps == steps
    assert {sa.destination for sa in kernel.dump_sas()} == {C}


def test_nothing_to_move_is_said(kernel: XfrmSocket) -> None:
    with pytest.raises(KernelRefused, match="ENOENT"):
        kernel.migrate(MIGRATION)
    kernel.add_policy(POLICY)
    with pytest.raises(KernelRefused, match="ENODATA"):
        kernel.migrate(dataclasses.replace(MIGRATION, steps=(dataclasses.replace(STEP, reqid=99),)))


MARKED = dataclasses.replace(SA, mark=Mark(3, 0xF))
MOVE = SaMigration(MARKED.id, C, B, reqid=9, mark=Mark(0, 0), output_mark=Mark(1, 3))


@pytest.mark.skipif(not HAS_MIGRATE_STATE, reason="XFRM_MSG_MIGRATE_STATE came with Linux 7.2")
def test_one_sa_moves_and_keeps_its_numbers(kernel: XfrmSocket) -> None:
    kernel.add_sa(MARKED)
    with XfrmMonitor() as monitor:
        kernel.migrate_sa(MOVE)
        event = monitor.next_event(timeout_s=30)
        assert isinstance(event, SaMigrated)
        assert event.origin == Origin(kernel.asyncore.port, 2)
        assert (event.migration.sa_id, event.migration.source, event.migration.reqid) == (MARKED.id, C, 9)
        assert event.migration.output_mark == Mark(1, 3)
    (found,) = kernel.dump_sas()
    expected = dataclasses.replace(SA, source=C, reqid=9, output_mark=Mark(1, 3), sequence=SequenceState())
    assert found.configuration() == expected
    assert found.sequence == SA.sequence


@pytest.mark.skipif(not HAS_MIGRATE_STATE, reason="XFRM_MSG_MIGRATE_STATE came with Linux 7.2")
def test_an_sa_that_is_not_there_does_not_move(kernel: XfrmSocket) -> None:
    with pytest.raises(KernelRefused, match="ESRCH"):
        kernel.migrate_sa(MOVE)
    kernel.add_sa(SA)
    host_to_host = MigrateStateFlag.XFRM_MIGRATE_STATE_UPDATE_H2H_SEL
    with pytest.raises(KernelRefused, match="EINVAL"):
        kernel.migrate_sa(SaMigration(SA.id, A, C, flags=host_to_host))  # its selector is not of its addresses


@pytest.mark.skipif(HAS_MIGRATE_STATE, reason="older kernels answer so")
def test_an_older_kernel_does_not_know_the_message(kernel: XfrmSocket) -> None:
    with pytest.raises(KernelRefused, match="EINVAL"):
        kernel.migrate_sa(MOVE)
