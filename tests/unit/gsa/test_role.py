import pytest

from agent.gsa.role import Role


@pytest.mark.parametrize(
    ("name", "sends", "receives"), [("sender", True, False), ("receiver", False, True), ("both", True, True)]
)
def test_roles(name: str, sends: bool, receives: bool) -> None:
    assert (Role(name).sends, Role(name).receives) == (sends, receives)
