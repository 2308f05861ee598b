"""`decode`: of a recorded capture, of hexadecimal text, and of what is neither."""

import io
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.unit.xfrm.tool.entries import GROUP_SA, UNICAST_SA, has_key
from xfrm import requests
from xfrm.capture import capture_header, capture_record, read_capture
from xfrm.frame import frame
from xfrm.tool.main import run

RECORDED = bytes.fromhex(tomllib.loads(Path(__file__).with_name("nlmon.toml").read_text())["pcap"])
ADDED = frame(0x10, 0x605, 5, 0, requests.add_sa(GROUP_SA).body)


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    (tmp_path / "nlmon.pcap").write_bytes(RECORDED)
    return str(tmp_path / "nlmon.pcap")


def rows(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    assert run(["decode", "--json", *arguments]) == status
    return [json.loads(text) for text in capsys.readouterr().out.splitlines()]


class TestRecorded:
    """What iproute2 asked, and what Linux 7.2 answered."""

    def test_every_message_is_decoded(self, recorded: str, capsys: pytest.CaptureFixture[str]) -> None:
        found = rows(capsys, "--file", recorded)
        assert [row["message"].removeprefix("XFRM_MSG_").removeprefix("NLMSG_") for row in found] == [
            *("NEWSA", "ERROR", "NEWSA", "ERROR", "NEWPOLICY", "ERROR", "GETSA", "ERROR", "GETSA", "NEWSA", "DONE"),
            *("ALLOCSPI", "NEWSA", "GETSADINFO", "NEWSADINFO", "GETSPDINFO", "NEWSPDINFO", "DELSA", "ERROR"),
            *("GETPOLICY", "NEWPOLICY", "DONE", "DELPOLICY", "GETPOLICY", "DONE", "FLUSHSA", "ERROR"),
        ]
        assert [row["reason"] for row in found] == [None] * len(found)

    def test_directions_and_times(self, recorded: str, capsys: pytest.CaptureFixture[str]) -> None:
        found = rows(capsys, "--file", recorded)
        assert [row["direction"] for row in found[:4]] == ["to-kernel", "from-kernel"] * 2
        assert found[0]["time"] == "2026-11-23T19:30:18.396094Z"

    def test_contents(self, recorded: str, capsys: pytest.CaptureFixture[str]) -> None:
        found = rows(capsys, "--file", recorded)
        sa, refused, wanted, info = found[0], found[7], found[8], found[14]
        assert (sa["kind"], sa["content"]["spi"], sa["content"]["replay"]) == (
            "security_association",
            "0x00001234",
            {"packets": 128, "esn": True},
        )
        assert refused["content"] == {"errno": 3, "extack": "", "request": "getsa", "request_sequence": 1795462220}
        assert wanted["content"]["addresses"] == {"source": "0.0.0.0/0", "destination": "239.0.0.0/8"}
        assert wanted["flags"] == ["NLM_F_REQUEST", "NLM_F_DUMP"]
        assert (info["kind"], info["content"]["count"]) == ("sad_info", 3)

    def test_as_text(self, recorded: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["decode", "--file", recorded]) == 0
        out = capsys.readouterr().out
        for text in (
            "2026-11-23T19:30:18.396094Z to the kernel: NEWSA, flags REQUEST|ACK, sequence 1795462219, port 0\n",
            "    src 10.9.0.1 dst 239.1.1.1\n",
            "    aead rfc4106(gcm(aes)) key 160 bits, ICV 128 bits\n",
            "    attributes ALG_AEAD REPLAY_ESN_VAL MARK IF_ID\n",
            "    NEWSA of sequence 1795462219: done\n",
            "    GETSA of sequence 1795462220: refused, No such process (errno 3)\n",
            "    sa dump: addresses (source 0.0.0.0/0, destination 239.0.0.0/8)\n",
            "    spi request: source 10.9.0.1, destination 10.9.0.2, protocol esp,",
            "    SAs flushed: any\n",
            "    template src 0.0.0.0 dst 239.1.1.2 proto esp spi any reqid 8 mode transport\n",
        ):
            assert text in out
        assert "0001020304050607" not in out

    def test_keys_where_they_are_asked_for(self, recorded: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["decode", "--show-keys", "--file", recorded]) == 0
        assert "key 160 bits 0x000102030405060708090a0b0c0d0e0f10111213" in capsys.readouterr().out

    def test_a_cut_file_shows_what_comes_before_the_cut(
        self, recorded: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path(recorded).write_bytes(RECORDED[:-20])
        assert run(["decode", "--json", "--file", recorded]) == os.EX_DATAERR
        said = capsys.readouterr()
        assert len(said.out.splitlines()) == 26
        assert said.err == (
            f"python -m xfrm: not decoded: pcap: a packet says it has 52 octets, 32 left"
            f" (at octet {len(RECORDED) - 52})\n"
        )

    def test_hexadecimal_text_of_it_is_the_same(self, recorded: str, capsys: pytest.CaptureFixture[str]) -> None:
        # A message's padding is left out at the end of a datagram.
        padded = [each.datagram + bytes(-len(each.datagram) & 3) for each in read_capture(RECORDED)]
        datagrams = b"".join(padded).hex()
        by_file = rows(capsys, "--file", recorded)
        by_text = rows(capsys, datagrams)
        assert by_text == [{**row, "time": None} for row in by_file]


def test_an_argument_that_is_no_text_is_not_decoded(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["decode", "\udcff"]) == os.EX_DATAERR
    assert "nor hexadecimal text" in capsys.readouterr().err


def test_hexadecimal_of_arguments_files_and_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ADDED.hex(" ")
    (tmp_path / "hex").write_text("0x" + text + "\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    shown = [rows(capsys, *text.split()), rows(capsys, "--file", str(tmp_path / "hex")), rows(capsys)]
    assert shown[0] == shown[1] == shown[2]
    assert shown[0][0]["content"]["spi"] == "0x00001234"
    assert not has_key(json.dumps(shown))


def test_other_families_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = bytearray(capture_record(ADDED, 0))
    record[16 + 14 : 16 + 16] = b"\0\x10"
    (tmp_path / "mixed.pcap").write_bytes(capture_header() + capture_record(ADDED, 0) + record)
    assert run(["decode", "--file", str(tmp_path / "mixed.pcap")]) == 0
    said = capsys.readouterr()
    assert said.out.count("NEWSA") == 1
    assert said.err == "left out: 1 datagrams of other netlink families\n"


def test_a_message_that_cannot_be_read_does_not_hide_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    broken = frame(0x10, 1, 4, 0, b"short")
    assert run(["decode", (broken + ADDED).hex()]) == os.EX_DATAERR
    said = capsys.readouterr()
    assert "not decoded: XFRM_MSG_NEWSA has at least 224 octets, not 5" in said.out
    assert "dst 239.1.1.1" in said.out
    assert said.err == "not decoded: 1 in all\n"


def test_a_datagram_that_does_not_split_does_not_hide_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = frame(0x10, 1, 5, 0, requests.add_sa(UNICAST_SA).body)
    whole = capture_header() + capture_record(ADDED[:-4], 0) + capture_record(other, 0)
    (tmp_path / "cut.pcap").write_bytes(whole)
    assert [row["content"]["source"] for row in rows(capsys, "--file", str(tmp_path / "cut.pcap"), status=65)] == [
        "2001:db8::1"
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "nothing to decode"),
        (b"14zz", "'z' is no hexadecimal digit (at octet 1)"),
        (b"\x00\xff\x10", "neither pcap, pcapng nor hexadecimal text (at octet 1)"),
        (b" \n", "nothing to decode"),
        (b"\xd4\xc3\xb2\xa1", "header is cut short"),
        (b"1400", "16 octets, 2 left"),
    ],
)
def test_corrupt_input_gives_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    (tmp_path / "input").write_bytes(content)
    assert run(["decode", "--file", str(tmp_path / "input")]) == os.EX_DATAERR
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err.splitlines()[0]


def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["decode", "1400", "--file", "x"]) == os.EX_USAGE
    assert run(["decode", "--file", str(tmp_path / "none")]) == os.EX_NOINPUT
    assert "No such file" in capsys.readouterr().err
