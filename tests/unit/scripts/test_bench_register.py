"""`scripts/bench register`: its figures, its stopwatches, and the crowd's files for gckd."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from netaddr import IPAddress

from agent.config.loader import ConfigErrors
from agent.gcks import setup
from agent.wire.endpoint import Endpoint
from scripts.lib.bench.meter import BUSY, DISK, PARTS, minus
from scripts.lib.bench.register import CASES, figures_of
from scripts.lib.bench.register_charon import GROUPS
from scripts.lib.bench.register_inside import Case, Registrations
from scripts.lib.crowd import METHODS, Target, population, write_key_server

TREE = Path(__file__).resolve().parents[3]
SERVER = IPAddress("127.0.0.1")
SUITE = "aes-cbc-128/sha2-256/ecp-256"


def registrations(alone_s: float) -> Registrations:
    parts = {"dh": 0.0004, "signatures": 0.0, "wire": 0.0002, DISK: 0.0003, BUSY: 0.0016}
    return Registrations([alone_s] * 100, 500.0, parts, 0.002, 60.0)


def test_the_time_of_a_registration_is_split_without_rest() -> None:
    figures = {figure.name: figure.value for figure in figures_of({CASES[0]: registrations(0.002)}, {})}
    assert figures["psk_ecp256_python_ms"] == pytest.approx(1.0)
    assert figures["psk_ecp256_python_share"] == pytest.approx(0.5)
    parts = ("python", "dh", "signatures", "disk", "wire")
    assert sum(figures[f"psk_ecp256_{part}_ms"] for part in parts) == pytest.approx(2.0)


def test_every_case_has_its_figures_and_charon_stands_beside_them() -> None:
    ours = {case: registrations(0.002) for case in CASES}
    figures = {figure.name: figure for figure in figures_of(ours, {group: [0.006] for group in GROUPS})}
    for case in CASES:
        assert {f"{case.name}_{what}" for what in ("p50_ms", "p99_ms", "python_share", "per_s_8")} <= figures.keys()
    assert figures["charon_ecp256_ratio"].value == pytest.approx(3.0)
    assert figures["charon_ecp256_ratio"].met


@pytest.mark.parametrize(("group", "target_ms"), [("ecp-256", 2.25), ("modp-2048", 5.0)])
def test_the_targets_are_those_of_a_pre_shared_key(group: str, target_ms: float) -> None:
    for took_s, met in ((target_ms / 1000, True), (target_ms / 990, False)):
        ours = {Case(method, group): registrations(took_s) for method in METHODS}
        figures = {figure.name: figure for figure in figures_of(ours, {})}
        name = group.replace("-", "")
        assert figures[f"psk_{name}_p50_ms"].met is met
        assert figures[f"ecdsa_{name}_p50_ms"].target is None


def test_stopwatches_run_in_a_process_that_installed_them() -> None:
    program = (
        "from scripts.lib.bench.meter import Meter\n"
        "from agent.clock import SystemEntropy\nfrom agent.crypto.dh import DhGroup, generate\n"
        "import asyncio\n"
        "meter = Meter.install()\n"
        "pair = generate(DhGroup.ECP_256, SystemEntropy())\npair.shared(pair.public)\n"
        "asyncio.run(asyncio.sleep(0.01))\n"
        "assert 0 < meter.seconds['dh'] < 1 and meter.seconds['busy'] > 0 and not meter.seconds['signatures']\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_ran_meanwhile_is_a_difference() -> None:
    later, earlier = dict.fromkeys((*PARTS, BUSY), 3.0), dict.fromkeys((*PARTS, BUSY), 1.0)
    assert set(minus(later, earlier).values()) == {2.0}


@pytest.mark.parametrize("method", METHODS)
def test_gckd_takes_what_the_crowd_writes(tmp_path: Path, method: str) -> None:
    members = population(3, method, SERVER)
    configuration = write_key_server(tmp_path, members, Target(Endpoint(SERVER, 8848), 8849, SUITE))
    read = setup.read(configuration)
    assert set(read.names.values()) == {member.name for member in members}
    assert stat.S_IMODE((tmp_path / "members.csv").stat().st_mode) == 0o600
    held = [read.credentials.pre_shared_key(member.address) for member in members]
    assert [key is not None for key in held] == [method == "psk"] * 3


def test_a_crowd_of_two_members_with_one_address_is_none(tmp_path: Path) -> None:
    members = population(1, "psk", SERVER) * 2
    configuration = write_key_server(tmp_path, members, Target(Endpoint(SERVER, 8848), 8849, SUITE))
    with pytest.raises(ConfigErrors):
        setup.read(configuration)


def test_members_have_addresses_names_and_keys_of_their_own() -> None:
    members = population(300, "psk", SERVER)
    for facts in ([member.address for member in members], [member.name for member in members]):
        assert len(set(facts)) == 300
    assert len({member.key for member in members}) == 300
    assert all(member.address.words[0] == 127 for member in members)
