"""The command `scripts/interop`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import click

from scripts.lib.interop import charon, tshark
from scripts.lib.interop.network import NetworkUnavailable
from scripts.lib.interop.page import PAGE, Versions, build, ids, versions_of
from scripts.lib.kernels import TREE


def _passed(junit: Path) -> set[str]:
    """The ids of the cases that passed."""
    cases = ET.parse(junit).getroot().iter("testcase")  # noqa: S314  (our own pytest wrote it)
    return {case.get("name", "").partition("[")[2].removesuffix("]") for case in cases if not len(case)}


def _run() -> set[str]:
    with tempfile.TemporaryDirectory(prefix="interop-") as folder:
        junit = Path(folder, "junit.xml")
        argv = (sys.executable, "-m", "pytest", "-q", "--tb=short", f"--junitxml={junit}", "tests/interop")
        subprocess.run(argv, cwd=TREE, check=False)
        return _passed(junit) if junit.exists() else set()


@click.command(help="Run the tests with other makers' programs, and write docs/interop.md when all of them passed.")
@click.option("--check", is_flag=True, help="Run and write nothing; fail if the page has not the cases of the suite.")
def main(check: bool) -> None:
    """The command `scripts/interop`."""
    if check:
        text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        try:
            up_to_date = text == build(versions_of(text))
        except ValueError:
            up_to_date = False
        if not up_to_date:
            raise click.ClickException("docs/interop.md has not the cases of the suite: run scripts/interop")
        return
    try:
        versions = Versions(charon.version(), tshark.version())
    except NetworkUnavailable as error:
        raise click.ClickException(str(error)) from error
    passed = _run()
    missing = [name for name in ids() if name not in passed]
    if missing:
        raise click.ClickException(f"the page stays as it was; not passed: {'; '.join(missing)}")
    PAGE.write_text(build(versions), encoding="utf-8")


if __name__ == "__main__":
    main(prog_name="scripts/interop")
