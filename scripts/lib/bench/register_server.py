"""gckd as it is, with stopwatches: `python -m scripts.lib.bench.register_server FINDINGS --config FILE`.

SIGUSR1 has it write what they show into FINDINGS, JSON, whole.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from agent.gcks.main import main
from scripts.lib.bench.meter import Meter

__all__ = ["serve"]


def serve(findings: Path) -> None:
    """Serve until SIGTERM."""
    meter = Meter.install()

    def write(_signal: int, _frame: object) -> None:
        fresh = findings.with_suffix(".new")
        fresh.write_text(json.dumps(meter.seconds), encoding="utf-8")
        os.replace(fresh, findings)

    signal.signal(signal.SIGUSR1, write)
    main()


if __name__ == "__main__":
    serve(Path(sys.argv.pop(1)))
