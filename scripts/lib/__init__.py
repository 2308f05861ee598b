"""What the thin entries in `scripts/` run."""
