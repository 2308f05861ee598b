"""Many members: 500 of them want to register with one gckd at the same moment, as after a power cut.

The members are gmd's engines in one process with real UDP, on loopback, each with an address of its own; no kernel
does ESP for them, so any kernel will do.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import Any

from scripts.lib.bench.figures import percentile
from scripts.lib.lab.daemons import PreparedKeyServer
from scripts.lib.lab.hosts import Host, LabError, Process, wait_until
from scripts.lib.lab.stage import Scenario, Stage
from scripts.lib.lab.topology import Topology

__all__ = ["MEMBERS", "SCENARIO"]

MEMBERS = 500
SUITES = ("aes-cbc-128/sha2-256/ecp-256", "aes-cbc-128/sha2-256/modp-2048")
METHODS = ("psk", "ecdsa-256")
MS = 1000.0
PATIENCE_S = 240.0

TOPOLOGY = Topology.of(("gcks", f"key server and {MEMBERS} members, on its loopback"))


def story(stage: Stage) -> None:
    """Tell it."""
    (host,) = stage.hosts
    runs = [(method, suite) for method in METHODS for suite in SUITES]
    for method, suite in runs:
        _run(stage, host, method, suite)


def _run(stage: Stage, host: Host, method: str, suite: str) -> None:
    name = f"{method.partition('-')[0]}_{suite.rpartition('/')[2].replace('-', '')}"
    stage.step(f"{MEMBERS} members with {method} and {suite} register at one moment")
    folder = host.path(name)
    words = ("-m", "scripts.lib.crowd_program", folder, str(MEMBERS), method, suite)
    crowd = host.start(f"crowd-{name}", "python", *words)
    _wait(host, crowd, "is prepared", lambda: "prepared" in crowd.log)
    gckd = PreparedKeyServer(host, f"{name}/gckd.toml", f"{name}/gckd.sock", f"gckd-{name}")
    before_s = gckd.processor_s()
    host.run("touch", f"{folder}/go")
    _wait(host, crowd, "is done", lambda: crowd.status is not None)
    told: dict[str, Any] = json.loads(crowd.log.splitlines()[-1])
    used_s = gckd.processor_s() - before_s
    status = gckd.ask("status")
    took, troubles = told["elapsed_s"], told["troubles"]
    stage.expect(f"{name}: all members are registered", len(took) == MEMBERS, troubles[:3] or f"{len(took)} of them")
    registered = status["counts"]["registered"]
    stage.expect(f"{name}: gckd says so, too", registered == MEMBERS, f"{registered} registrations")
    each_ms = MS * used_s / MEMBERS
    figures = {
        "registrations_per_s": round(len(took) / told["wall_s"], 1),
        "p50_ms": round(MS * statistics.median(took), 1) if took else None,
        "p99_ms": round(MS * percentile(took, 99), 1) if took else None,
        "gckd_rss_mb": round(gckd.peak_mb(), 1),
        "gckd_crypto_ms": round(MS * told["crypto_s"], 2),
        "gckd_rest_ms": round(each_ms - MS * told["crypto_s"], 2),
    }
    for metric, value in figures.items():
        stage.metric(f"{name}_{metric}", value)
    if (method, suite) == (METHODS[0], SUITES[0]):
        for metric, value in figures.items():
            stage.metric(metric, value)
    gckd.stop()


def _wait(host: Host, crowd: Process, what: str, holds: Callable[[], bool]) -> None:
    wait_until(f"{host.name}: the crowd {what}", lambda: crowd.status is not None or holds(), PATIENCE_S)
    if crowd.status:
        raise LabError(f"{host.name}: the crowd broke: {crowd.log.strip()[-500:]}")


SCENARIO = Scenario(
    "many-members", f"{MEMBERS} members register with one key server at one moment", TOPOLOGY, story, needs_esp=False
)
