"""The message table against a real kernel: what it sends has no attribute that the table does not list."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from xfrm import (
    Acquire,
    Address,
    AeadAlgorithm,
    Aevent,
    Direction,
    Encapsulation,
    Key,
    Lifetime,
    Mark,
    Migration,
    MigrationStep,
    Mode,
    Policy,
    PolicyType,
    ReplayWindow,
    SaDirection,
    SaId,
    SecurityAssociation,
    Selector,
    SpiRequest,
    Template,
    Thresholds,
    XfrmMonitor,
    XfrmSocket,
    requests,
)
from xfrm import monitor as xfrm_monitor
from xfrm.attributes import AttributeSet, numbers_of
from xfrm.constants import MessageType
from xfrm.events import Event, Unknown, read_event
from xfrm.frame import Frame
from xfrm.messages import MESSAGES, Message

pytestmark = pytest.mark.needs_esp

A, B = Address.of("10.9.0.1"), Address.of("10.9.0.2")
SA = SecurityAssociation(
    A,
    B,
    0x1234,
    mode=Mode.TUNNEL,
    reqid=7,
    aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(range(20))), 128),
    replay=ReplayWindow(64, esn=True),
    mark=Mark(1, 0xFF),
    if_id=3,
    direction=SaDirection.IN,
    output_mark=Mark(2, 3),
    encapsulation=Encapsulation(2, 4500, 4500, Address.of("0.0.0.0")),
    lifetime=Lifetime(hard_add_s=3600),
)
POLICY = Policy(
    Selector.of("10.1.0.0/16", "10.2.0.0/16"),
    Direction.OUT,
    templates=(Template(A, B, mode=Mode.TUNNEL, reqid=7),),
    type=PolicyType.SUB,
    mark=Mark(1, 0xFF),
    if_id=3,
)


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    """What monitors get, as it came."""
    heard: list[Frame] = []

    def read(frame: Frame) -> Event:
        heard.append(frame)
        return read_event(frame)

    monkeypatch.setattr(xfrm_monitor, "read_event", read)
    return heard


@pytest.fixture
def kernel() -> Iterator[XfrmSocket]:
    with XfrmSocket(timeout_s=60) as opened:
        yield opened


def do_everything(kernel: XfrmSocket) -> list[Frame]:
    """A request of each kind that is answered or reported; the answers."""
    inbound = dataclasses.replace(POLICY, direction=Direction.IN)
    of_main = dataclasses.replace(POLICY, type=PolicyType.MAIN)
    done = kernel.request_many(
        [
            requests.add_sa(SA),
            requests.update_sa(SA),
            requests.get_sa(SA.id),
            requests.dump_sas(),
            requests.get_aevent(SA.id),
            requests.update_aevent(Aevent(SA.id, A, thresholds=Thresholds(10, 10))),
            requests.allocate_spi(SpiRequest(A, B, direction=SaDirection.IN, if_id=3)),
            requests.expire_sa(SA.id, hard=False),
            requests.add_policy(POLICY),
            requests.add_policy(inbound),
            requests.update_policy(POLICY),
            requests.add_policy(of_main),
            requests.get_policy(POLICY.id),
            requests.dump_policies(),
            requests.expire_policy(POLICY.id, hard=False),
            requests.acquire(Acquire(SaId(B, 0), A, Selector.of("10.1.0.1", "10.2.0.1"), of_main, 1)),
            requests.get_sad_info(),
            requests.get_spd_info(),
            requests.get_default(),
            requests.set_default(kernel.get_default()),
            requests.migrate(Migration(POLICY.selector, Direction.OUT, (MigrationStep(A, B, B, A, reqid=7),), if_id=3)),
            requests.delete_policy(POLICY.id),
            requests.flush_policies(PolicyType.SUB),
            requests.dump_sas(),
            requests.flush_sas(),
        ]
    )
    return [reply for outcome in done for reply in outcome.replies]


def test_no_message_of_a_kernel_has_an_attribute_beside_the_table(kernel: XfrmSocket, frames: list[Frame]) -> None:
    seen: list[Event] = []
    with XfrmMonitor(xfrm_monitor.ALL_GROUPS) as monitor:
        answers = do_everything(kernel)
        kernel.add_sa(dataclasses.replace(SA, lifetime=Lifetime()))
        kernel.delete_sa(SA.id)
        while (event := monitor.next_event(timeout_s=0.5)) is not None:
            seen.append(event)
    assert [event for event in seen if isinstance(event, Unknown)] == []
    beside: dict[str, set[int]] = {}
    for frame in (*answers, *frames):
        attributes: AttributeSet = Message.parse(frame).attributes
        strange = {raw.number for raw in attributes.without(numbers_of(MESSAGES[frame.type].attributes))}
        if strange:
            beside.setdefault(MessageType(frame.type).name, set()).update(strange)
    assert beside == {}
    kinds = {MessageType(frame.type).name.removeprefix("XFRM_MSG_") for frame in (*answers, *frames)}
    assert kinds >= {"NEWSA", "UPDSA", "DELSA", "NEWPOLICY", "UPDPOLICY", "DELPOLICY", "ACQUIRE", "EXPIRE", "POLEXPIRE"}
    assert kinds >= {"FLUSHSA", "FLUSHPOLICY", "NEWAE", "NEWSADINFO", "NEWSPDINFO", "GETDEFAULT"}
