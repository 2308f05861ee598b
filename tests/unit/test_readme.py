"""README.md: the configurations of its first group are ones that the daemons accept, and fit each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.gcks.setup import read as read_gckd
from agent.member.setup import prepare as prepare_gmd

TREE = Path(__file__).resolve().parents[2]
README = (TREE / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The README's files as a reader would write them."""
    gckd, gmd, rekeys = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "gckd.toml").write_text(gckd)
    (tmp_path / "rekeys.toml").write_text(gckd + rekeys)
    (tmp_path / "receiver.toml").write_text(gmd)
    sender = gmd.replace("receiver1", "sender").replace('role = "receiver"', 'role = "sender"')
    (tmp_path / "sender.toml").write_text(sender)
    for name in ("sender", "receiver1"):
        key = tmp_path / f"{name}.psk"
        key.touch(mode=0o600)
        key.write_text(f"{name}: 0123456789abcdef")
    return tmp_path


def test_the_first_group_fits_on_both_sides(folder: Path) -> None:
    gckd = read_gckd(folder / "gckd.toml").config
    members = {member.name: member.identity for member in gckd.members}
    for name, file in (("sender", "sender.toml"), ("receiver1", "receiver.toml")):
        gmd = prepare_gmd(folder / file).config
        assert gmd.identity == members[name]
        assert gmd.key_servers[0].identity.pad_id.matches(gckd.identity.identity)
        assert [group.id for group in gmd.groups] == [group.id for group in gckd.groups]
        offered = [tek.flow for group in gckd.groups for tek in group.teks]
        assert [flow for group in gmd.groups for flow in group.traffic] == offered


def test_the_rekey_sa_fits_into_the_first_group(folder: Path) -> None:
    setup = read_gckd(folder / "rekeys.toml")
    (group,) = setup.groups.values()
    assert group.kek is not None
    assert group.kek.hierarchy is not None
    assert setup.warnings == ()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_what_the_readme_links_to_is_there(target: str) -> None:
    assert (TREE / target).exists()


@pytest.mark.parametrize("daemon", ["gmd", "gckd"])
def test_commands_are_linked_to_where_the_units_start_them(daemon: str) -> None:
    unit = (TREE / "systemd" / f"{daemon}.service").read_text(encoding="utf-8")
    started = re.search(
        r"^ExecStart=(\S+/)" + daemon + " --config /etc/mcastsec/" + daemon + r"\.toml$", unit, re.MULTILINE
    )
    assert started
    assert f"{{gmd,gmctl,gckd,gckctl}} {started[1]}\n" in README
    assert f'"{started[1]}$command"' in (TREE / "vagrant" / "provision.sh").read_text(encoding="utf-8")
