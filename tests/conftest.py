"""What holds for every test: asyncio's debug mode, and hypothesis without a wall clock (machines are shared)."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("PYTHONASYNCIODEBUG", "1")
settings.register_profile("mcastsec", deadline=None, print_blob=True)
settings.load_profile("mcastsec")
