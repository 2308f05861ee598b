"""strongSwan's charon as a peer: one daemon in a namespace of its own, told by swanctl what to be.

It has no ESP in its kernel, and needs none: kernel-libipsec is there for its sake, and no CHILD_SA is ever made.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.lib.apart import TIED_TO_US
from scripts.lib.interop.network import Namespace, NetworkUnavailable, command

__all__ = ["FRAGMENT_OCTETS", "PACKAGES", "Charon", "CharonError", "Connection", "version"]

BINARY: Final = Path("/usr/lib/ipsec/charon")
PACKAGES: Final = "strongswan-charon strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins"
CONNECTION: Final = "case"
FRAGMENT_OCTETS: Final = 600
"""Of the IP packets that charon cuts messages into, where a case has fragmentation at all."""
_PATIENCE_S: Final = 15.0

_PLUGINS: Final = (
    "random nonce x509 constraints pubkey pkcs1 pkcs8 pem openssl aes sha1 sha2 hmac kdf"
    " kernel-libipsec kernel-netlink socket-default vici"
)
# One setting a line: this is what its parser wants.
_SETTINGS: Final = """\
charon {{
  load = {plugins}
  retransmit_timeout = 1.0
  retransmit_tries = 3
  fragment_size = {fragment_octets}
  i_dont_care_about_security_and_use_aggressive_mode_psk = yes
  install_routes = no
  filelog {{
    log {{
      path = {log}
      flush_line = yes
      default = 1
      ike = 2
      cfg = 2
    }}
  }}
  plugins {{
    vici {{
      socket = unix://{socket}
    }}
  }}
}}
swanctl {{
  load = random pem pkcs1 pkcs8 x509 openssl sha1 sha2
}}
"""


class CharonError(Exception):
    """charon did not do as it was told; says what, and the end of its log."""


def version() -> str:
    """charon's version. Raises NetworkUnavailable when it is not installed."""
    if not BINARY.exists():
        raise NetworkUnavailable(f"charon is not installed: apt-get install {PACKAGES}")
    swanctl = command("swanctl", "strongswan-swanctl")
    done = subprocess.run([swanctl, "--help"], capture_output=True, text=True, check=False)
    found = re.search(r"strongSwan (\S+) swanctl", done.stdout)
    if found is None:
        raise NetworkUnavailable(f"swanctl --help says {done.stdout.strip() or done.stderr.strip()!r}")
    return found.group(1)


@dataclass(frozen=True, slots=True)
class Connection:
    """What charon is to be in one case. `settings`, `local`, `remote`: lines of swanctl.conf's section of that name.

    `secret`: the pre-shared key; `files`: PEM by path below swanctl's folder, as in `x509ca/ca.pem`.
    """

    settings: Mapping[str, str]
    local: Mapping[str, str]
    remote: Mapping[str, str]
    secret: str | None = field(default=None, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def text(self) -> str:
        """swanctl.conf."""

        def lines(indent: str, settings: Mapping[str, str]) -> str:
            return "".join(f"{indent}{name} = {value}\n" for name, value in settings.items())

        secrets = f'secrets {{\n  ike {{\n    secret = "{self.secret}"\n  }}\n}}\n' if self.secret is not None else ""
        return (
            f"connections {{\n  {CONNECTION} {{\n    version = 1\n{lines('    ', self.settings)}"
            f"    local {{\n{lines('      ', self.local)}    }}\n"
            f"    remote {{\n{lines('      ', self.remote)}    }}\n  }}\n}}\n{secrets}"
        )


class Charon:
    """A charon that runs. Use as `with Charon(host, folder) as charon`. Raises NetworkUnavailable."""

    def __init__(self, host: Namespace, folder: Path) -> None:
        version()
        self._host: Final = host
        self._folder: Final = folder
        self._log: Final = folder / "charon.log"
        self._socket: Final = folder / "vici"
        self._mark = 0
        settings = folder / "strongswan.conf"
        settings.write_text(
            _SETTINGS.format(plugins=_PLUGINS, log=self._log, socket=self._socket, fragment_octets=FRAGMENT_OCTETS),
            encoding="utf-8",
        )
        self._environment: Final = {
            **os.environ,
            "STRONGSWAN_CONF": str(settings),
            "SWANCTL_DIR": str(folder / "swanctl"),
        }
        with (folder / "charon.output").open("wb") as output:
            self._process: Final = subprocess.Popen(
                [*TIED_TO_US, *host.argv(str(BINARY))],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Charon:
        deadline = time.monotonic() + _PATIENCE_S
        while not self._socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = (self._folder / "charon.output").read_text("utf-8", "replace")
                self.close()
                raise NetworkUnavailable(f"charon does not start here: {text[-800:]}")
            time.sleep(0.02)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def said(self) -> str:
        """Its log since the last `load`."""
        return self._log.read_text("utf-8", "replace")[self._mark :]

    def load(self, connection: Connection) -> None:
        """Be this, and nothing else: earlier SAs, connections and credentials go. Raises CharonError."""
        self._swanctl("--terminate", "--ike", CONNECTION, "--force", "--timeout", "2", may_fail=True)
        self._mark = len(self._log.read_text("utf-8", "replace"))
        swanctl = self._folder / "swanctl"
        for old in swanctl.glob("*/*"):
            old.unlink()
        swanctl.mkdir(exist_ok=True)
        for name, content in connection.files.items():
            file = swanctl / name
            file.parent.mkdir(exist_ok=True)
            file.touch(mode=0o600)
            file.write_bytes(content)
        (swanctl / "swanctl.conf").write_text(connection.text, encoding="utf-8")
        self._swanctl("--load-creds", "--clear", "--noprompt")
        self._swanctl("--load-conns")

    def initiate(self, *, timeout_s: int = 10) -> bool:
        """Begin Phase 1; whether it stands at the end. Waits: run it in a thread."""
        done = self._swanctl("--initiate", "--ike", CONNECTION, "--timeout", str(timeout_s), may_fail=True)
        return done.returncode == 0

    def rekey(self) -> None:
        """Make a new Phase 1 SA in place of the one that stands. Raises CharonError."""
        self._swanctl("--rekey", "--ike", CONNECTION, "--reauth")

    def terminate(self) -> None:
        """Delete the Phase 1 SA. Raises CharonError."""
        self._swanctl("--terminate", "--ike", CONNECTION, "--timeout", "5")

    def freeze(self) -> None:
        """Stop it dead; it neither receives nor sends until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def standing(self) -> list[dict[str, str]]:
        """Its Phase 1 SAs that stand, with VICI's names: initiator-spi, encr-alg, encr-keysize, prf-alg, dh-group."""
        text = self._swanctl("--list-sas", "--raw").stdout
        found = [dict(re.findall(r"([\w-]+)=([^\s{}\[\]]+)", line)) for line in text.splitlines()]
        return [sa for sa in found if sa.get("state") == "ESTABLISHED"]

    def _swanctl(self, *words: str, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
        swanctl = command("swanctl", "strongswan-swanctl")
        done = subprocess.run(
            [swanctl, *words, "--uri", f"unix://{self._socket}"],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and not may_fail:
            raise CharonError(f"swanctl {' '.join(words)}: {done.stderr or done.stdout}\n{self.said[-2000:]}")
        return done
