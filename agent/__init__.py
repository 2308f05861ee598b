"""mcastsec's agent: key management, policy and data handling for multicast IPsec (RFC 3740, RFC 5374)."""
