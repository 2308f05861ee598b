import asyncio
import os
from pathlib import Path

import pytest

from agent.errors import LocalError
from agent.gsa.databases import Action
from agent.member.blocking import block
from agent.member.setup import prepare
from tests.unit.member.support import GROUP, FakeDataPath, configuration, data_sa, group_sa, group_table
from tests.unit.service.support import FakeClock


def run(path: Path, datapath: FakeDataPath) -> int:
    return asyncio.run(block(prepare(path), datapath, FakeClock()))


@pytest.mark.requirement("OWN-01")
def test_the_blocks_go_in_and_a_second_time_nothing(tmp_path: Path) -> None:
    path, datapath = configuration(tmp_path), FakeDataPath()
    assert run(path, datapath) == len(datapath.spd) > 0
    assert {entry.action for entry in datapath.spd.values()} == {Action.DISCARD, Action.BYPASS}
    assert run(path, datapath) == 0


def test_packets_do_not_ask_for_an_sa_that_nobody_would_hear(tmp_path: Path) -> None:
    group = group_table(1234, "239.1.1.1", extra='register = "first-packet"')
    datapath = FakeDataPath()
    run(configuration(tmp_path, groups=group), datapath)
    assert {entry.action for entry in datapath.spd.values()} == {Action.DISCARD, Action.BYPASS}


def test_what_a_running_gmd_protects_stays_as_it_is(tmp_path: Path) -> None:
    path, datapath = configuration(tmp_path), FakeDataPath()
    desired = prepare(path).gspd().desired({GROUP: group_sa(data_sa(256))}, 0.0).databases
    datapath.sad, datapath.spd = dict(desired.sad_by_key()), dict(desired.spd_by_key())
    assert run(path, datapath) == 0
    assert datapath.applied == []


def test_a_block_that_is_refused_is_told_with_the_next_step(tmp_path: Path) -> None:
    datapath = FakeDataPath()
    datapath.refuses = ("discard",)
    with pytest.raises(LocalError, match=r"cannot be blocked .*File exists.*: remove what stands in its way") as caught:
        run(configuration(tmp_path), datapath)
    assert caught.value.exit_status == os.EX_OSERR
