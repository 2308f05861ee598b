"""Two hosts on a LAN, one of them cut off for a while. Run in namespaces of its own by test_hosts.py; prints JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scripts.lib.lab.hosts import Receiver, came_about, send
from scripts.lib.lab.namespaces import NamespaceLan
from scripts.lib.lab.several import SeveralKernelsLan
from scripts.lib.lab.topology import Topology
from scripts.lib.lab.wire import Wire
from scripts.lib.uml import BOOTS

GROUPS = [("239.5.5.5", 5000), ("ff3e::5:5", 5000)]
COUNT = 10


def tell(report: Path, kind: type[NamespaceLan | SeveralKernelsLan]) -> dict[str, object]:
    """Send before, while and after the receiver is cut off; what it got, and what passed its wire."""
    lan = kind(Topology.of(("left", "sends"), ("right", "receives")), report, keep=False)
    left, right = lan.hosts["left"], lan.hosts["right"]
    right.capture()
    receiver = Receiver(right, GROUPS)
    send(left, GROUPS, tag="before", count=COUNT)
    came_about(lambda: receiver.total() == 2 * COUNT, timeout_s=10)
    right.cut_off()
    send(left, GROUPS, tag="while", count=COUNT)
    right.reconnect()
    send(left, GROUPS, tag="after", count=COUNT)
    came_about(lambda: receiver.total() == 4 * COUNT, timeout_s=10)
    right.write("secret", "not to be kept", secret=True)
    right.write("plain", "to be kept")
    receiver.stop()
    lan.stop()
    return {
        "received": {tag: [receiver.numbers(group, tag) for group in GROUPS] for tag in ("before", "while", "after")},
        "in_clear": len(Wire(right.pcap).clear(GROUPS)),
        "kernels": len({host.run("uname", "-r").output for host in (left, right)}),
        "kept": sorted(file.name for file in (report / "configs").iterdir()),
        "exit_status": right.run("sh", "-c", "echo out; echo err >&2; exit 3").status,
    }


if __name__ == "__main__":
    BOOTS.mkdir(parents=True, exist_ok=True)
    for folder in ("/run", str(BOOTS)):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    built = SeveralKernelsLan if sys.argv[2] == "several" else NamespaceLan
    sys.stdout.write(json.dumps(tell(Path(sys.argv[1]), built)) + "\n")
