import re
from pathlib import Path

import pytest

from agent.config.clear import ClearTable
from agent.config.loader import ConfigErrors
from agent.config.member import OnStop
from agent.gsa.clear import NOTHING_CLEAR, Clear
from agent.member.setup import prepare
from tests.unit.member.support import configuration, group_table


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ({}, NOTHING_CLEAR),
        ({"accept": True}, Clear(accepts=True)),
        ({"accept": True, "send": "clear"}, Clear(accepts=True, sends=True)),
        ({"without_sa": "clear"}, Clear(without_sa=True)),
        ({"passive": True}, Clear(accepts=True, without_sa=True)),
        ({"accept": False, "send": "protected", "without_sa": "discard"}, NOTHING_CLEAR),
    ],
)
def test_it_opens_what_it_says(table: dict[str, object], wanted: Clear) -> None:
    assert ClearTable.model_validate(table).clear == wanted


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("passive = true, accept = true", "passive.*take accept out"),
        ('send = "clear", without_sa = "discard"', "without_sa.*goes with send"),
        ('send = "secret"', "send.*protected"),
        ("accept = 1", "accept"),
    ],
)
def test_what_contradicts_itself_is_a_fault_with_its_place(tmp_path: Path, words: str, fault: str) -> None:
    group = group_table(1234, "239.1.1.1", extra=f"clear = {{ {words} }}")
    with pytest.raises(ConfigErrors) as caught:
        prepare(configuration(tmp_path, groups=group))
    (told,) = caught.value.faults
    assert told.key.startswith("[groups[0]")
    assert re.search(fault, f"{told.key} {told}")


def test_an_open_group_is_warned_of_and_a_closed_one_is_not(tmp_path: Path) -> None:
    open_one = group_table(1234, "239.1.1.1", extra="clear.passive = true")
    setup = prepare(configuration(tmp_path, groups=open_one + group_table(1235, "239.1.1.2")))
    (warning,) = (text for text in setup.warnings if "not closed" in text)
    assert warning.startswith("[groups[0].clear]: group 1234 is not closed: clear is accepted")


def test_what_is_left_after_a_stop_is_as_each_group_says(tmp_path: Path) -> None:
    groups = "".join(
        group_table(1234 + number, f"239.1.1.{number}", extra=f'on_stop = "{left.value}"')
        for number, left in enumerate((OnStop.KEEP, OnStop.BLOCK))
    )
    path = configuration(tmp_path, groups=groups)
    setup = prepare(path)
    assert [str(policy.group) for policy in setup.gspd_after_stop().policies] == ["1234", "1235"]
    assert [str(group) for group in setup.kept_after_stop()] == ["1234"]
