"""pyroute2's own socket speaks XFRM with the kernel once it is given the policy of `xfrm.nl`."""

from __future__ import annotations

import pytest
from pyroute2.netlink.nlsocket import NetlinkSocket

from xfrm import Direction, Policy, Selector, XfrmSocket
from xfrm.constants import NETLINK_XFRM, MessageType, NetlinkFlag
from xfrm.nl import POLICY, register

pytestmark = pytest.mark.needs_xfrm

REQUEST, DUMP, ACK = (int(flag) for flag in (NetlinkFlag.NLM_F_REQUEST, NetlinkFlag.NLM_F_DUMP, NetlinkFlag.NLM_F_ACK))
OURS = Policy(Selector.of("10.1.0.0/16", "239.1.1.1"), Direction.OUT, priority=7)


def test_it_writes_and_reads_what_we_do() -> None:
    with XfrmSocket() as kernel, NetlinkSocket(family=NETLINK_XFRM) as theirs:
        register(theirs)
        theirs.bind()
        message = POLICY[MessageType.XFRM_MSG_NEWPOLICY]()
        record = OURS.to_uapi()
        message.update(
            sel_daddr=record.sel.daddr,
            sel_saddr=record.sel.saddr,
            sel_prefixlen_d=32,
            sel_prefixlen_s=16,
            sel_family=2,
            **{f"lft_{name}": limit for name, limit in record.lft._asdict().items()},
            priority=7,
            dir=1,
        )
        list(theirs.nlm_request(message, msg_type=int(MessageType.XFRM_MSG_NEWPOLICY), msg_flags=REQUEST | ACK))
        assert [policy.configuration() for policy in kernel.dump_policies()] == [OURS]
        question = POLICY[MessageType.XFRM_MSG_GETPOLICY]()
        (found,) = theirs.nlm_request(question, msg_type=int(MessageType.XFRM_MSG_GETPOLICY), msg_flags=REQUEST | DUMP)
        assert (found["sel_daddr"][:4], found["priority"], found["dir"]) == (bytes([239, 1, 1, 1]), 7, 1)
