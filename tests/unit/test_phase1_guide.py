"""docs/phase1.md: certificates made by its commands are taken by what its configurations set up, until revoked."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.errors import NotAuthenticated
from agent.gcks.membership import authorize
from agent.gcks.setup import Setup as KeyServer
from agent.gcks.setup import read as read_gckd
from agent.gdoi.isakmp.credentials import StaticCredentials
from agent.gsa.identity import Identity, IdentityKind
from agent.gsa.role import Role
from agent.member.setup import prepare as prepare_gmd

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "phase1.md").read_text(encoding="utf-8")
ISSUE, REVOKE = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
GMD, GCKD = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)

IDENTITY = '[identity]\ntype = "fqdn"\nvalue = "{}.example"\n'
MEMBERS = '[[members]]\nname = "sender"\nidentity = { type = "fqdn", value = "sender.example" }\n'
FLOW = '{ destination = "239.1.1.1", source = "192.0.2.1", protocol = "udp", port = 5000 }'
TEKS = f'[[groups.teks]]\nflow = {FLOW}\ntransform = "aes-gcm-16-128"\n'
GROUP = f'[[groups]]\nid = 1234\nname = "video"\nkey_servers = ["ks1"]\nrole = "receiver"\ntraffic = [{FLOW}]\n'

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def run(commands: str, folder: Path) -> None:
    subprocess.run(["bash", "-euc", commands], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a reader has who ran the commands and completed the configurations."""
    run(ISSUE, tmp_path)
    (tmp_path / "gmd.toml").write_text(IDENTITY.format("receiver1") + GMD + GROUP)
    (tmp_path / "gckd.toml").write_text(IDENTITY.format("ks1") + MEMBERS + GCKD + TEKS)
    return tmp_path


def both(folder: Path) -> tuple[StaticCredentials, KeyServer]:
    return prepare_gmd(folder / "gmd.toml").servers["ks1"].credentials, read_gckd(folder / "gckd.toml")


def chain_of(credentials: StaticCredentials) -> tuple[bytes, ...]:
    own = credentials.certificate()
    assert own is not None
    return own.chain


def test_each_side_takes_the_certificate_of_the_other_for_its_identity(folder: Path) -> None:
    member, key_server = both(folder)
    now = datetime.now(UTC)
    assert key_server.credentials.trust().verify(chain_of(member), now).dns_names == {"receiver1.example"}
    assert member.trust().verify(chain_of(key_server.credentials), now).dns_names == {"ks1.example"}
    assert prepare_gmd(folder / "gmd.toml").warnings == key_server.warnings == ()


def test_the_rule_of_the_guide_lets_the_member_in(folder: Path) -> None:
    member, key_server = both(folder)
    (group,) = key_server.groups
    who = Identity.parse(IdentityKind.FQDN, "receiver1.example")
    assert authorize(key_server.groups, group, who, chain_of(member)[0]) is Role.RECEIVER


def test_what_it_revokes_is_refused(folder: Path) -> None:
    run(REVOKE, folder)
    member, key_server = both(folder)
    with pytest.raises(NotAuthenticated, match="revoked"):
        key_server.credentials.trust().verify(chain_of(member), datetime.now(UTC))
