"""Configuration: one TOML schema per daemon, and the loader they share."""
