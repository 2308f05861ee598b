"""Everything that is run from a checkout: set-up, demo, tests, lab."""
