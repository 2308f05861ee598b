import pytest

from xfrm.constants import XFRM_INF
from xfrm.control_structs import XfrmUserOffload
from xfrm.errors import EncodeError
from xfrm.structs import XfrmLifetimeCfg, XfrmLifetimeCur, XfrmMark
from xfrm.values import NO_LIFETIME, Lifetime, Mark, Offload, Usage


def test_no_limit_is_inf_for_counts_and_0_for_seconds() -> None:
    assert Lifetime().to_uapi() == XfrmLifetimeCfg(XFRM_INF, XFRM_INF, XFRM_INF, XFRM_INF, 0, 0, 0, 0)
    assert Lifetime(hard_add_s=60, soft_bytes=5).to_uapi() == XfrmLifetimeCfg(
        5, XFRM_INF, XFRM_INF, XFRM_INF, 0, 60, 0, 0
    )


def test_no_limit_is_read_in_either_form() -> None:
    assert Lifetime.from_uapi(XfrmLifetimeCfg()) is NO_LIFETIME
    assert Lifetime.from_uapi(XfrmLifetimeCfg(0, 0, 0, 0, XFRM_INF, XFRM_INF, XFRM_INF, 9)) == Lifetime(hard_use_s=9)


@pytest.mark.parametrize("limit", [0, -1, XFRM_INF])
def test_a_limit_the_kernel_would_misread_is_refused(limit: int) -> None:
    with pytest.raises(EncodeError, match="hard_packets is at least 1"):
        Lifetime(hard_packets=limit)


def test_marks() -> None:
    assert Mark(0x101, 0xFFFF).to_uapi() == XfrmMark(0x101, 0xFFFF)
    assert Mark.from_uapi(XfrmMark(0x101, 0xFFFF)) == Mark(0x101, 0xFFFF)
    assert Mark.from_uapi(XfrmMark(0, 0xFFFF)) == Mark(0, 0xFFFF)
    assert Mark.from_uapi(XfrmMark(0, 0)) is None
    assert Mark.from_uapi(None) is None
    assert str(Mark(1)) == "0x1/0xffffffff"


def test_usage() -> None:
    assert Usage.from_uapi(XfrmLifetimeCur(1, 2, 3, 4)) == Usage(1, 2, 3, 4)
    assert Usage(1, 2, 3, 4).to_uapi() == XfrmLifetimeCur(1, 2, 3, 4)


def test_offload_has_an_interface_and_flags() -> None:
    assert Offload(3, 2).to_uapi() == XfrmUserOffload(3, 2)
    assert Offload.from_uapi(XfrmUserOffload(3, 2)) == Offload(3, 2)
    assert Offload.from_uapi(None) is None
