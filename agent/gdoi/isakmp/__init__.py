"""ISAKMP as GDOI uses it (RFC 2408, RFC 2409, RFC 2407): header, payloads, Phase 1, protected messages."""
