"""Where UML kernels come from: package sources of both forms, turned to another suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lib import kernels

RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\n'

DEB822 = """\
Types: deb deb-src
# a comment
URIs: mirror+file:/etc/apt/mirrors/own.list
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: mirror+file:/etc/apt/mirrors/security.list
Suites: bookworm-security
Components: main
"""

ONE_LINE = """\
# deb cdrom:[one] bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/own.gpg] mirror+file:/etc/apt/mirrors/own.list bookworm main contrib
deb mirror+file:/etc/apt/mirrors/security.list bookworm-security main
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An /etc/apt without sources, of a Debian bookworm."""
    (tmp_path / "os-release").write_text(RELEASE)
    (tmp_path / "sources.list.d").mkdir()
    monkeypatch.setattr(kernels, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(kernels, "APT_SOURCES", (tmp_path / "sources.list", tmp_path / "sources.list.d"))
    return tmp_path


def test_a_deb822_source_is_turned_to_the_suite(apt: Path) -> None:
    (apt / "sources.list.d/debian.sources").write_text(DEB822)
    assert kernels.stanza_for("trixie") == (
        "Types: deb\n"
        "URIs: mirror+file:/etc/apt/mirrors/own.list\n"
        "Suites: trixie\n"
        "Components: main\n"
        "Signed-By: \n /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )


def test_a_one_line_source_is_turned_to_the_suite(apt: Path) -> None:
    (apt / "sources.list").write_text(ONE_LINE)
    stanza = kernels.stanza_for("sid")
    assert "Suites: sid\n" in stanza
    assert "URIs: mirror+file:/etc/apt/mirrors/own.list\n" in stanza
    assert "Signed-By: /usr/share/keyrings/own.gpg\n" in stanza
    assert "security" not in stanza


def test_a_machine_without_a_debian_source_is_told_so(apt: Path) -> None:
    (apt / "sources.list").write_text("deb mirror+file:/etc/apt/mirrors/other.list stable main\n")
    with pytest.raises(kernels.KernelUnavailable, match="no Debian package source for bookworm"):
        kernels.stanza_for("trixie")


def test_every_kernel_of_the_lab_has_a_suite() -> None:
    assert {name: kernel.suite for name, kernel in kernels.KERNELS.items()} == {
        "uml-6.1": "bookworm",
        "uml-6.12": "trixie",
        "uml-7.2": "sid",
    }
