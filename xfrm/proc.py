"""/proc/net/xfrm_stat: how many packets XFRM dropped and why, with what each counter means and what to do.

The counters are those of net/xfrm/xfrm_proc.c; they count since the network namespace was made and are never reset.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from xfrm.errors import DecodeError
from xfrm.namespace import in_namespace
from xfrm.record import record

__all__ = ["COUNTERS", "Explanation", "parse_counters", "read_counters"]

# Of the thread, which may be in another namespace than its process.
_FILE: Final = Path("/proc/thread-self/net/xfrm_stat")


@record
class Explanation:
    """What one counter means: `meaning`, what happened to each packet that it counts; `next_step`: what to look at."""

    meaning: str
    next_step: str


COUNTERS: Final[Mapping[str, Explanation]] = {
    "XfrmInError": Explanation(
        "received, but there was no memory to note which SA decrypted it, or another error without a counter",
        "look at the system's memory and its kernel log",
    ),
    "XfrmInBufferError": Explanation(
        "received inside more transforms than the kernel follows (6)",
        "look for a tunnel that is routed into itself",
    ),
    "XfrmInHdrError": Explanation(
        "received with a header that is cut short or cannot be read",
        "capture the traffic and look at the packets that are not whole",
    ),
    "XfrmInNoStates": Explanation(
        "received for destination, SPI, protocol and mark of no SA",
        "compare the packet's destination and SPI with `state`; a sender may use an SA that is not here yet, or not"
        " any more",
    ),
    "XfrmInStateProtoError": Explanation(
        "received, but its integrity check failed: another key, or a packet that was changed",
        "compare the keys of both ends; with extended sequence numbers also the high half that this receiver starts at;"
        " a host's own multicast fails so while the module esp4_offload is loaded",
    ),
    "XfrmInStateModeError": Explanation(
        "received, but what is inside does not fit the SA's mode",
        "compare the modes and the inner address families of both ends",
    ),
    "XfrmInStateSeqError": Explanation(
        "received before, or older than the replay window",
        "several senders on one SA need a window of 0; reordering needs a larger window; otherwise somebody replays",
    ),
    "XfrmInStateExpired": Explanation(
        "received for an SA that has reached its hard limit",
        "look at the SA's lifetime in `state`: it is replaced too late",
    ),
    "XfrmInStateMismatch": Explanation(
        "received and authentic, but not what the SA's selector or its UDP encapsulation says",
        "compare the SA's selector with the inner addresses and ports; for a group: another source than the SA's",
    ),
    "XfrmInStateInvalid": Explanation(
        "received for an SA that is not valid: it is being deleted, or failed",
        "look with `monitor` for SAs that are replaced",
    ),
    "XfrmInTmplMismatch": Explanation(
        "received in clear or by another SA than the policy's template asks for",
        "compare the template in `policy` with the SA's reqid, mode, protocol and addresses; traffic that may be clear"
        " needs a policy that allows it",
    ),
    "XfrmInNoPols": Explanation(
        "received by an SA, and no policy allows what was inside",
        "add an `in` policy (`fwd` for what is forwarded) with a template for it",
    ),
    "XfrmInPolBlock": Explanation(
        "received, and discarded by a policy whose action is block",
        "look at the priorities in `policy`, if it should have been let in",
    ),
    "XfrmInPolError": Explanation(
        "received, and the look-up of its policy failed",
        "look at the kernel's log and at security contexts",
    ),
    "XfrmOutError": Explanation(
        "to be sent, and failed for a reason without a counter",
        "look at the system's memory and its kernel log",
    ),
    "XfrmOutBundleGenError": Explanation(
        "to be sent, and there is no way to the outer destination, or the outer source is none of this host",
        "try `ip route get` to the SA's destination from its source",
    ),
    "XfrmOutBundleCheckError": Explanation(
        "to be sent on a way that had changed meanwhile",
        "expected in small numbers when routes or SAs change",
    ),
    "XfrmOutNoStates": Explanation(
        "to be sent, and no SA fits the policy's template",
        "look with `monitor` for ACQUIRE; compare the template's reqid, SPI, mode and addresses with `state`",
    ),
    "XfrmOutStateProtoError": Explanation(
        "to be sent, and the transform failed",
        "look at the kernel's log for the algorithm's driver",
    ),
    "XfrmOutStateModeError": Explanation(
        "to be sent, and the mode could not be applied: no room for the outer header, or too big a packet",
        "look at the MTU of the way out",
    ),
    "XfrmOutStateSeqError": Explanation(
        "to be sent, and the SA's sequence numbers are used up",
        "replace the SA, or use extended sequence numbers",
    ),
    "XfrmOutStateExpired": Explanation(
        "to be sent by an SA that has reached its hard limit",
        "look at the SA's lifetime in `state`: it is replaced too late",
    ),
    "XfrmOutPolBlock": Explanation(
        "to be sent, and discarded by a policy whose action is block",
        "look at the priorities in `policy`, if it should have been let out",
    ),
    "XfrmOutPolDead": Explanation(
        "to be sent under a policy that was deleted meanwhile",
        "expected in small numbers when policies change",
    ),
    "XfrmOutPolError": Explanation(
        "to be sent, and the look-up of policy and SA failed",
        "look for an SA with the template's SPI but another reqid, mode or source, or of the other direction",
    ),
    "XfrmFwdHdrError": Explanation(
        "to be forwarded, and its header cannot be read",
        "capture the traffic and look at the packets that are not whole",
    ),
    "XfrmOutStateInvalid": Explanation(
        "to be sent by an SA that is not valid: it is being deleted, or was not completed",
        "look with `monitor` for SAs that are replaced",
    ),
    "XfrmAcquireError": Explanation(
        "received for an SA whose SPI is allocated but that is not complete",
        "the key exchange has not finished, or its peer sends too early",
    ),
    "XfrmOutStateDirError": Explanation(
        "to be sent by an SA that is for receiving",
        "compare the direction in `state`: an SA for both ways has none",
    ),
    "XfrmInStateDirError": Explanation(
        "received for an SA that is for sending",
        "compare the direction in `state`: an SA for both ways has none",
    ),
    "XfrmInIptfsError": Explanation(
        "received as aggregation and fragmentation payload (RFC 9347) that is not well formed, or too late",
        "compare the IP-TFS parameters of both ends, and look for loss on the way",
    ),
    "XfrmOutNoQueueSpace": Explanation(
        "to be sent by an IP-TFS SA whose output queue is full",
        "raise the SA's queue limit, or send less",
    ),
}
"""The counters of Linux up to 7.x, in the kernel's order."""


def parse_counters(text: str) -> dict[str, int]:
    """The counters of a file's text, in its order. Raises DecodeError for a line that is no name and number."""
    counters: dict[str, int] = {}
    offset = 0
    for line in text.splitlines(keepends=True):
        name, _, value = line.strip().partition("\t")
        if not name or not value.isascii() or not value.strip().isdigit():
            raise DecodeError(f"{line.strip()[:60]!r} is no counter of xfrm_stat", offset=offset)
        counters[name.strip()] = int(value)
        offset += len(line)
    return counters


def read_counters(netns: str | None = None) -> dict[str, int]:
    """The counters of this network namespace, or of the one `ip netns` calls `netns`.

    Raises FileNotFoundError where the kernel counts nothing (CONFIG_XFRM_STATISTICS) or there is no such namespace,
    PermissionError where it cannot be entered, DecodeError.
    """
    return parse_counters(in_namespace(netns, _read))


def _read() -> str:
    try:
        return _FILE.read_text(encoding="ascii")
    except FileNotFoundError:
        raise FileNotFoundError(
            errno.ENOENT, "this kernel does not count (CONFIG_XFRM_STATISTICS is not set)", str(_FILE)
        ) from None
