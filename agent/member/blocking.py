"""`gmd --block`: the blocks of the configuration go in, and nothing else changes: at boot, before gmd itself runs."""

from __future__ import annotations

import os

from agent.clock import Clock
from agent.datapath.plan import plan
from agent.datapath.port import AddPolicy, DataPath
from agent.errors import LocalError
from agent.gsa.databases import Databases
from agent.member.setup import Setup

__all__ = ["block"]


async def block(setup: Setup, datapath: DataPath, clock: Clock) -> int:
    """Add what is missing of the groups' blocks, and of the bypasses above them; how many were added.

    What is there stays as it is, so that this harms no gmd that runs. No key server and no interface is needed.
    Raises LocalError, with the next step, when a block is refused.
    """
    desired = setup.gspd_of_blocks().desired({}, clock.monotonic()).databases
    actual = await datapath.current()
    # An entry that cannot be read is one that is there.
    free = [entry for entry in desired.spd if entry.key not in actual.unreadable]
    operations = plan(Databases.of((), free), actual)
    missing = [operation for operation in operations if isinstance(operation, AddPolicy)]
    outcomes = await datapath.apply(missing) if missing else []
    refused = [outcome for outcome in outcomes if outcome.error is not None]
    if refused:
        raise LocalError(
            f"the groups' traffic cannot be blocked ({refused[0].operation}: {refused[0].error}):"
            " remove what stands in its way",
            exit_status=os.EX_OSERR,
        )
    return len(missing)
