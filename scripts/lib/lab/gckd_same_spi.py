"""gckd whose SPIs are no matter of chance: each draws the same ones in the same order.

    python -m scripts.lib.lab.gckd_same_spi --config FILE

Two key servers that know nothing of each other may draw one SPI for one destination, once in four thousand million
times; this one makes them.
"""

from __future__ import annotations

from collections.abc import Set
from itertools import count

from agent.clock import Entropy
from agent.gcks import tek
from agent.gcks.main import main
from agent.gsa.sa import Spi

__all__ = ["FIRST_SPI"]

FIRST_SPI = 0x5AFE_0001


def _same_spi(entropy: Entropy, used: Set[int]) -> Spi:
    del entropy
    return Spi(next(spi for spi in count(FIRST_SPI) if spi not in used))


if __name__ == "__main__":
    tek.fresh_spi = _same_spi
    main()
