"""Vagrant's machines as hosts of the lab, each driven over one ssh connection."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from scripts.lib.kernels import TREE
from scripts.lib.lab.hosts import APP, Completed, LabError, wait_until
from scripts.lib.vms import payload

__all__ = ["Machine", "Unit", "destroy", "machines", "up"]

VAGRANT_FOLDER = TREE / "vagrant"
# Emulated guests on a busy machine answer late, not never.
BOOT_S, PROVISION_S, DESTROY_S, ANSWER_S = 1800.0, 1800.0, 300.0, 120.0
OWN_FOLDER = "/run/lab"
# Where a machine has the programs that a story names without a place, and the lab's application.
PROGRAMS = {name: f"/opt/mcastsec/bin/{name}" for name in ("python", "gmd", "gmctl", "gckd", "gckctl")}
APP_THERE = "/opt/payload/app.py"


def _vagrant(*words: str, log: Path, timeout_s: float) -> None:
    with log.open("ab") as output:
        try:
            done = subprocess.run(
                ["vagrant", *words],
                cwd=VAGRANT_FOLDER,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError:
            raise LabError("vagrant not found: vagrant/README.md says what to install") from None
        except subprocess.TimeoutExpired:
            raise LabError(f"vagrant {words[0]} was not done after {timeout_s:.0f} s; its log is {log}") from None
    if done.returncode:
        raise LabError(f"vagrant {words[0]} failed; its log is {log}")


def up(names: Sequence[str], *, provider: str, log: Path) -> None:
    """Boot the machines that do not run yet, bring the payload to all of them and provision them."""
    os.environ["MCASTSEC_HOSTS"] = ",".join(names)
    _vagrant("up", "--provider", provider, "--no-provision", log=log, timeout_s=BOOT_S)
    _vagrant("rsync", log=log, timeout_s=PROVISION_S)
    _vagrant("provision", log=log, timeout_s=PROVISION_S)


def destroy(log: Path) -> None:
    """Take the machines down and their disks away."""
    _vagrant("destroy", "--force", log=log, timeout_s=DESTROY_S)


class Unit:
    """A program on a machine that goes on, as a transient unit of its systemd."""

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self._name = name

    @property
    def pid(self) -> int:
        """Its number, 0 when it has ended."""
        return int(self._machine.run("systemctl", "show", "--property", "MainPID", "--value", self._name).output)

    @property
    def log(self) -> str:
        """All that it wrote so far, both streams."""
        return self._machine.run("journalctl", "--unit", self._name, "--output", "cat", "--no-pager").output

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        shown = self._machine.run("systemctl", "show", "--property", "ActiveState,ExecMainStatus", self._name).output
        fields = dict(line.split("=", 1) for line in shown.splitlines())
        return None if fields["ActiveState"] in ("active", "deactivating") else int(fields["ExecMainStatus"])

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._machine.must("systemctl", "kill", f"--signal={signal.Signals(number).name}", self._name)

    def stop(self, patience_s: float = ANSWER_S) -> int:
        """End it (SIGTERM) and wait."""
        if self.status is None:
            self._machine.must("systemctl", "stop", self._name, timeout_s=patience_s)
        return self.status or 0


class Machine:
    """One machine; see `scripts.lib.lab.hosts.Host` for what it can do. Programs run as root."""

    def __init__(self, name: str, ssh_config: Path, report: Path) -> None:
        self.name = name
        self.ipv4: IPv4Address = payload.ipv4(name)
        self.ipv6: IPv6Address = payload.ipv6(name)
        self._report = report
        self._ssh = ["ssh", "-F", str(ssh_config), "-o", "ConnectTimeout=60", "-o", "LogLevel=ERROR"]
        self._ssh += ["-o", "ControlMaster=auto", "-o", "ControlPath=/tmp/mcastsec-%C", "-o", "ControlPersist=60", name]
        self._inside: tuple[str, ...] = ()
        self._units: list[Unit] = []
        self.must("sh", "-c", f"mkdir -p {OWN_FOLDER}; systemctl reset-failed 'lab-*'")
        self.interface = self.must("sh", "-c", f"ip -o -4 address show to {self.ipv4} | awk '{{print $2}}'").strip()

    def _argv(self, argv: Sequence[str]) -> str:
        program, *arguments = argv
        words = [APP_THERE if word == str(APP) else word for word in arguments]
        return shlex.join([*self._inside, PROGRAMS.get(program, program), *words])

    def run(self, *argv: str, timeout_s: float = ANSWER_S) -> Completed:
        """Run a program to its end."""
        return self._remote(f"sudo {self._argv(argv)}", timeout_s)

    def _remote(self, command: str, timeout_s: float, text: str = "") -> Completed:
        try:
            done = subprocess.run(
                [*self._ssh, command], input=text, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: not done after {timeout_s:.0f} s: {command}") from None
        return Completed(done.returncode, done.stdout, done.stderr)

    def must(self, *argv: str, timeout_s: float = ANSWER_S) -> str:
        """Run a program that has to succeed; its output. Raises LabError if it does not."""
        done = self.run(*argv, timeout_s=timeout_s)
        if done.status:
            raise LabError(f"{self.name}: {shlex.join(argv)}: {done.errors.strip() or done.output.strip()}")
        return done.output

    def start(self, name: str, *argv: str) -> Unit:
        """Start a program that goes on."""
        unit = f"lab-{self._unit_prefix}{name}-{len(self._units)}"
        done = self._remote(f"sudo systemd-run --quiet --unit={unit} -- {self._argv(argv)}", ANSWER_S)
        if done.status:
            raise LabError(f"{self.name}: {shlex.join(argv)}: {done.errors.strip()}")
        started = Unit(self, unit)
        self._units.append(started)
        return started

    @property
    def _unit_prefix(self) -> str:
        return ""

    def path(self, name: str) -> str:
        """Where a file of the machine's own folder is."""
        return f"{OWN_FOLDER}/{self._unit_prefix}{name}"

    def write(self, name: str, text: str, *, secret: bool = False) -> str:
        """Put a file into the machine's own folder."""
        path = self.path(name)
        mask = "077" if secret else "022"
        done = self._remote(f"sudo sh -c {shlex.quote(f'umask {mask}; cat > {shlex.quote(path)}')}", ANSWER_S, text)
        if done.status:
            raise LabError(f"{self.name}: cannot write {path}: {done.errors.strip()}")
        return path

    def read(self, name: str) -> str:
        """A file of the machine's own folder; empty if there is none."""
        return self.run("cat", self.path(name)).output

    def capture(self) -> None:
        """Capture the machine's LAN from now on, into a file that `fetch_capture` brings here."""
        argv = ["tcpdump", "-i", self.interface, "-w", self.path("wire.pcap"), "-s", "0", "-n", "-U", "-B", "8192"]
        capture = self.start("tcpdump", *argv, "-Z", "root")
        wait_until(f"{self.name}: the capture runs", lambda: "listening on" in capture.log, ANSWER_S)

    @property
    def pcap(self) -> Path:
        """Where the capture is kept in the report."""
        return self._report / "pcaps" / f"{self.name}.pcap"

    def fetch_capture(self) -> None:
        """Bring the capture here; to be called after `stop`."""
        self.pcap.parent.mkdir(exist_ok=True)
        with self.pcap.open("wb") as output:
            argv = [*self._ssh, f"sudo cat {self.path('wire.pcap')}"]
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, timeout=PROVISION_S, check=False)
        if done.returncode:
            raise LabError(f"{self.name}: cannot copy the capture")

    def stop(self) -> None:
        """End whatever was started here."""
        for unit in self._units:
            unit.stop()

    def cut_off(self) -> None:
        """Let nothing through to or from the LAN."""
        self.must("ip", "link", "set", self.interface, "down")

    def reconnect(self) -> None:
        """Undo `cut_off`; the kernel forgot the IPv6 address with the link."""
        self.must("ip", "link", "set", self.interface, "up")
        self.must("ip", "-6", "address", "replace", f"{self.ipv6}/64", "dev", self.interface, "nodad")

    def keep_log(self, unit: str) -> None:
        """Put a unit's journal into the report."""
        folder = self._report / "logs"
        folder.mkdir(exist_ok=True)
        text = self.run("journalctl", "--unit", unit, "--output", "short-precise", "--no-pager").output
        (folder / f"{self.name}-{unit}.log").write_text(text, encoding="utf-8")

    def close(self) -> None:
        """End the shared connection."""
        subprocess.run([*self._ssh[:-1], "-O", "exit", self.name], capture_output=True, check=False)


class Apart(Machine):
    """A host of its own on a machine: a network namespace that has its own addresses on the LAN, and no IPsec."""

    def __init__(self, name: str, machine: Machine, ssh_config: Path, report: Path) -> None:
        self._machine = machine
        super().__init__(machine.name, ssh_config, report)
        self.name = name
        self.ipv4, self.ipv6 = payload.ipv4(name), payload.ipv6(name)
        script = f"""
            ip netns delete {name} 2>/dev/null || true
            ip netns add {name}
            ip link add lan0 link {machine.interface} netns {name} type macvlan mode bridge
            ip -n {name} link set lo up
            ip -n {name} link set lan0 up
            ip -n {name} address add {self.ipv4}/24 dev lan0
            ip -n {name} address add {self.ipv6}/64 dev lan0 nodad
        """
        self.must("sh", "-ec", script)
        self.interface = "lan0"
        self._inside = ("ip", "netns", "exec", name)

    @property
    def _unit_prefix(self) -> str:
        return "apart-"


@contextmanager
def machines(names: Sequence[str], report: Path) -> Iterator[dict[str, Machine]]:
    """The machines by name, and the outsider on the last of them, while their connections are open."""
    os.environ["MCASTSEC_HOSTS"] = ",".join(names)
    done = subprocess.run(
        ["vagrant", "ssh-config"], cwd=VAGRANT_FOLDER, capture_output=True, text=True, timeout=ANSWER_S, check=False
    )
    if done.returncode:
        raise LabError(f"vagrant ssh-config: {done.stderr.strip()}")
    ssh_config = report / "ssh-config"
    ssh_config.write_text(done.stdout, encoding="utf-8")
    found: dict[str, Machine] = {name: Machine(name, ssh_config, report) for name in names}
    found[payload.OUTSIDER] = Apart(payload.OUTSIDER, found[names[-1]], ssh_config, report)
    try:
        yield found
    finally:
        for machine in found.values():
            machine.stop()
        for machine in found.values():
            machine.close()
        ssh_config.unlink()
