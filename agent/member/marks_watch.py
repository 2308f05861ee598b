"""Whether the rules that mark packets by their source are still there: nobody tells when one is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from agent.datapath.port import DataPath
from agent.errors import LocalError
from agent.logs import get_logger

__all__ = ["watch_marks"]

log = get_logger(__name__)

_EVERY_S: Final = 2.0


async def watch_marks(datapath: DataPath, look: Callable[[], None]) -> None:
    """Call `look`, without end, when a rule is gone, when its interface is back, and when nobody can say."""
    while True:
        await asyncio.sleep(_EVERY_S)
        try:
            if await datapath.marks_stand():
                continue
            reason = "they or their interface changed"
        except LocalError as error:
            reason = str(error)
        log.info("rules that mark packets are looked for", reason=reason)
        look()
