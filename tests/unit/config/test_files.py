import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from agent.config.files import FileFault, folder_missing, read_public, read_secret

Writer: TypeAlias = Callable[[bytes, int], Path]


@pytest.fixture
def key(tmp_path: Path) -> Writer:
    def key(content: bytes, mode: int) -> Path:
        path = tmp_path / "key"
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return key


@pytest.mark.parametrize(
    ("content", "octets"),
    [
        (b"open sesame", b"open sesame"),
        (b"open sesame\n", b"open sesame"),
        (b"open sesame\r\n", b"open sesame"),
        (b" spaces count \n", b" spaces count "),
        (b"0x00ff10\n", b"\x00\xff\x10"),
    ],
)
def test_a_key_is_its_text_or_its_hex_digits(key: Writer, content: bytes, octets: bytes) -> None:
    assert read_secret(key(content, 0o600)).content.reveal() == octets


def test_a_key_does_not_show(key: Writer) -> None:
    assert "sesame" not in repr(read_secret(key(b"open sesame", 0o600)))


@pytest.mark.parametrize("content", [b"", b"\n", b"0xz", b"0x0", b"0x\xff"])
def test_a_key_that_is_none_is_refused_without_quoting_it(key: Writer, content: bytes) -> None:
    with pytest.raises(FileFault, match="write the key") as caught:
        read_secret(key(content, 0o600))
    assert caught.value.exit_status == os.EX_NOINPUT


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620, 0o610])
def test_a_key_that_others_may_touch_is_refused_with_the_remedy(key: Writer, mode: int) -> None:
    path = key(b"k", mode)
    with pytest.raises(FileFault, match=f"chmod 0600 {path}") as caught:
        read_secret(path)
    assert caught.value.exit_status == os.EX_NOPERM


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_key_of_somebody_else_is_refused(key: Writer) -> None:
    path = key(b"k", 0o600)
    os.chown(path, 12345, -1)
    with pytest.raises(FileFault, match="belongs to user 12345"):
        read_secret(path)
    assert read_secret(path, 12345).content.reveal() == b"k"


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(FileFault, match="plain file"):
        read_secret(fifo)
    with pytest.raises(FileFault):
        read_public(tmp_path)


def test_a_file_that_is_missing_or_enormous_is_refused(key: Writer, tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="No such file"):
        read_public(tmp_path / "none")
    with pytest.raises(FileFault, match="more than"):
        read_public(key(bytes(300_000), 0o600))


def test_a_public_file_may_be_read_by_all_but_not_be_empty(key: Writer) -> None:
    assert read_public(key(b"PEM", 0o644)).content == b"PEM"
    with pytest.raises(FileFault, match="is empty"):
        read_public(key(b"", 0o644))


def test_a_file_that_opens_but_cannot_be_read_is_told() -> None:
    with pytest.raises(FileFault, match="/proc/self/mem: Input/output error: name a file"):
        read_public(Path("/proc/self/mem"))


def test_a_folder_is_missing_only_where_that_is_certain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder_missing(tmp_path / "x.sock", 0o750) is None
    assert folder_missing(tmp_path / "none" / "x.sock", 0o750) == (
        f"there is no folder {tmp_path}/none: create it, owned by the daemon's user, with mode 0750"
    )

    def barred(_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "stat", barred)
    assert folder_missing(tmp_path / "none" / "x.sock", 0o750) is None
