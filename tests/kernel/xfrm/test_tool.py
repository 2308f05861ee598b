"""`python -m xfrm` and probe() on a real kernel: entries are shown, changes seen, captures of nlmon decoded."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.lib.kernels import TREE
from xfrm import (
    Address,
    AeadAlgorithm,
    Direction,
    Family,
    Feature,
    KernelCapabilities,
    Key,
    Mark,
    Mode,
    Policy,
    Protocol,
    ReplayWindow,
    SecurityAssociation,
    Selector,
    Template,
    XfrmSocket,
    probe,
)
from xfrm.tool.main import run

SECRET = bytes(range(0xA0, 0xB4))
SA = SecurityAssociation(
    Address.of("10.9.0.1"),
    Address.of("239.1.1.1"),
    0x1234,
    mode=Mode.TUNNEL,
    reqid=7,
    aead=AeadAlgorithm("rfc4106(gcm(aes))", Key(SECRET), 128),
    replay=ReplayWindow(128),
    mark=Mark(5, 0xFF),
    if_id=9,
)
POLICY = Policy(
    Selector.of("10.9.0.0/24", "239.1.1.1"),
    Direction.OUT,
    priority=3,
    templates=(Template(SA.source, SA.destination, mode=Mode.TUNNEL, spi=SA.spi, reqid=7),),
)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "xfrm", *arguments]


def tool(*arguments: str, status: int = 0) -> str:
    """What the tool prints, in this process and so in this test's namespace."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert run(list(arguments)) == status, err.getvalue()
    return out.getvalue()


def result(*arguments: str) -> Any:
    return json.loads(tool(*arguments, "--json"))["result"]


def release() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor)


@pytest.mark.needs_esp
def test_an_sa_is_shown_as_it_was_added_and_found_by_every_filter() -> None:
    with XfrmSocket() as kernel:
        kernel.add_sa(SA)
        kernel.add_policy(POLICY)
    [shown] = result("state")
    assert (shown["spi"], shown["reqid"], shown["mode"], shown["if_id"]) == ("0x00001234", 7, "tunnel", 9)
    assert (shown["replay"], shown["mark"]) == ({"packets": 128, "esn": False}, {"value": 5, "mask": 255})
    assert shown["aead"] == {"name": "rfc4106(gcm(aes))", "key_bits": 160, "key": None, "icv_bits": 128}
    filters = ["--src", "10.9.0.0/16", "--dst", "239.0.0.0/8", "--proto", "esp", "--spi", "0x1234", "--reqid", "7"]
    assert result("state", *filters, "--mark", "5/0xff", "--if-id", "9", "--mode", "tunnel", "--count") == {"count": 1}
    assert result("state", "--dst", "239.1.1.2", "--count") == {"count": 0}
    name = ["--get", "--dst", "239.1.1.1", "--spi", "0x1234"]
    assert [sa["spi"] for sa in result("state", *name, "--mark", "5/0xff")] == ["0x00001234"]
    tool("state", *name, status=1)
    [policy] = result("policy", "--dst", "239.1.1.1")
    assert (policy["direction"], policy["priority"], policy["templates"][0]["spi"]) == ("out", 3, "0x00001234")
    text = tool("state")
    assert SECRET.hex() not in text + tool("policy")
    assert f"key 160 bits 0x{SECRET.hex()}, ICV 128 bits" in tool("state", "--show-keys")
    sizes = result("stat")
    assert (sizes["sad"]["count"], sizes["spd"]["outbound"]) == (1, 1)


@contextlib.contextmanager
def watching(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The monitor, once it has joined its groups."""
    monitor = subprocess.Popen(
        command("monitor", *arguments), cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 30
        while not joined(monitor.pid):
            assert monitor.poll() is None, monitor.communicate()
            assert time.monotonic() < deadline, "the monitor has not joined"
            time.sleep(0.05)
        yield monitor
    finally:
        monitor.kill()
        monitor.communicate()


def joined(pid: int) -> bool:
    """Whether a process's XFRM socket is in all eight groups, which it joins one by one."""
    for row in Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]:
        columns = row.split()
        if columns[1] == "6" and int(columns[2]) == pid and int(columns[3], 16) == 0xFF:
            return True
    return False


@pytest.mark.needs_esp
def test_the_monitor_sees_what_happens_and_its_capture_decodes_without_keys(tmp_path: Path) -> None:
    capture = tmp_path / "events.pcap"
    with watching("--json", "--events", "4", "--capture", str(capture)) as monitor, XfrmSocket() as kernel:
        kernel.add_sa(SA)
        kernel.add_policy(POLICY)
        kernel.delete_sa(SA.id)
        kernel.flush_policies()
        out, _ = monitor.communicate(timeout=60)
    events = [json.loads(line) for line in out.splitlines()]
    assert [(event["event"], event.get("change")) for event in events] == [
        ("sa_change", "added"),
        ("policy_change", "added"),
        ("sa_change", "deleted"),
        ("policy_flush", None),
    ]
    assert SECRET.hex() not in out
    rows = [json.loads(line) for line in tool("decode", "--json", "--file", str(capture)).splitlines()]
    assert [row["message"] for row in rows] == [
        "XFRM_MSG_NEWSA",
        "XFRM_MSG_NEWPOLICY",
        "XFRM_MSG_DELSA",
        "XFRM_MSG_FLUSHPOLICY",
    ]
    assert SECRET not in capture.read_bytes()


@pytest.mark.needs_esp
def test_a_monitor_is_ended_by_an_interrupt() -> None:
    with watching() as monitor:
        monitor.send_signal(signal.SIGINT)
        out, err = monitor.communicate(timeout=30)
    assert (monitor.returncode, out, err) == (0, "", "")


def settled(path: Path) -> None:
    """Wait until a file has grown and then grows no more."""
    sizes = [0, 0]
    deadline = time.monotonic() + 30
    while sizes[-1] <= 24 or sizes[-1] != sizes[-2]:
        assert time.monotonic() < deadline, "nothing was captured"
        time.sleep(0.5)
        sizes.append(path.stat().st_size)


@pytest.mark.needs_esp
@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_what_nlmon_sees_decodes(tmp_path: Path) -> None:
    made = subprocess.run(["ip", "link", "add", "nlmon0", "type", "nlmon"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no nlmon: {made.stderr.strip()}")
    subprocess.run(["ip", "link", "set", "nlmon0", "up"], check=True)
    capture = tmp_path / "nlmon.pcap"
    dump = subprocess.Popen(
        ["tcpdump", "-Z", "root", "-U", "--immediate-mode", "-i", "nlmon0", "-w", str(capture)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert dump.stderr is not None
    try:
        assert any("listening on nlmon0" in line for line in iter(dump.stderr.readline, ""))
        with XfrmSocket() as kernel:
            kernel.add_sa(SA)
            kernel.dump_sas()
            kernel.flush_sas()
        settled(capture)
    finally:
        dump.send_signal(signal.SIGINT)
        dump.communicate(timeout=30)
    rows = [json.loads(line) for line in tool("decode", "--json", "--file", str(capture)).splitlines()]
    assert [(row["direction"], row["message"]) for row in rows] == [
        ("to-kernel", "XFRM_MSG_NEWSA"),
        ("from-kernel", "NLMSG_ERROR"),
        ("to-kernel", "XFRM_MSG_GETSA"),
        ("from-kernel", "XFRM_MSG_NEWSA"),
        ("from-kernel", "NLMSG_DONE"),
        ("to-kernel", "XFRM_MSG_FLUSHSA"),
        ("from-kernel", "NLMSG_ERROR"),
    ]
    assert all(row["reason"] is None for row in rows)
    assert rows[0]["content"]["if_id"] == 9


@pytest.mark.needs_esp
def test_a_probe_finds_what_the_kernel_has_and_leaves_nothing() -> None:
    offload = Path("/sys/module/esp4_offload")
    loaded_before = offload.exists()
    found = probe()
    assert offload.exists() is loaded_before
    assert Feature.OFFLOAD not in found.untried
    assert found.takes("rfc4106(gcm(aes))", 256, 128)
    assert found.families(Protocol.ESP) == {Family.AF_INET, Family.AF_INET6}
    assert {(mode, family) for mode in (Mode.TRANSPORT, Mode.TUNNEL) for family in Family if family} <= found.modes
    assert found.replay_window_packets == 4096
    always = {Feature.ESN, Feature.INTERFACE_ID, Feature.OUTPUT_MARK, Feature.UDP_ENCAPSULATION, Feature.DEFAULT_POLICY}
    assert always <= found.features
    for feature, since in (
        (Feature.SA_DIRECTION, (6, 10)),
        (Feature.NAT_KEEPALIVE, (6, 11)),
        (Feature.MIGRATE_STATE, (7, 2)),
    ):
        assert (feature in found.features) is (release() >= since), feature
    # It is of 6.13, and came to 6.12 in one of its releases.
    assert release() == (6, 12) or (Feature.CPU in found.features) is (release() >= (6, 13))
    in_place = probe(in_place=True)
    assert in_place.untried == {Feature.XFRM_INTERFACE}
    assert in_place.features - found.features == frozenset()
    assert found.features - in_place.features <= {Feature.XFRM_INTERFACE}
    assert in_place.algorithms == found.algorithms
    with XfrmSocket() as kernel:
        assert kernel.dump_sas() == []


@pytest.mark.needs_xfrm
def test_without_capabilities_the_tool_says_what_it_lacks() -> None:
    bare = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    for name in ("state", "monitor"):
        done = subprocess.run([*bare, *command(name)], cwd=TREE, capture_output=True, text=True, check=False)
        assert done.returncode == os.EX_NOPERM
        assert "CAP_NET_ADMIN" in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.needs_esp
@pytest.mark.skipif(not Path("/proc/self/ns/user").exists(), reason="this kernel has no user namespaces")
def test_without_capabilities_a_probe_finds_the_same() -> None:
    bare = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    done = subprocess.run([*bare, *command("probe", "--json")], cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert KernelCapabilities.from_json(json.loads(done.stdout)["result"]) == probe()
