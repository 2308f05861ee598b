"""What of the coverage table is written by hand: the release of Linux that brought a number, and what iproute2 does.

Read from the history of include/uapi/linux/xfrm.h and from iproute2's ip/ipxfrm.c, xfrm_state.c, xfrm_policy.c and
xfrm_monitor.c.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ATTRIBUTE_FACTS", "FILLING", "GROUP_FACTS", "IPROUTE2", "MESSAGE_FACTS"]

IPROUTE2: Final = "7.1.0"
"""The version read."""

MESSAGE_FACTS: Final[dict[str, tuple[str, str]]] = {
    "NEWSA": ("2.6", "state add; monitor"),
    "DELSA": ("2.6", "state delete, deleteall; monitor"),
    "GETSA": ("2.6", "state get, list"),
    "NEWPOLICY": ("2.6", "policy add; monitor"),
    "DELPOLICY": ("2.6", "policy delete, deleteall; monitor"),
    "GETPOLICY": ("2.6", "policy get, list"),
    "ALLOCSPI": ("2.6", "state allocspi"),
    "ACQUIRE": ("2.6", "monitor"),
    "EXPIRE": ("2.6", "monitor"),
    "UPDPOLICY": ("2.6", "policy update; monitor"),
    "UPDSA": ("2.6", "state update; monitor"),
    "POLEXPIRE": ("2.6", "monitor"),
    "FLUSHSA": ("2.6", "state flush; monitor"),
    "FLUSHPOLICY": ("2.6", "policy flush; monitor"),
    "NEWAE": ("2.6.17", "monitor: the SA's name and the flags"),
    "GETAE": ("2.6.17", ""),
    "REPORT": ("2.6.19", "monitor"),
    "MIGRATE": ("2.6.21", ""),
    "NEWSADINFO": ("2.6.22", "state count"),
    "GETSADINFO": ("2.6.22", "state count"),
    "NEWSPDINFO": ("2.6.22", "policy count, set"),
    "GETSPDINFO": ("2.6.22", "policy count"),
    "MAPPING": ("2.6.29", "monitor"),
    "SETDEFAULT": ("5.15", "policy setdefault"),
    "GETDEFAULT": ("5.15", "policy getdefault; monitor"),
    "MIGRATE_STATE": ("7.2", ""),
}
"""XFRM_MSG_*: release of Linux that brought it (2.6: 2.6.12 or before); commands of `ip xfrm`, empty for none."""
ATTRIBUTE_FACTS: Final[dict[str, tuple[str, str]]] = {
    "ALG_AUTH": ("2.6", "set, shown"),
    "ALG_CRYPT": ("2.6", "set, shown"),
    "ALG_COMP": ("2.6", "set, shown"),
    "ENCAP": ("2.6", "set, shown"),
    "TMPL": ("2.6", "set, shown; share and algorithm masks shown only"),
    "SA": ("2.6.13", "shown, in monitor"),
    "POLICY": ("2.6.13", "shown, in monitor"),
    "SEC_CTX": ("2.6.16", "set, shown"),
    "LTIME_VAL": ("2.6.17", ""),
    "REPLAY_VAL": ("2.6.17", "set without the bitmap, shown"),
    "REPLAY_THRESH": ("2.6.17", ""),
    "ETIMER_THRESH": ("2.6.17", ""),
    "SRCADDR": ("2.6.19", "set, in state get and delete"),
    "COADDR": ("2.6.19", "set, shown"),
    "LASTUSED": ("2.6.19", "shown"),
    "POLICY_TYPE": ("2.6.19", "set, shown"),
    "MIGRATE": ("2.6.21", ""),
    "ALG_AEAD": ("2.6.25", "set, shown"),
    "KMADDRESS": ("2.6.28", ""),
    "ALG_AUTH_TRUNC": ("2.6.33", "set, shown"),
    "MARK": ("2.6.34", "set, shown"),
    "TFCPAD": ("2.6.38", "set, shown"),
    "REPLAY_ESN_VAL": ("2.6.39", "set without the bitmap, shown"),
    "SA_EXTRA_FLAGS": ("3.10", "set, shown"),
    "PROTO": ("3.15", "filter of state list"),
    "ADDRESS_FILTER": ("3.15", "filter of state list"),
    "OFFLOAD_DEV": ("4.12", "set, shown"),
    "SET_MARK": ("4.14", "set, shown"),
    "SET_MARK_MASK": ("4.19", "set, shown"),
    "IF_ID": ("4.19", "set, shown"),
    "MTIMER_THRESH": ("5.17", ""),
    "SA_DIR": ("6.10", "set, shown"),
    "NAT_KEEPALIVE_INTERVAL": ("6.11", ""),
    "SA_PCPU": ("6.13", "set, shown"),
    "IPTFS_DROP_TIME": ("6.14", ""),
    "IPTFS_REORDER_WINDOW": ("6.14", ""),
    "IPTFS_DONT_FRAG": ("6.14", ""),
    "IPTFS_INIT_DELAY": ("6.14", ""),
    "IPTFS_MAX_QSIZE": ("6.14", ""),
    "IPTFS_PKT_SIZE": ("6.14", ""),
    "SAD_CNT": ("2.6.22", "shown"),
    "SAD_HINFO": ("2.6.22", "shown"),
    "SPD_INFO": ("2.6.22", "shown"),
    "SPD_HINFO": ("2.6.22", "shown"),
    "SPD_IPV4_HTHRESH": ("3.18", "set, shown"),
    "SPD_IPV6_HTHRESH": ("3.18", "set, shown"),
}
"""XFRMA_*: the release that brought it; what `ip xfrm` does with it, empty for nothing."""
GROUP_FACTS: Final[dict[str, tuple[str, str]]] = {
    "ACQUIRE": ("2.6", "monitor acquire"),
    "EXPIRE": ("2.6", "monitor expire"),
    "SA": ("2.6.13", "monitor SA"),
    "POLICY": ("2.6.13", "monitor policy"),
    "AEVENTS": ("2.6.17", "monitor aevent"),
    "REPORT": ("2.6.19", "monitor report"),
    "MIGRATE": ("2.6.21", "monitor joins it, and calls its messages unknown"),
    "MAPPING": ("2.6.29", "monitor, only with all others"),
}
"""XFRMNLGRP_*: the release that brought it; what of `ip xfrm monitor` joins it."""
FILLING: Final = ("UNSPEC", "PAD", "SAD_UNSPEC", "SPD_UNSPEC")
"""Numbers that carry nothing."""
