"""The counters of `ip -s` and ours agree after traffic: packets taken, replayed, too old, and of a wrong key."""

from __future__ import annotations

import dataclasses
import subprocess

import pytest

from tests.kernel.datapath.lan import PORT, Host, lan, receive_all
from tests.kernel.iproute2 import text
from xfrm import (
    Address,
    Algorithm,
    AuthAlgorithm,
    Direction,
    Key,
    Policy,
    ReplayWindow,
    SecurityAssociation,
    Selector,
    SequenceState,
    Statistics,
    Template,
    Usage,
    XfrmSocket,
)

pytestmark = pytest.mark.needs_esp

GROUP = "239.1.1.1"
SA = SecurityAssociation(
    Address.of("10.9.0.1"),
    Address.of(GROUP),
    spi=0x1234,
    reqid=7,
    encryption=Algorithm("cbc(aes)", Key(bytes(range(16)))),
    integrity=AuthAlgorithm("hmac(sha256)", Key(bytes(range(32))), 128),
)
POLICY = Policy(
    Selector.of("10.9.0.1", GROUP, 17, destination_port=PORT),
    Direction.OUT,
    templates=(Template(Address.of("10.9.0.1"), Address.of(GROUP), reqid=7),),
)
PACKETS, WINDOW, FORGED = 40, 32, 5


def printed(ip: str, host: Host, what: str) -> str:
    return subprocess.run(
        [ip, "-n", host.namespace, "-s", "xfrm", what, "list"], check=True, capture_output=True, text=True
    ).stdout


def bare(usage: Usage | None) -> Usage:
    """What `ip` prints in numbers: it writes times for people."""
    assert usage is not None
    return dataclasses.replace(usage, added_utc_s=0, first_used_utc_s=0)


def test_counters_agree(ip: str) -> None:
    wrong_key = AuthAlgorithm("hmac(sha256)", Key(bytes(32)), 128)
    with (
        lan() as (tx, rx),
        XfrmSocket(netns=tx.namespace, timeout_s=60) as sender,
        XfrmSocket(netns=rx.namespace, timeout_s=60) as receiver,
    ):
        listening = rx.receiver(GROUP)
        sending = tx.sender("10.9.0.1")
        receiver.add_sa(dataclasses.replace(SA, replay=ReplayWindow(WINDOW)))
        sender.add_policy(POLICY)
        # The same numbers a second time are replays, those below the window too old; then another key.
        for sa, count in (
            (SA, PACKETS),
            (SA, PACKETS),
            (dataclasses.replace(SA, integrity=wrong_key, sequence=SequenceState(outbound=1000)), FORGED),
        ):
            sender.add_sa(sa)
            for _ in range(count):
                sending.sendto(b"datagram", (GROUP, PORT))
            sent = sender.get_sa(sa.id).usage
            assert sent is not None
            assert sent.packets == count
            [shown] = text.states(printed(ip, tx, "state"), {})
            assert shown.usage == bare(sent)
            sender.delete_sa(sa.id)
        assert len(receive_all(listening)) == PACKETS
        [found] = receiver.dump_sas()
        [shown] = text.states(printed(ip, rx, "state"), {})
        [policy] = sender.dump_policies()
        [shown_policy] = text.policies(printed(ip, tx, "policy"), {})
    assert shown.statistics == found.statistics == Statistics(PACKETS - WINDOW, WINDOW, FORGED)
    assert shown.usage == bare(found.usage)
    assert bare(found.usage).packets == PACKETS
    assert shown.sequence == found.sequence
    assert (found.sequence.inbound, found.sequence.bitmap) == (PACKETS, (0xFFFFFFFF,))
    assert shown_policy.usage == bare(policy.usage)
