"""`state` and `policy`."""

import errno
import json
import os
from typing import Any

import pytest

from tests.unit.xfrm.tool.entries import ECHO_POLICY, GROUP_SA, OUT_POLICY, SOCKET_POLICY, UNICAST_SA, has_key
from tests.unit.xfrm.tool.kernel import Kernel
from xfrm import KernelRefused, SaId, SecurityAssociation, requests
from xfrm.tool import databases
from xfrm.tool.main import run

KERNEL = Kernel([GROUP_SA, UNICAST_SA], [OUT_POLICY, SOCKET_POLICY, ECHO_POLICY])


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(databases, "XfrmSocket", KERNEL)
    return KERNEL


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["version"] == 1
    return answer["result"]


def test_all_sas_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["state"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("src 10.9.0.1 dst 239.1.1.1\n    proto esp spi 0x00001234 reqid 7 mode tunnel dir out\n")
    assert "\nsrc 2001:db8::1 dst 2001:db8::2\n" in out
    assert not has_key(out)
    assert "\x1b" not in out


def test_keys_where_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["state", "--show-keys"]) == 0
    assert has_key(capsys.readouterr().out)
    assert has_key(json.dumps(shown(capsys, "state", "--show-keys")))
    assert not has_key(json.dumps(shown(capsys, "state")))


def test_filters_leave_out_the_others(capsys: pytest.CaptureFixture[str], kernel: Kernel) -> None:
    assert [sa["spi"] for sa in shown(capsys, "state", "--dst", "239.0.0.0/8")] == ["0x00001234"]
    assert shown(capsys, "state", "--proto", "ah") == []
    assert kernel.dumped_protocol == 51
    assert [policy["index"] for policy in shown(capsys, "policy", "--dir", "out")] == [17]


def test_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "state", "--count") == {"count": 2}
    assert run(["policy", "--count", "--if-id", "9"]) == 0
    assert capsys.readouterr().out == "1\n"


def test_policies_in_the_order_in_which_they_are_looked_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert [policy["direction"] for policy in shown(capsys, "policy")] == ["in", "out"]
    assert [policy["direction"] for policy in shown(capsys, "policy", "--sockets")] == ["in", "out", 3]
    assert run(["policy"]) == 0
    assert capsys.readouterr().out.startswith("src ::/0 dst 2001:db8::/32 proto ipv6-icmp type 128 code 0\n    dir in")


class TestGet:
    def test_one_sa_by_its_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        one = ("state", "--get", "--dst", "239.1.1.1", "--spi", "0x1234", "--mark", "5/0xff")
        assert [sa["reqid"] for sa in shown(capsys, *one)] == [7]

    def test_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["state", "--get", "--dst", "239.1.1.1", "--spi", "0x1234"]) == 1
        assert "no SA with dst 239.1.1.1 esp spi 0x00001234; its mark" in capsys.readouterr().err

    def test_other_filters_hold_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        one = ["state", "--get", "--dst", "239.1.1.1", "--spi", "0x1234", "--mark", "5/0xff"]
        assert run([*one, "--reqid", "7"]) == 0
        assert run([*one, "--reqid", "8"]) == 1
        assert "not what the other filters ask for" in capsys.readouterr().err

    def test_the_kernel_may_find_an_sa_of_another_mark(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(KERNEL, "get_sa", lambda sa_id: GROUP_SA)
        assert len(shown(capsys, "state", "--get", "--dst", "239.1.1.1", "--spi", "0x1234", "--mark", "0x105")) == 1

    def test_another_refusal_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(sa_id: SaId) -> SecurityAssociation:
            raise KernelRefused(errno.EPERM, "", requests.get_sa(sa_id))

        monkeypatch.setattr(KERNEL, "get_sa", refuse)
        assert run(["state", "--get", "--dst", "239.1.1.1", "--spi", "0x1234"]) == os.EX_NOPERM

    @pytest.mark.parametrize("name", [["--spi", "1"], ["--dst", "239.1.1.1"], ["--dst", "239.0.0.0/8", "--spi", "1"]])
    def test_a_name_that_is_not_whole(self, capsys: pytest.CaptureFixture[str], name: list[str]) -> None:
        assert run(["state", "--get", *name]) == os.EX_USAGE
        assert "--get needs --dst with one address, and --spi" in capsys.readouterr().err


def test_another_namespace(capsys: pytest.CaptureFixture[str], kernel: Kernel) -> None:
    shown(capsys, "policy", "--netns", "lab")
    assert kernel.netns == "lab"
