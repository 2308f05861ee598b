"""The benchmarks behind `scripts/bench`: one module each, and what they share."""
