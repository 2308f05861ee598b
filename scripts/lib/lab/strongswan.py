"""strongSwan's charon on the lab's hosts: two of them protect the unicast UDP between their hosts, by IKEv2."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.gsa.databases import OWN_PRIORITIES, OWN_REQIDS
from scripts.lib.interop.charon import BINARY, PACKAGES
from scripts.lib.lab.hosts import Completed, Host, LabError, Process, came_about, wait_until

__all__ = ["Charon", "Entries", "entries_of_gmd", "entries_of_others", "new_secret"]

START_S = 60
CONNECTION, CHILD = "peer", "unicast"
_PLUGINS = "random nonce openssl aes sha1 sha2 hmac kdf kernel-netlink socket-default vici"
_SETTINGS = """\
charon {{
  load = {plugins}
  install_routes = no
  filelog {{
    stderr {{
      flush_line = yes
      default = 1
    }}
  }}
  plugins {{
    vici {{
      socket = unix://{socket}
    }}
  }}
}}
swanctl {{
  load = random openssl sha1 sha2
}}
"""
_CONNECTION = """\
connections {{
  {connection} {{
    version = 2
    proposals = aes128-sha256-ecp256
    local_addrs = {own}
    remote_addrs = {peer}
    local {{
      auth = psk
    }}
    remote {{
      auth = psk
    }}
    children {{
      {child} {{
        mode = transport
        local_ts = dynamic[udp]
        remote_ts = dynamic[udp]
        esp_proposals = aes128gcm16
      }}
    }}
  }}
}}
secrets {{
  ike {{
    secret = "{secret}"
  }}
}}
"""
# A pid file of its own, although the hosts share /run.
_APART = 'touch "$1" /run/charon.pid && mount --bind "$1" /run/charon.pid && exec "$0"'


@dataclass(frozen=True, slots=True)
class Entries:
    """SAs and policies, each as what `ip xfrm` says of it without what traffic changes, and without keys."""

    sas: frozenset[str]
    policies: frozenset[str]


def new_secret() -> str:
    """A pre-shared key for a pair of them."""
    return secrets.token_hex(32)


class Charon:
    """A charon that runs on `host`, ready for the one on `peer`. Raises LabError."""

    def __init__(self, host: Host, peer: Host, secret: str, name: str = "charon") -> None:
        if not BINARY.exists():
            raise LabError(f"charon is not installed: apt-get install {PACKAGES}")
        self._host = host
        self._socket = host.path(f"{name}.vici")
        settings = host.write(f"{name}.conf", _SETTINGS.format(plugins=_PLUGINS, socket=self._socket))
        connection = _CONNECTION.format(
            connection=CONNECTION, child=CHILD, own=host.ipv4, peer=peer.ipv4, secret=secret
        )
        file = host.write("swanctl.conf", connection, secret=True)
        self._environment = (f"STRONGSWAN_CONF={settings}", f"SWANCTL_DIR={Path(file).parent}")
        self._process: Process = host.start(
            name,
            "env", *self._environment, "unshare", "--mount", "sh", "-c", _APART, str(BINARY), host.path("charon.pid"),
        )  # fmt: skip
        wait_until(f"{host.name}: charon answers", self._answers, START_S)
        self._swanctl("--load-all", "--noprompt")

    def _answers(self) -> bool:
        if self._process.status is not None:
            raise LabError(f"{self._host.name}: charon does not start: {self._process.log[-400:]}")
        return not self._run("--stats").status

    def connect(self) -> None:
        """Make the IKE SA and the pair of SAs with the peer."""
        self._swanctl("--initiate", "--child", CHILD, "--timeout", "30")

    def rekey(self) -> None:
        """Have a new pair of SAs in place of the old one. Raises LabError if there is none within half a minute."""
        before = entries_of_others(self._host).sas
        self._swanctl("--rekey", "--child", CHILD)
        if not came_about(lambda: _renewed(before, entries_of_others(self._host).sas), 30, every_s=0.5):
            raise LabError(f"{self._host.name}: charon has no new SAs: {self._process.log[-400:]}")

    def stop(self) -> None:
        """A clean stop."""
        self._process.stop()

    def _run(self, *words: str) -> Completed:
        uri = f"unix://{self._socket}"
        return self._host.run("env", *self._environment, "swanctl", *words, "--uri", uri)

    def _swanctl(self, *words: str) -> None:
        done = self._run(*words)
        if done.status:
            raise LabError(f"{self._host.name}: swanctl {' '.join(words)}: {done.errors or done.output}")


def _renewed(before: frozenset[str], now: frozenset[str]) -> bool:
    return bool(now) and not before & now


def entries_of_others(host: Host) -> Entries:
    """What in a host's SAD and SPD is not gmd's."""
    return Entries(
        frozenset(text for text, reqid in _states(host) if reqid not in OWN_REQIDS),
        frozenset(text for text, priority in _policies(host) if priority not in OWN_PRIORITIES),
    )


def entries_of_gmd(host: Host) -> Entries:
    """What is, by its reqids and priorities."""
    return Entries(
        frozenset(text for text, reqid in _states(host) if reqid in OWN_REQIDS),
        frozenset(text for text, priority in _policies(host) if priority in OWN_PRIORITIES),
    )


def _states(host: Host) -> Iterator[tuple[str, int]]:
    for block in _blocks(host, "state"):
        if found := re.search(r"\breqid (\d+)", block):
            yield " ".join(" ".join(block.splitlines()[:2]).split()), int(found[1])


def _policies(host: Host) -> Iterator[tuple[str, int]]:
    for block in _blocks(host, "policy"):
        if found := re.search(r"^\s+dir \w+ .*\bpriority (\d+)", block, re.MULTILINE):  # sockets' own have none
            yield " ".join(block.split()), int(found[1])


def _blocks(host: Host, what: str) -> list[str]:
    listed = host.run("ip", "xfrm", what, "list")
    if listed.status:
        raise LabError(f"{host.name}: ip xfrm {what} list: {listed.errors.strip()}")
    return re.split(r"\n(?=src )", listed.output)
