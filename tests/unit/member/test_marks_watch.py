import asyncio

import pytest

from agent.member import marks_watch
from agent.member.marks_watch import watch_marks
from tests.unit.member.support import FakeDataPath


@pytest.mark.parametrize(("stands", "looks"), [([True, True], 0), ([True, False, True], 1), ([None, False], 2)])
def test_rules_that_are_gone_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, stands: list[bool | None], looks: int
) -> None:
    monkeypatch.setattr(marks_watch, "_EVERY_S", 0.001)
    datapath, looked = FakeDataPath(), []
    datapath.stands = stands

    async def watch() -> None:
        async with asyncio.timeout(0.1):
            await watch_marks(datapath, lambda: looked.append(1))

    with pytest.raises(TimeoutError):
        asyncio.run(watch())
    assert (len(looked), stands) == (looks, [])
