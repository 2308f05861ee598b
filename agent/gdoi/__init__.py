"""The Group Domain of Interpretation (RFC 6407): Phase 1, GROUPKEY-PULL, both roles; yields agent.gsa values."""
