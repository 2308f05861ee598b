"""`probe`, as it is shown."""

import json
from typing import Any

import pytest

from tests.unit.xfrm.test_capabilities import FOUND
from xfrm import KernelCapabilities
from xfrm.tool import probe
from xfrm.tool.main import run


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def find(**how: Any) -> KernelCapabilities:
        seen.update(how)
        return FOUND

    monkeypatch.setattr(probe, "find", find)
    return seen


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["probe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for text in (
        "Kernel 7.2.7",
        "Transforms: esp IPv4 and IPv6, ah IPv6, comp no",
        "Modes of ESP: transport IPv4, tunnel no, beet no, iptfs no",
        "Replay window: up to 4096 packets",
        "    rfc4106(gcm(aes)): keys of 128, 256 bits, ICVs of 64, 128 bits (rfc4106-gcm-aesni)",
        "    lzs: no (Requested COMP algorithm not found)",
        "    esn: yes",
        "    migrate: no",
        "    xfrm-interface: unknown, not tried",
        "Devices that offload ESP: eth0",
    ):
        assert text in lines


def test_json_is_the_librarys(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["probe", "--json"]) == 0
    assert KernelCapabilities.from_json(json.loads(capsys.readouterr().out)["result"]) == FOUND


def test_the_sad_is_not_touched_unless_asked(asked: dict[str, Any]) -> None:
    assert run(["probe"]) == 0
    assert asked == {"in_place": False, "netns": None}
    assert run(["probe", "--in-place", "--netns", "lab"]) == 0
    assert asked == {"in_place": True, "netns": "lab"}
