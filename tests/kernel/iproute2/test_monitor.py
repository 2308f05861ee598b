"""What our monitor says beside what `ip xfrm monitor` says of the same events."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence

import pytest

from xfrm import (
    Acquire,
    Address,
    AeadAlgorithm,
    AeventReport,
    Change,
    DefaultAction,
    DefaultChange,
    DefaultPolicy,
    Direction,
    Event,
    Expire,
    Key,
    Policy,
    PolicyChange,
    PolicyExpire,
    PolicyFlush,
    Request,
    SaChange,
    SaFlush,
    SecurityAssociation,
    Selector,
    SequenceState,
    Template,
    XfrmMonitor,
    XfrmSocket,
    requests,
)
from xfrm.aevent import Aevent
from xfrm.monitor import ALL_GROUPS

pytestmark = pytest.mark.needs_esp

HERE, THERE = Address.of("127.0.0.1"), Address.of("127.0.0.2")
SA = SecurityAssociation(
    HERE, THERE, 0x1234, reqid=7, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(20)), icv_bits=128)
)
POLICY = Policy(Selector.of("127.0.0.1", "127.0.0.2"), Direction.OUT, templates=(Template(HERE, THERE, reqid=7),))
MARK = SecurityAssociation(HERE, THERE, 0xFFFF, aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(bytes(20)), icv_bits=128))
"""The last that happens: it ends both listeners' part."""


def happenings() -> Sequence[Request]:
    wanted = Acquire(SA.id, HERE, POLICY.selector, POLICY, 1)
    return [
        requests.add_sa(SA),
        requests.update_sa(SA),
        requests.update_aevent(Aevent(SA.id, HERE, sequence=SequenceState(5, 4))),
        requests.add_policy(POLICY),
        requests.update_policy(POLICY),
        requests.acquire(wanted),
        requests.expire_sa(SA.id, hard=False),
        requests.expire_policy(POLICY.id, hard=False),
        requests.delete_policy(POLICY.id),
        requests.delete_sa(SA.id),
        requests.set_default(DefaultPolicy(forward=DefaultAction.ACCEPT)),
        requests.add_sa(SA),
        requests.add_policy(POLICY),
        requests.expire_policy(POLICY.id, hard=True),
        requests.expire_sa(SA.id, hard=True),
        requests.flush_policies(),
        requests.flush_sas(),
        requests.add_sa(MARK),
    ]


def words_of(event: Event) -> str:
    """An event as `ip xfrm monitor` begins it."""
    match event:
        case SaChange(change) | PolicyChange(change):
            return {Change.ADDED: "src", Change.UPDATED: "Updated", Change.DELETED: "Deleted"}[change]
        case Expire(hard=hard) | PolicyExpire(hard=hard):
            return f"Expired hard {int(hard)}"
        case SaFlush():
            return "Flushed state"
        case PolicyFlush():
            return "Flushed policy"
        case Acquire():
            return "acquire"
        case AeventReport():
            return "Async"
        case DefaultChange():
            return "Default policies"
    return repr(event)


def entries(text: str) -> Iterator[str]:
    """What `ip xfrm monitor` printed, event by event, each as `words_of` has it."""
    blocks: list[list[str]] = []
    for line in filter(str.strip, text.splitlines()):
        if line[:1].isspace() and blocks:
            blocks[-1].append(line)
        else:
            blocks.append([line])
    for first, *rest in blocks:
        word = first.split()[0]
        if word == "Expired":
            hard = next(line.split()[-1] for line in [first, *rest] if "hard" in line.split()[-2:-1])
            yield f"Expired hard {hard}"
        elif word in ("Flushed", "Default"):
            yield " ".join(first.split()[:2]).rstrip(":")
        else:
            yield word


def test_events_are_those_that_ip_monitors(ip: str) -> None:
    with XfrmSocket(timeout_s=60) as kernel, XfrmMonitor(ALL_GROUPS) as monitor:
        theirs = subprocess.Popen([ip, "xfrm", "monitor"], stdout=subprocess.PIPE, text=True)
        time.sleep(1)  # it says nothing when it has begun to listen
        for outcome in kernel.request_many(happenings()):
            assert outcome.ok, outcome.refusal
        ours: list[Event] = []
        while not (ours and isinstance(ours[-1], SaChange) and ours[-1].sa_id == MARK.id):
            event = monitor.next_event(timeout_s=30)
            assert event is not None, ours
            ours.append(event)
        time.sleep(1)
        theirs.terminate()
        text, _ = theirs.communicate(timeout=30)
    assert [words_of(event) for event in ours] == list(entries(text)), text
