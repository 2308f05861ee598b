"""The counters of /proc/net/xfrm_stat."""

import re
from pathlib import Path

import pytest

from xfrm import DecodeError, proc

TEXT = "XfrmInError             \t0\nXfrmInNoStates          \t12\nXfrmSomethingNew        \t7\n"


def test_counters_come_by_name_in_the_files_order_also_those_of_a_later_kernel() -> None:
    assert list(proc.parse_counters(TEXT).items()) == [
        ("XfrmInError", 0),
        ("XfrmInNoStates", 12),
        ("XfrmSomethingNew", 7),
    ]


@pytest.mark.parametrize("line", ["XfrmInError", "XfrmInError\tmany", "\t3", "XfrmInError\t-1", "XfrmInError\t1 2"])
def test_a_line_that_is_no_counter_is_refused_with_its_place(line: str) -> None:
    with pytest.raises(DecodeError) as refused:
        proc.parse_counters(TEXT + line + "\n")
    assert refused.value.offset == len(TEXT)


def test_every_counter_is_explained_with_a_next_step() -> None:
    assert len(proc.COUNTERS) == 32
    for name, explanation in proc.COUNTERS.items():
        assert re.match(r"received|to be sent|to be forwarded", explanation.meaning), name
        assert len(explanation.next_step) > 20, name


def test_a_kernel_without_counters_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proc, "_FILE", tmp_path / "xfrm_stat")
    with pytest.raises(FileNotFoundError, match="CONFIG_XFRM_STATISTICS"):
        proc.read_counters()
    (tmp_path / "xfrm_stat").write_text(TEXT)
    assert proc.read_counters()["XfrmInNoStates"] == 12


def test_a_missing_namespace_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no such network namespace") as refused:
        proc.read_counters("there-is-none")
    assert refused.value.filename == "there-is-none"
